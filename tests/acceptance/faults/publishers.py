"""Publishers that know which of their messages the broker acknowledged; on blocking sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import mqtt5

from devices.client import ClientOptions, DeviceClient
from devices.model import Address, Device, Suffix
from devices.topics import build

HOST = "127.0.0.1"
TAKEN = (mqtt5.PubAckReasonCode.SUCCESS, mqtt5.PubAckReasonCode.NO_MATCHING_SUBSCRIBERS)
NUMBER = "rx_bps"
"""The metric whose value is the message's number: so it can be told in the store which messages arrived."""


def topic(site: str, device: str, suffix: Suffix = Suffix.TELE) -> str:
    """A device's topic."""
    return build(Address(site, device, suffix))


def tele(values: Mapping[str, object], ts: int | None = None, **more: object) -> bytes:
    """A tele payload; unlike the product's own encoder this writes whatever it is told."""
    head = {} if ts is None else {"ts": ts}
    return json.dumps({**head, "values": values, **more}).encode()


def now_ms() -> int:
    """The wall clock, epoch ms."""
    return time.time_ns() // 1_000_000


class Wire:
    """One connection. `acked` holds the keys of the messages whose PUBACK came, in that order."""

    def __init__(self, port: int, client_id: str, window: int = 1000) -> None:
        self._socket = socket.create_connection((HOST, port), 5)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""
        self._ids = 0
        self._window = window
        self._flying: dict[int, object] = {}
        self.acked: list[object] = []
        self.refused: list[object] = []
        self.sent = 0
        self._hello = False
        self._socket.sendall(mqtt5.ConnectPacket(client_id, clean_start=True).write())
        self._until(lambda: self._hello, 5, "no CONNACK came")

    def publish(
        self, to: str, payload: bytes, key: object = None, *, retain: bool = False, dup: bool = False
    ) -> None:
        """Send one message, QoS 1, once there is room in the window."""
        self.send(self.packet(to, payload, key, retain=retain, dup=dup))

    def packet(
        self, to: str, payload: bytes, key: object = None, *, retain: bool = False, dup: bool = False
    ) -> bytes:
        """The message's packet; it counts as sent."""
        self._until(lambda: self.room > 0, 30, "the broker acknowledges nothing")
        self._ids = self._ids % 65535 + 1
        self._flying[self._ids] = self.sent if key is None else key
        self.sent += 1
        return mqtt5.PublishPacket(
            to, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=self._ids, retain=retain, duplicate=dup
        ).write()

    def send(self, data: bytes) -> None:
        """Bytes as they are."""
        self._socket.sendall(data)

    @property
    def room(self) -> int:
        """How many messages may go now."""
        return self._window - len(self._flying)

    def pump(self, seconds: float) -> None:
        """Take in what came; wait at most so long for something. Raises ConnectionError."""
        if select.select([self._socket], [], [], seconds)[0]:
            data = self._socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the broker closed the connection")
            self._rest = self._take(self._rest + data)

    def flush(self, seconds: float = 30.0) -> None:
        """Wait until everything is acknowledged."""
        self._until(lambda: not self._flying, seconds, "not everything was acknowledged")

    def close(self) -> None:
        """Say goodbye."""
        with contextlib.suppress(OSError):
            self._socket.sendall(mqtt5.DisconnectPacket().write())
        self._socket.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _until(self, done: Callable[[], bool], seconds: float, complaint: str) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(complaint)
            self.pump(0.2)

    def _take(self, data: bytes) -> bytes:
        view, at = memoryview(data), 0
        while at < len(data):
            try:
                packet, length = mqtt5.read(view[at:])
            except IndexError:
                break
            at += length
            if isinstance(packet, mqtt5.ConnAckPacket):
                assert packet.reason_code == mqtt5.ConnAckReasonCode.SUCCESS, packet.reason_code
                self._hello = True
            elif isinstance(packet, mqtt5.PubAckPacket):
                key = self._flying.pop(packet.packet_id)
                (self.acked if packet.reason_code in TAKEN else self.refused).append(key)
            elif isinstance(packet, mqtt5.DisconnectPacket):
                raise ConnectionError(f"the broker said {packet.reason_code.name}")
        return data[at:]


Values = Callable[[int], Mapping[str, object]]


def alarming(number: int) -> Mapping[str, object]:
    """Values that raise and clear alarms all the time: some for one message, some for a second or two."""
    spell = (number % 10 + int(time.monotonic() / 1.5)) % 3 == 0  # by device, where their number is a ten's
    return {
        NUMBER: number,
        "latency_ms": 500.0 if number % 403 == 0 else 9.5,
        "loss_pct": 20.0 if spell else 0.1,
    }


def calm(number: int) -> Mapping[str, object]:
    """Values that are well."""
    return {NUMBER: number, "latency_ms": 9.5}


class Load:
    """Numbered readings for routers in turn, at a rate, from a thread of its own, until `stop`.

    `acked` is what the broker acknowledged: the numbers, each the `rx_bps` of its message.
    """

    def __init__(
        self,
        port: int,
        devices: Sequence[tuple[str, str]],
        rate: float,
        values: Values = calm,
        *,
        first: int = 0,
        count: int | None = None,
        client_id: str = "load",
    ) -> None:
        self._topics = [topic(*each) for each in devices]
        self._last = [0] * len(devices)
        self._rate, self._values, self._count = rate, values, count
        self.number = self._first = first
        self._wire = Wire(port, client_id)
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def acked(self) -> set[int]:
        """The numbers that the broker acknowledged."""
        return {int(key) for key in list(self._wire.acked)}  # type: ignore[call-overload]

    def stop(self) -> set[int]:
        """Send no more; gives what was acknowledged, once everything is."""
        self._stop.set()
        return self.join()

    def join(self) -> set[int]:
        """Wait for the end of the count; gives what was acknowledged."""
        self._thread.join(120)
        self._wire.close()
        if self._error:
            raise self._error
        return self.acked

    def _run(self) -> None:
        try:
            begun = time.monotonic()
            while not self._stop.is_set() and (self._count is None or self._sent < self._count):
                self._burst(begun)
                self._wire.pump(0.002)
            self._wire.flush()
        except Exception as error:  # told to whoever joins
            self._error = error

    @property
    def _sent(self) -> int:
        return self.number - self._first

    def _burst(self, begun: float) -> None:
        due = min(int((time.monotonic() - begun) * self._rate) - self._sent, self._wire.room, 500)
        if self._count is not None:
            due = min(due, self._count - self._sent)
        if due > 0:
            self._wire.send(b"".join(self._next() for _ in range(due)))

    def _next(self) -> bytes:
        number, self.number = self.number, self.number + 1
        place = number % len(self._topics)
        self._last[place] = ts = max(now_ms(), self._last[place] + 1)
        return self._wire.packet(self._topics[place], tele(self._values(number), ts, seq=number), number)


class DeviceThread:
    """The product's own DeviceClient in a thread: numbered readings at a steady pace until `end`.

    Its numbers are `first`, `first + step`, …
    """

    def __init__(
        self, options: ClientOptions, device: Device, *, every: float = 0.02, first: int = 0, step: int = 1
    ) -> None:
        self._options, self.device, self._every = options, device, every
        self._first, self._step = first, step
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self.published: list[int] = []
        self.dropped = 0
        self.connections = 0
        self._thread.start()

    def end(self) -> list[int]:
        """Publish no more, wait until all is out; gives the numbers that were published."""
        self._stop.set()
        self._thread.join(60)
        return self.published

    async def _main(self) -> None:
        ts = 0
        async with DeviceClient(self._options, self.device) as client:
            while not self._stop.is_set():
                ts = max(now_ms(), ts + 1)
                number = self._first + self._step * len(self.published)
                client.publish_tele({NUMBER: float(number), "latency_ms": 9.5}, ts=ts)
                self.published.append(number)
                self.connections = client.stats.connections
                await asyncio.sleep(self._every)
            await client.drain(self._options.drain_s)
            self.dropped = client.stats.dropped
