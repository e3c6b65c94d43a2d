"""One connection to the broker: bytes to packets, messages to the journal, acknowledgements back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import mqtt5
import numpy as np

from collector.core.records import Flag, RecordKind
from collector.ingest.pack import Pack

log = logging.getLogger(__name__)
MAX_PAYLOAD = 256 * 1024
"""A larger payload is refused (by decode): only its first `HEAD` bytes go into the journal."""
HEAD = 4096
MAX_TOPIC = 1024
"""A topic that had to be made readable is cut to so many characters: it will be refused anyhow."""
PACE = 0.004
"""While bytes come thick, reading rests so long (s) in between: one read, one fsync, one batch for many."""
FLOOD = 20_000
"""At so many messages a second it rests for `FLOOD_PACE`: throughput is what matters then."""
FLOOD_PACE = 0.015
_RETAIN, _DUP, _QOS0, _CUT = (int(flag) for flag in (Flag.RETAIN, Flag.DUP, Flag.QOS0, Flag.CUT))
MESSAGE = int(RecordKind.MESSAGE)
_PUBLISH = 3
_PUBACK = np.array([0x40, 0x02, 0, 0], np.uint8)

Append = Callable[[Pack], None]


class Receipt(NamedTuple):
    """What a pack of messages is acknowledged by: its connection, packet ids, bytes that count as unacked."""

    connection: Connection
    ids: list[int]
    size: int


class Connection(asyncio.Protocol):
    """An MQTT 5 connection. Hands each read's messages to `append` as one Pack whose token is a Receipt.

    Acknowledges only what came over itself, in the order it came. `inbound` and `outbound` are loop times of
    the last bytes either way.
    """

    def __init__(
        self, connect: mqtt5.ConnectPacket, append: Append, now: Callable[[], int], unacked: int
    ) -> None:
        self._connect = connect
        self._append = append
        self._now = now
        self._limit = unacked
        self._rest = b""
        self._unacked = 0
        self._loop = asyncio.get_running_loop()
        self._replies: dict[int, asyncio.Future[mqtt5.Packet]] = {}
        self._next_id = 0
        self.transport: asyncio.Transport | None = None
        self.connack: asyncio.Future[mqtt5.ConnAckPacket] = self._loop.create_future()
        self.closed: asyncio.Future[str] = self._loop.create_future()
        self.on_pong: Callable[[], None] = _nothing
        self.on_connack: Callable[[], None] = _nothing
        self.inbound = self.outbound = self._loop.time()
        self.heard = now()  # epoch ns of the last bytes in
        self.paused_at: float | None = None
        self.taken_over = False  # the broker said that another client has our session now
        self.left = False  # the broker closed in order, without a word
        self._resting = False
        self.received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say CONNECT."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one, but not by name
        self.send(self._connect.write())

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits for an answer learns that none will come."""
        why = str(exc) if exc else "the broker closed the connection"
        if not self.closed.done():
            self.left = exc is None
            self.closed.set_result(why)
        error = ConnectionError(self.closed.result())
        for reply in self._replies.values():
            _give_up(reply, error)
        _give_up(self.connack, error)
        self.transport = None

    def close(self, why: str) -> None:
        """Cut it, at once."""
        if not self.closed.done():
            self.closed.set_result(why)
        if self.transport:
            self.transport.abort()

    def send(self, data: bytes) -> None:
        """Write bytes, unless it is closed."""
        if self.transport:
            self.outbound = self._loop.time()
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Take whole packets from what has come so far; keep the rest."""
        last, self.inbound = self.inbound, self._loop.time()
        self.heard = now = self._now()
        before = self.received
        data = self._rest + data if self._rest else data
        self._rest = data[self._packets(data, now) :]
        self._take_breath(self.inbound - last, self.received - before)

    def _take_breath(self, passed: float, messages: int) -> None:
        """Rest, if reads come thick: the last one `passed` seconds ago, this one with so many messages."""
        pace = FLOOD_PACE if messages > FLOOD * passed else PACE
        if passed < pace + PACE and self.paused_at is None and self.transport and not self._resting:
            self._resting = True
            self.transport.pause_reading()
            self._loop.call_later(pace, self._rested)

    def _rested(self) -> None:
        self._resting = False
        if self.paused_at is None and self.transport:
            self.transport.resume_reading()

    def _packets(self, data: bytes, now: int) -> int:
        view, at = memoryview(data), 0
        topics: list[str] = []
        payloads: list[bytes] = []
        flags: list[int] = []
        ids: list[int] = []
        read, publish = mqtt5.read, mqtt5.PublishPacket
        while True:
            try:
                packet, length = read(view[at:])
            except IndexError:
                break
            except BaseException as error:  # the codec panics (a BaseException) on a topic that is not UTF-8
                salvaged = _salvage(view[at:], error)
                if salvaged is None:
                    self.close(f"the broker sent a malformed packet ({error})")
                    break
                packet, length = salvaged
            at += length
            if type(packet) is publish:
                payload, number = packet.payload, packet.packet_id
                flag = (_RETAIN if packet.retain else 0) | (_DUP if packet.duplicate else 0)
                if number is None:
                    flag |= _QOS0
                else:
                    ids.append(number)
                if len(payload) > MAX_PAYLOAD:
                    payload, flag = payload[:HEAD], flag | _CUT
                topics.append(packet.topic)
                payloads.append(payload)
                flags.append(flag)
            else:
                if topics:
                    self._hand_over(topics, payloads, flags, ids, now)
                    topics, payloads, flags, ids = [], [], [], []
                self._handle(packet)
        if topics:
            self._hand_over(topics, payloads, flags, ids, now)
        return at

    def _hand_over(
        self, topics: list[str], payloads: list[bytes], flags: list[int], ids: list[int], now: int
    ) -> None:
        size = sum(map(len, payloads)) + 64 * len(payloads)
        self.received += len(topics)
        self._unacked += size
        self._append(
            Pack([MESSAGE] * len(topics), flags, topics, payloads, now, token=Receipt(self, ids, size))
        )
        if self._unacked > self._limit and self.paused_at is None and self.transport:
            self.transport.pause_reading()
            self.paused_at = self._loop.time()

    def durable(self, ids: list[int], size: int) -> float:
        """These messages are on disk: acknowledge them. Gives how long (s) a pause was that ends now."""
        if self.transport and ids:
            acks = np.tile(_PUBACK, (len(ids), 1))
            acks[:, 2:] = np.array(ids, ">u2").view(np.uint8).reshape(-1, 2)
            self.send(acks.tobytes())
        self._unacked -= size
        if self.paused_at is None or self._unacked > self._limit // 2 or not self.transport:
            return 0.0
        paused, self.paused_at = self._loop.time() - self.paused_at, None
        self.inbound = self._loop.time()
        if not self._resting:
            self.transport.resume_reading()
        return paused

    def _handle(self, packet: mqtt5.Packet) -> None:
        match packet:
            case mqtt5.PingRespPacket():
                self.on_pong()
            case mqtt5.PubAckPacket() | mqtt5.SubAckPacket():
                waiting = self._replies.pop(packet.packet_id, None)
                if waiting and not waiting.done():
                    waiting.set_result(packet)
            case mqtt5.ConnAckPacket() if not self.connack.done():
                if packet.reason_code == mqtt5.ConnAckReasonCode.SUCCESS:
                    self.on_connack()
                self.connack.set_result(packet)
            case mqtt5.DisconnectPacket():
                self.taken_over = packet.reason_code == mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER
                self.close(
                    f"the broker disconnected us: {packet.reason_code.name} {packet.reason_str or ''}".strip()
                )

    def request(self) -> tuple[int, asyncio.Future[mqtt5.Packet]]:
        """A free packet id and the future of the answer to it. Raises ConnectionError."""
        if not self.transport:
            raise ConnectionError("not connected to the broker")
        for _ in range(65535):
            self._next_id = self._next_id % 65535 + 1
            if self._next_id not in self._replies:
                reply = self._replies[self._next_id] = self._loop.create_future()
                return self._next_id, reply
        raise ConnectionError("65,535 requests are unanswered")


def _salvage(view: memoryview, error: BaseException) -> tuple[mqtt5.PublishPacket, int] | None:
    """A PUBLISH that the codec cannot read, its topic made readable, to be refused and acknowledged."""
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        raise error
    length, at, shift = 0, 1, 0
    while at < len(view):
        length |= (view[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not view[at - 1] & 0x80:
            break
    end = at + length
    if view[0] >> 4 != _PUBLISH or end > len(view) or length < 2:
        return None
    qos = view[0] >> 1 & 3
    topic_end = at + 2 + int.from_bytes(view[at : at + 2], "big")
    if topic_end + (2 if qos else 0) > end:
        return None
    raw = bytes(view[at + 2 : min(topic_end, at + 2 + MAX_TOPIC)])
    topic = raw.decode("utf-8", "backslashreplace").replace("\0", "\\x00")[:MAX_TOPIC]
    number = int.from_bytes(view[topic_end : topic_end + 2], "big") if qos else None
    level = mqtt5.QoS.AT_LEAST_ONCE if qos else mqtt5.QoS.AT_MOST_ONCE
    return mqtt5.PublishPacket(topic or "?", bytes(view[topic_end:end]), qos=level, packet_id=number), end


def _give_up(waiting: asyncio.Future[Any], error: ConnectionError) -> None:
    if not waiting.done():
        waiting.set_exception(error)
        waiting.exception()  # it is no fault if nobody asks


def _nothing() -> None:
    return None
