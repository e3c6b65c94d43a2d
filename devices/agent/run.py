"""What the agent does, again and again: read the host, probe the targets, publish."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from devices.agent.host import HostMeter
from devices.agent.probe import LinkQuality, icmp_mode, probe
from devices.client import ClientOptions, DeviceClient
from devices.model import Device
from devices.problems import Problem, Problems
from devices.topics import is_id

log = logging.getLogger(__name__)

_PROBES: Final = 5
_FIRST_WINDOW_S: Final = 0.3  # CPU and rates need a stretch of time; the first one is short, to be heard soon
_FIRST_PROBES: Final = 2
_MAX_THREADS: Final = 32


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """What to probe, and the `router` device it stands for. With a port by TCP, without by ICMP."""

    device: str
    host: str
    port: int | None = None


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """Whose agent this is, where the broker is, what to probe. `interval` in seconds; secrets in files."""

    url: str
    site: str
    device: str
    targets: tuple[ProbeTarget, ...] = ()
    interval: float = 10.0
    disk: str = "/"
    username: str | None = None
    password_file: Path | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


def parse_target(text: str) -> ProbeTarget:
    """A target from `ID=HOST[:PORT]`, an IPv6 address with a port in brackets. Raises Problems."""
    device, equals, rest = text.partition("=")
    found = re.fullmatch(
        r"\[([^\[\]\s]+)\](?::(\d{1,5}))?|([^\s:\[\]]+)(?::(\d{1,5}))?|([0-9A-Fa-f:.]+)", rest
    )
    if not equals or not is_id(device) or found is None:
        raise Problems.one("target", f"{text!r} is none", 'write "ID=HOST" or "ID=HOST:PORT"')
    port = found[2] or found[4]
    if port is not None and not 0 < int(port) < 65536:
        raise Problems.one("target", f"{text!r} has the port {port}", "ports are 1 to 65535")
    return ProbeTarget(device, found[1] or found[3] or found[5], int(port) if port else None)


async def run_agent(options: AgentOptions, stop: asyncio.Event | None = None) -> None:
    """Measure and publish until `stop` is set, or for ever. Raises Problems if the options cannot be right.

    The first readings go out within a second. A broker that is away is waited for; readings meanwhile are
    kept, within bounds, and sent with their own times.
    """
    _check(options)
    if options.targets and icmp_mode() is None:
        log.warning("this process may not send ICMP; targets without a port are probed by TCP")
    devices = [Device(options.site, each.device, "router", via=options.device) for each in options.targets]
    me = Device(options.site, options.device, "host")
    threads = ThreadPoolExecutor(min(_MAX_THREADS, len(options.targets) + 1), "nagari-probe")
    try:
        async with DeviceClient(_client(options), me, devices) as client, asyncio.TaskGroup() as group:
            tasks = [group.create_task(_host(options, client, threads))]
            tasks += [group.create_task(_target(options, each, client, threads)) for each in options.targets]
            if stop is not None:
                await stop.wait()
                for task in tasks:
                    task.cancel()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _check(options: AgentOptions) -> None:
    ids = [options.device, *(target.device for target in options.targets)]
    problems = [
        Problem("agent", f"{name!r} is no id", "use 1 to 64 of A-Z a-z 0-9 _ -")
        for name in (options.site, *ids)
        if not is_id(name)
    ]
    problems += [
        Problem("agent", f"the device {name} is named {ids.count(name)} times", "give each target its own")
        for name in sorted(set(ids))
        if ids.count(name) > 1
    ]
    if options.interval < 1:
        problems.append(Problem("interval", f"{options.interval:g} s is too short", "use 1 s or more"))
    if not Path(options.disk).exists():
        problems.append(Problem("disk", f"there is no {options.disk}", "name a folder on the disk to watch"))
    if problems:
        raise Problems(problems)


def _client(options: AgentOptions) -> ClientOptions:
    return ClientOptions(
        url=options.url,
        username=options.username,
        password_file=options.password_file,
        ca=options.ca,
        cert=options.cert,
        key=options.key,
    )


async def _host(options: AgentOptions, client: DeviceClient, threads: ThreadPoolExecutor) -> None:
    loop = asyncio.get_running_loop()
    meter = await loop.run_in_executor(threads, HostMeter, options.disk)
    await asyncio.sleep(_FIRST_WINDOW_S)

    async def once(_: bool) -> None:
        client.publish_tele(await loop.run_in_executor(threads, meter.read))

    await _every(options.interval, once)


async def _target(
    options: AgentOptions, target: ProbeTarget, client: DeviceClient, threads: ThreadPoolExecutor
) -> None:
    loop = asyncio.get_running_loop()

    async def once(first: bool) -> None:
        found = await loop.run_in_executor(threads, _burst(target, options.interval, first))
        values = {
            "latency_ms": found.latency_ms,
            "jitter_ms": found.jitter_ms,
            "loss_pct": found.loss_pct,
        }
        client.publish_tele(values, device=target.device)

    await _every(options.interval, once)


def _burst(target: ProbeTarget, interval: float, first: bool) -> Callable[[], LinkQuality]:
    """A burst that ends well before the next one is due; the first is short, to be heard soon."""
    count, spacing = (_FIRST_PROBES, 0.05) if first else (_PROBES, min(0.2, interval / 20))
    timeout = 0.3 if first else min(1.0, 0.8 * interval / _PROBES - spacing)
    return partial(probe, target.host, target.port, count=count, spacing=spacing, timeout=timeout)


async def _every(interval: float, once: Callable[[bool], Awaitable[None]]) -> None:
    """Do it now and then every `interval` seconds; a turn that is missed is left out, not made up for."""
    due, first = time.monotonic(), True
    while True:
        try:
            await once(first)
        except OSError as error:
            log.warning("a measurement failed: %s", error)
        first = False
        due += interval * max(1, -(-(time.monotonic() - due) // interval))
        await asyncio.sleep(due - time.monotonic())
