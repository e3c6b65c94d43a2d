"""A crowd of devices, each with a connection, a will and a retained state of its own, in one thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import mqtt5

from devices.backoff import backoff
from devices.client import DELAYS_S
from devices.model import Suffix
from tests.acceptance.faults.publishers import HOST, NUMBER, now_ms, tele, topic

_KEEPALIVE = 15
_PERIOD_S = 10.0
_STEPS = 50  # of a period: in each, its share of the devices publishes


class _Member(asyncio.Protocol):
    """One device. What the broker has not acknowledged goes out again on the next connection."""

    def __init__(self, crowd: Crowd, site: str, device: str) -> None:
        self.device = device
        self.connected = False
        self.connections = 0
        self._crowd = crowd
        self._tele = topic(site, device)
        self._state = topic(site, device, Suffix.STATE)
        self._waiting: deque[tuple[int, bytes]] = deque()  # number, payload: not acknowledged
        self._flying: dict[int, tuple[int, bytes]] = {}  # by packet id, of this connection
        self._ids = 0
        self._ts = 0
        self._attempt = 0
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    async def connect(self) -> None:
        """Connect, again and again, as `DeviceClient` would wait between attempts."""
        while not self._crowd.ended and self._transport is None:
            try:
                await asyncio.get_running_loop().create_connection(lambda: self, HOST, self._crowd.port)
            except OSError:
                self._attempt += 1
                await asyncio.sleep(backoff(self._attempt - 1, *DELAYS_S))

    def say(self) -> None:
        """A reading, numbered over the whole crowd."""
        number = self._crowd.said
        self._crowd.said += 1
        self._ts = max(now_ms(), self._ts + 1)  # two of one time would count as one
        self._waiting.append((number, tele({NUMBER: number, "latency_ms": 9.5}, self._ts, seq=number)))
        self._flush()

    def sever(self) -> None:
        """The line breaks: no farewell."""
        if self._transport is not None:
            self._transport.abort()

    def ping(self) -> None:
        if self.connected and self._transport is not None:
            self._transport.write(mqtt5.PingReqPacket().write())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._rest = transport, b""
        will = mqtt5.Will(self._state, payload=b"offline", qos=mqtt5.QoS.AT_LEAST_ONCE, retain=True)
        hello = mqtt5.ConnectPacket(self.device, clean_start=True, keep_alive=_KEEPALIVE, will=will)
        transport.write(hello.write())

    def data_received(self, data: bytes) -> None:
        data, at = self._rest + data, 0
        while at < len(data):
            try:
                packet, length = mqtt5.read(memoryview(data)[at:])
            except IndexError:
                break
            at += length
            self._take(packet)
        self._rest = data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        self.connected, self._transport = False, None
        self._waiting.extendleft(sorted(self._flying.values(), reverse=True))
        self._flying.clear()
        if not self._crowd.ended:
            asyncio.get_running_loop().call_later(
                backoff(self._attempt, *DELAYS_S), lambda: self._crowd.task(self.connect())
            )

    def _take(self, packet: mqtt5.Packet) -> None:
        if isinstance(packet, mqtt5.ConnAckPacket):
            assert packet.reason_code == mqtt5.ConnAckReasonCode.SUCCESS
            self.connected = True
            self.connections += 1
            self._attempt = 0
            self._publish(self._state, b"online", retain=True)
            self.say()
        elif isinstance(packet, mqtt5.PubAckPacket) and packet.packet_id in self._flying:
            number, payload = self._flying.pop(packet.packet_id)
            if packet.reason_code == mqtt5.PubAckReasonCode.SUCCESS:
                self._crowd.acked.add(number)
            else:  # nobody has subscribed: later
                self._waiting.append((number, payload))

    def _flush(self) -> None:
        while self.connected and self._waiting:
            number, payload = self._waiting.popleft()
            self._flying[self._publish(self._tele, payload)] = (number, payload)

    def _publish(self, to: str, payload: bytes, *, retain: bool = False) -> int:
        assert self._transport is not None
        self._ids += 1
        packet = mqtt5.PublishPacket(
            to, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=self._ids, retain=retain
        )
        self._transport.write(packet.write())
        return self._ids


class Crowd:
    """Devices that connect at once, publish then and every ten seconds. `acked`: the numbers of what was."""

    def __init__(self, port: int, devices: Sequence[tuple[str, str]]) -> None:
        self.port = port
        self.ended = False
        self.acked: set[int] = set()
        self.said = 0
        self._members = [_Member(self, *each) for each in devices]
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def connected(self) -> int:
        """How many are."""
        return sum(member.connected for member in self._members)

    @property
    def connections(self) -> int:
        """How often they have connected, all together."""
        return sum(member.connections for member in self._members)

    def sever(self) -> None:
        """All lines break at once."""
        self._call(lambda: [member.sever() for member in self._members])

    def end(self) -> set[int]:
        """Say no more, wait until all is acknowledged, break all lines; gives the numbers that were."""
        self._quiet = True
        deadline = time.monotonic() + 30
        while len(self.acked) < self.said and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(self.acked) == self.said, "the broker acknowledged not everything"
        self.close()
        return self.acked

    def close(self) -> None:
        """Break all lines and end the thread, whatever is pending."""
        if not self.ended:
            self.ended = True
            self.sever()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    def task(self, work: object) -> None:
        """Run it, in the crowd's thread."""
        task = self._loop.create_task(work)  # type: ignore[arg-type,var-annotated]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _call(self, do: Callable[[], object]) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (do(), done.set()))
        assert done.wait(30)

    def _run(self) -> None:
        self._quiet = False
        for member in self._members:
            self.task(member.connect())
        self.task(self._speak())
        self._loop.run_forever()
        for task in list(self._tasks):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.close()

    async def _speak(self) -> None:
        step = 0
        while not self._quiet:
            for member in self._members[step % _STEPS :: _STEPS]:
                member.say()
                member.ping()
            step += 1
            await asyncio.sleep(_PERIOD_S / _STEPS)
        while True:
            await asyncio.sleep(_KEEPALIVE / 3)
            for member in self._members:
                member.ping()
