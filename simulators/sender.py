"""One connection that publishes load: sends within the window, counts what comes back."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import mqtt5
import numpy as np
import numpy.typing as npt

from devices.problems import Problems
from simulators.frames import Frames, Source

_TICK_S: Final = 0.002
_REST_S: Final = 0.002  # between reads: a broker's acknowledgements come one by one, and each would wake us
_BREATH_S: Final = 0.005  # at a rate, what is due within it goes at once: one by one costs ten times as much
_LEAD_MS: Final = 100  # how far a reading's time may run ahead of the clock
_CHUNK: Final = 1024


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What to publish, where, and how much. Ends after `count` messages, `duration` seconds, or at `stop`.

    `rate` is in messages/s over all connections, 0 as fast as the broker takes them. The n-th message goes to
    device n modulo their number; its messages are numbered from `first_seq` and their times rise by at least
    1 ms, so one device takes at most 1,000 messages/s. `alarm_share` (0..1) of the messages, drawn by lot,
    carry values beyond the shipped rules' limits: 1 keeps all in alarm, less lets them come and go. With
    `record`, the result names every acknowledged message.
    """

    url: str
    devices: Sequence[Source]
    rate: float = 0.0
    count: int | None = None
    duration: float | None = None
    values: int = 5  # per message; a kind that has fewer sends those
    connections: int = 1
    window: int = 2000  # messages in flight per connection, at most the broker's receive maximum
    alarm_share: float = 0.0
    first_seq: int = 0
    seed: int = 0
    record: bool = False
    client_id: str = field(default_factory=lambda: f"nagari-load-{os.getpid()}")
    username: str | None = None
    password_file: Path | None = None
    ca: Path | None = None
    stop: asyncio.Event | None = None
    settle: float = 30.0  # how long to wait at the end for acknowledgements, seconds


class Sender(asyncio.Protocol):
    """A connection, from `handshake` to `close`. `lost` says why it broke; "" if it did not."""

    def __init__(self, options: LoadOptions, index: int) -> None:
        self.sent = 0
        self.acked = 0
        self.refused = 0
        self.lost = ""
        self.ended = 0.0
        self._options = options
        self._frames = Frames(options.devices, options.values, options.alarm_share, options.seed + index)
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._window = options.window
        self._room = asyncio.Event()
        self._hello: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._owner = np.zeros(65536, np.int64)  # packet id → the message's number
        self._acked: list[npt.NDArray[np.int64]] = []
        self._time = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop: there is a connection."""
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop: the connection is over."""
        self._lose(str(exc or "the broker closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Called by the loop: bytes of packets, cut anywhere."""
        data = self._buffer + data if self._buffer else data
        self._buffer = b""
        if not (self._hello.done() and self._take_plain(data)):
            self._take_any(data)
        if self._hello.done() and self._transport is not None:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(_REST_S, self._rested)

    def _rested(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    async def handshake(self, username: str | None, password: bytes | None) -> None:
        """Connect as a client; raises Problems if the broker refuses."""
        packet = mqtt5.ConnectPacket(
            self._options.client_id, username=username, password=password, clean_start=True, keep_alive=0
        )
        self._write(packet.write())
        await self._hello

    async def run(self) -> None:
        """Send until the end, then wait for the last acknowledgements."""
        start = time.perf_counter()
        while not self.lost and not self._done(start):
            size = self._size(start)
            if size > 0:
                self._send(size)
                await asyncio.sleep(0)  # let the acknowledgements in
            else:
                await self._wait()
        await self._settle()
        self.ended = time.perf_counter()

    def recorded(self) -> list[tuple[str, int]]:
        """(device, seq) of each acknowledged message."""
        devices = self._options.devices
        numbers = np.concatenate(self._acked).tolist() if self._acked else []
        return [(devices[n % len(devices)].device, self._seq(n)) for n in numbers]

    def close(self) -> None:
        """Say goodbye."""
        if self._transport is not None and not self._transport.is_closing():
            self._write(mqtt5.DisconnectPacket().write())
            self._transport.close()

    def _seq(self, number: int) -> int:
        return (self._options.first_seq + number // len(self._options.devices)) % 2**32

    def _done(self, start: float) -> bool:
        options = self._options
        return bool(
            (options.count is not None and self.sent >= options.count)
            or (options.duration is not None and time.perf_counter() - start >= options.duration)
            or (options.stop is not None and options.stop.is_set())
        )

    def _size(self, start: float) -> int:
        """How many messages may go now, of those left in this round."""
        options, devices = self._options, len(self._options.devices)
        room = self._window - (self.sent - self.acked - self.refused)
        size = min(devices - self.sent % devices, _CHUNK)
        if room < min(size, self._window // 4):
            return 0  # a few at a time would cost more than they bring
        size = min(size, room)
        if options.count is not None:
            size = min(size, options.count - self.sent)
        if options.rate:
            due = int((time.perf_counter() - start) * options.rate) - self.sent
            if due < min(size, options.rate * _BREATH_S):
                return 0
            size = min(size, due)
        return size if self._advance_time() else 0

    def _advance_time(self) -> bool:
        """Choose the time of the next messages; False if the clock must first catch up."""
        now = time.time_ns() // 1_000_000
        new_round = self.sent % len(self._options.devices) == 0
        earliest = self._time + 1 if new_round else self._time
        if earliest > now + _LEAD_MS:
            return False
        self._time = max(now, earliest)
        return True

    def _send(self, size: int) -> None:
        first = self.sent
        numbers = np.arange(first, first + size, dtype=np.int64)
        ids = numbers % 65535 + 1
        self._owner[ids] = numbers
        at = first % len(self._options.devices)
        self._write(self._frames.write(at, size, ids, self._time, self._seq(first)))
        self.sent += size

    async def _wait(self) -> None:
        self._room.clear()
        try:
            async with asyncio.timeout(_TICK_S):
                await self._room.wait()
        except TimeoutError:
            pass

    async def _settle(self) -> None:
        until = time.perf_counter() + self._options.settle
        while self.sent > self.acked + self.refused and not self.lost and time.perf_counter() < until:
            await self._wait()

    def _take_plain(self, data: bytes) -> bool:
        """Count a buffer of nothing but four-byte PUBACKs, which is nearly all there is."""
        if len(data) % 4:
            return False
        rows = np.frombuffer(data, np.uint8).reshape(-1, 4)
        if not ((rows[:, 0] == 0x40).all() and (rows[:, 1] == 2).all()):
            return False
        self._acknowledge(rows[:, 2].astype(np.int64) << 8 | rows[:, 3])
        return True

    def _take_any(self, data: bytes) -> None:
        at = 0
        good = []
        while at < len(data):
            length = int.from_bytes(data[at + 1 : at + 2], "big")
            if data[at] == 0x40 and length < 128:  # a PUBACK
                end = at + 2 + length
                if end > len(data):
                    break
                reason = data[at + 4] if length > 2 else 0
                if reason < 0x80:
                    good.append(data[at + 2] << 8 | data[at + 3])
                else:
                    self.refused += 1
            else:
                try:
                    packet, size = mqtt5.read(memoryview(data)[at:])
                except IndexError:
                    break  # not whole yet
                self._take_packet(packet)
                end = at + size
            at = end
        self._buffer = data[at:]
        self._acknowledge(np.array(good, np.int64))

    def _take_packet(self, packet: mqtt5.Packet) -> None:
        if isinstance(packet, mqtt5.DisconnectPacket):
            self._lose(f"the broker said {packet.reason_code.name}")
        if not isinstance(packet, mqtt5.ConnAckPacket) or self._hello.done():
            return
        if packet.reason_code is not mqtt5.ConnAckReasonCode.SUCCESS:
            what = f"the broker refuses us ({packet.reason_code.name})"
            problem = Problems.one(self._options.url, what, "check user name and password")
            self._hello.set_exception(problem)
            return
        self._window = min(self._window, packet.receive_max)
        self._hello.set_result(None)

    def _acknowledge(self, ids: npt.NDArray[np.int64]) -> None:
        self.acked += len(ids)
        if self._options.record:
            self._acked.append(self._owner[ids])
        self._room.set()

    def _lose(self, why: str) -> None:
        if not self._hello.done():
            self._hello.set_exception(Problems.one(self._options.url, why, "is it an MQTT 5 broker?"))
        self.lost = self.lost or why
        self._room.set()

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)
