"""Load: valid live readings at a chosen rate, QoS 1, for the devices of a region, over raw connections.

The packets of a round (one message for every device) are laid out once; each turn only their packet ids,
times, numbers and values are written over, in columns. So a message costs few µs of CPU here, and
what is measured is the broker and what listens to it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from devices.problems import Problems
from devices.region import Region
from devices.secretfile import read_secret
from devices.tls import client_context
from simulators.figures import FIGURES, MOST_VALUES
from simulators.frames import Source
from simulators.sender import LoadOptions, Sender

__all__ = ["LoadOptions", "LoadProgress", "LoadResult", "Source", "routers", "run_load", "sources"]


@dataclass(slots=True)
class LoadResult:
    """What became of it. `lost` says why a connection broke before the end; "" if none did.

    `recorded` holds (device, seq) of each message that the broker acknowledged with success.
    """

    sent: int = 0
    acked: int = 0
    refused: int = 0
    seconds: float = 0.0
    lost: str = ""
    recorded: list[tuple[str, int]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Acknowledged messages per second."""
        return self.acked / self.seconds if self.seconds else 0.0


LoadProgress = Callable[[LoadResult], None]


def sources(region: Region) -> list[Source]:
    """A region's devices of the kinds that load knows, in the file's order: whom it publishes for."""
    devices = region.devices.values()
    return [Source(device.site, device.id, device.kind) for device in devices if device.kind in FIGURES]


def routers(region: Region) -> list[Source]:
    """Its routers alone."""
    return [source for source in sources(region) if source.kind == "router"]


async def run_load(options: LoadOptions, progress: LoadProgress | None = None) -> LoadResult:
    """Publish until the end that the options name. `progress` hears of the sums about once a second.

    Raises Problems if the options make no sense or the broker does not let us in. A connection that breaks
    later ends the run: the result says so, and what was acknowledged until then.
    """
    _check(options)
    parts = _split(options)
    senders = [await _connect(part, index) for index, part in enumerate(parts)]
    start = time.perf_counter()
    reporter = asyncio.create_task(_report(senders, start, progress)) if progress else None
    try:
        await asyncio.gather(*(sender.run() for sender in senders))
    finally:
        if reporter is not None:
            reporter.cancel()
        for sender in senders:
            sender.close()
    total = _sum(senders, start)
    if progress is not None:
        progress(total)
    return total


def _check(options: LoadOptions) -> None:
    rules = (
        (bool(options.devices), "there are no devices to publish for", "give a region that has some"),
        (1 <= options.values <= MOST_VALUES, "values", f"1 to {MOST_VALUES}: no device has more"),
        (options.connections >= 1, "connections", "at least 1"),
        (options.rate >= 0, "rate", "0 (as fast as possible) or messages per second"),
        (0 <= options.alarm_share <= 1, "alarm_share", "a share from 0 to 1"),
        (options.window >= 1, "window", "at least 1"),
    )
    for good, what, mend in rules:
        if not good:
            raise Problems.one("load", f"{what} is out of range" if " " not in what else what, mend)


def _split(options: LoadOptions) -> list[LoadOptions]:
    """One part per connection, with devices of its own."""
    number = min(options.connections, len(options.devices))
    return [
        replace(
            options,
            devices=options.devices[index::number],
            rate=options.rate / number,
            count=None if options.count is None else (options.count - index + number - 1) // number,
            client_id=f"{options.client_id}-{index}",
        )
        for index in range(number)
    ]


async def _report(senders: list[Sender], start: float, progress: LoadProgress) -> None:
    while True:
        await asyncio.sleep(1.0)
        progress(_sum(senders, start, recorded=False))


def _sum(senders: list[Sender], start: float, *, recorded: bool = True) -> LoadResult:
    return LoadResult(
        sent=sum(sender.sent for sender in senders),
        acked=sum(sender.acked for sender in senders),
        refused=sum(sender.refused for sender in senders),
        seconds=max((sender.ended or time.perf_counter()) for sender in senders) - start,
        lost=next((sender.lost for sender in senders if sender.lost), ""),
        recorded=[item for sender in senders for item in sender.recorded()] if recorded else [],
    )


async def _connect(options: LoadOptions, index: int) -> Sender:
    parts = urlsplit(options.url)
    if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname:
        raise Problems.one("load", f"{options.url!r} is no broker", 'write it like "mqtt://127.0.0.1:1883"')
    tls = client_context(options.ca) if parts.scheme == "mqtts" else None
    port = parts.port or (8883 if tls else 1883)
    password = read_secret(options.password_file).encode() if options.password_file else None
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(10):
            _, sender = await loop.create_connection(
                lambda: Sender(options, index), parts.hostname, port, ssl=tls
            )
            await sender.handshake(options.username, password)
    except (OSError, TimeoutError) as error:
        raise Problems.one(options.url, f"the broker cannot be reached ({error})", "start it") from None
    return sender
