"""The session against a broker of a few lines: what it says, acknowledges, survives and refuses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import mqtt5
import pytest

from collector.core.config import Mqtt
from collector.core.records import Flag, RecordKind
from collector.ingest.connection import HEAD, MAX_PAYLOAD, MAX_TOPIC, Connection
from collector.ingest.pack import Pack
from collector.ingest.recorder import Journaled, Recorder
from collector.ingest.rivals import FORGET, PAUSE_FIRST, PAUSE_MOST, SUSPECT, Rivals
from collector.ingest.session import BrokerRefusedError, Session
from devices.problems import Problems

ONCE = mqtt5.QoS.AT_LEAST_ONCE


def publish(topic: str, payload: bytes, number: int | None = 1, **more: Any) -> bytes:
    qos = ONCE if number else mqtt5.QoS.AT_MOST_ONCE
    return mqtt5.PublishPacket(topic, payload, qos=qos, packet_id=number, **more).write()


class Broker:
    """Speaks just enough MQTT 5; keeps every packet it gets, by connection."""

    def __init__(self) -> None:
        self.got: list[list[mqtt5.Packet]] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.connack = mqtt5.ConnAckPacket()
        self.grant = [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE] * 2
        self.puback: mqtt5.PubAckReasonCode | None = mqtt5.PubAckReasonCode.SUCCESS
        self.pongs = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine: list[mqtt5.Packet] = []
        self.got.append(mine)
        self.writers.append(writer)
        rest = b""
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                rest += data
                with contextlib.suppress(IndexError):
                    while rest:
                        packet, length = mqtt5.read(memoryview(rest))
                        rest = rest[length:]
                        mine.append(packet)
                        self.answer(packet, writer)
        writer.close()

    def answer(self, packet: mqtt5.Packet, writer: asyncio.StreamWriter) -> None:
        match packet:
            case mqtt5.ConnectPacket():
                writer.write(self.connack.write())
            case mqtt5.SubscribePacket():
                writer.write(mqtt5.SubAckPacket(packet.packet_id, self.grant).write())
            case mqtt5.PingReqPacket() if self.pongs:
                writer.write(mqtt5.PingRespPacket().write())
            case mqtt5.PublishPacket() if self.puback is not None:
                assert packet.packet_id is not None
                writer.write(mqtt5.PubAckPacket(packet.packet_id, reason_code=self.puback).write())

    def acked(self, connection: int = -1) -> list[int]:
        return [p.packet_id for p in self.got[connection] if isinstance(p, mqtt5.PubAckPacket)]

    def pings(self, connection: int = -1) -> int:
        return sum(isinstance(p, mqtt5.PingReqPacket) for p in self.got[connection])


class Paper:
    """Where the control records go."""

    def __init__(self) -> None:
        self.lines: list[tuple[RecordKind, dict[str, object]]] = []

    def control(self, kind: RecordKind, body: dict[str, object], received: int) -> Journaled:
        self.lines.append((kind, body))
        return Future()

    def whys(self) -> list[object]:
        return [body["why"] for kind, body in self.lines if kind is RecordKind.GAP]


class Desk:
    """A session, its broker, and what it handed over to be journaled."""

    def __init__(self, broker: Broker, port: int, mark: Path, unacked: int = 1 << 20, **config: Any) -> None:
        self.broker = broker
        self.packs: list[Pack] = []
        self.paper = Paper()
        self.recorder = Recorder(self.paper, time.time_ns, time.time_ns())
        mqtt = Mqtt(url=f"mqtt://127.0.0.1:{port}", **config)
        self.session = Session(
            mqtt,
            ("a/+", "b/+"),
            self.packs.append,
            self.recorder,
            time.time_ns,
            unacked_bytes=unacked,
            mark=mark,
        )

    def payloads(self) -> list[bytes]:
        return [payload for pack in self.packs for payload in pack.payloads]


Start = Callable[..., Awaitable[Desk]]


@pytest.fixture
async def start(free_port: int, tmp_path: Path) -> AsyncIterator[Start]:
    broker = Broker()
    server = await asyncio.start_server(broker.serve, "127.0.0.1", free_port)
    tasks: list[asyncio.Task[None]] = []

    async def begin(*, wait: bool = True, **options: Any) -> Desk:
        for name in ("connack", "grant"):
            if name in options:
                setattr(broker, name, options.pop(name))
        desk = Desk(broker, free_port, tmp_path / "mqtt-session", **options)
        tasks.append(asyncio.create_task(desk.session.run()))
        if wait:
            await until(lambda: desk.session.subscribed)
        return desk

    yield begin
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)  # nothing else has ended it
    for writer in broker.writers:
        writer.transport.abort()
    server.close()


async def until(true: Callable[[], bool], seconds: float = 8.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


async def test_it_says_who_it_is_and_subscribes_anew_without_retained_marks(start: Start) -> None:
    desk = await start(username="nagari", keepalive=20, session_expiry="1h", receive_max=77)
    hello, subscribe = desk.broker.got[0][:2]
    assert isinstance(hello, mqtt5.ConnectPacket)
    assert (hello.client_id, hello.username, hello.clean_start) == ("nagari-collector", "nagari", False)
    assert (hello.keep_alive, hello.session_expiry_interval, hello.receive_max) == (20, 3600, 77)
    assert isinstance(subscribe, mqtt5.SubscribePacket)
    assert [each.pattern for each in subscribe.topic_filters] == ["a/+", "b/+"]
    assert not any(each.retain_as_published for each in subscribe.topic_filters)
    assert desk.session.status == "ok"
    assert desk.paper.whys()[0] == "the collector was down"


async def test_a_filter_that_is_not_granted_is_named(start: Start) -> None:
    codes = [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE, mqtt5.SubAckReasonCode.NOT_AUTHORIZED]
    desk = await start(wait=False, grant=codes)
    await until(lambda: "b/+" in desk.session.status)
    assert "NOT_AUTHORIZED" in desk.session.status
    assert not desk.session.subscribed
    assert not desk.recorder.listening
    desk.broker.grant = [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE] * 2
    await until(lambda: desk.session.subscribed)  # mended meanwhile: it goes on by itself


async def test_an_answer_to_subscribe_of_another_length_does_not_end_it(start: Start) -> None:
    desk = await start(wait=False, grant=[mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE])
    await until(lambda: "SUBSCRIBE" in desk.session.status)
    assert not desk.session.subscribed


async def test_a_broker_that_says_no_is_quoted(start: Start) -> None:
    code = mqtt5.ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD
    desk = await start(wait=False, connack=mqtt5.ConnAckPacket(reason_code=code))
    await until(lambda: "BAD_USER_NAME_OR_PASSWORD" in desk.session.status)
    await until(lambda: len(desk.broker.got) > 1)


async def test_the_password_comes_from_a_file_that_others_cannot_read(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s3cret\n")
    file.chmod(0o644)
    with pytest.raises(Problems, match="chmod 600"):
        await start(password_file=file)
    file.chmod(0o600)
    desk = await start(username="n", password_file=file)
    hello = desk.broker.got[0][0]
    assert isinstance(hello, mqtt5.ConnectPacket)
    assert hello.password == b"s3cret"
    file.unlink()  # gone while it runs: it says so, and goes on trying
    desk.broker.writers[0].transport.abort()
    await until(lambda: "cannot be read" in desk.session.status)
    file.write_text("s3cret")
    file.chmod(0o600)
    await until(lambda: desk.session.subscribed)


async def test_messages_are_acknowledged_when_durable_and_in_the_order_they_came(start: Start) -> None:
    desk = await start()
    desk.broker.writers[0].write(b"".join(publish(f"a/{n}", b"%d" % n, n) for n in (9, 3, 700, 65535)))
    desk.broker.writers[0].write(publish("a/0", b"q0", None))
    await until(lambda: len(desk.payloads()) == 5)
    await asyncio.sleep(0.05)
    assert desk.broker.acked() == []
    desk.session.durable(desk.packs)
    await until(lambda: len(desk.broker.acked()) == 4)
    assert desk.broker.acked() == [9, 3, 700, 65535]
    flags = [flag for pack in desk.packs for flag in pack.flags]
    assert flags == [0, 0, 0, 0, Flag.QOS0]


async def test_what_is_durable_after_a_reconnect_is_not_acknowledged_there(start: Start) -> None:
    desk = await start()
    desk.broker.writers[0].write(publish("a/1", b"x", 5))
    await until(lambda: len(desk.packs) == 1)
    desk.broker.writers[0].transport.abort()
    await until(lambda: len(desk.broker.got) == 2 and desk.session.subscribed)
    desk.broker.writers[1].write(publish("a/2", b"another with the same id", 5))
    await until(lambda: len(desk.packs) == 2)
    desk.session.durable(desk.packs[:1])
    await asyncio.sleep(0.05)
    assert desk.broker.acked(1) == []
    desk.session.durable(desk.packs[1:])
    await until(lambda: desk.broker.acked(1) == [5])
    assert "no connection to the broker" in desk.paper.whys()


async def test_flags_and_sizes_are_told(start: Start) -> None:
    desk = await start()
    large = bytes(MAX_PAYLOAD + 1)
    for data in (
        publish("a/1", b"r", 1, retain=True),
        publish("a/1", b"d", 2, duplicate=True),
        publish("a/1", large, 3),
        publish("a/1", large[1:], 4),
    ):
        desk.broker.writers[0].write(data)
    await until(lambda: len(desk.payloads()) == 4)
    assert [f for pack in desk.packs for f in pack.flags] == [Flag.RETAIN, Flag.DUP, Flag.CUT, 0]
    assert list(map(len, desk.payloads())) == [1, 1, HEAD, MAX_PAYLOAD]


def raw(topic: bytes, number: int, payload: bytes = b"{}") -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + number.to_bytes(2, "big") + b"\0" + payload
    length, out = len(body), bytearray([0x32])
    while True:
        length, low = divmod(length, 128)
        out.append(low | (128 if length else 0))
        if not length:
            return bytes(out) + body


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the codec's own
@pytest.mark.parametrize("topic", [b"a/\xff\xfe", b"a/\0b", b"\xff" * 65535, b"\xed\xa0\x80"])
async def test_a_topic_that_is_no_text_is_journaled_and_acknowledged_with_its_neighbours(
    start: Start, topic: bytes
) -> None:
    desk = await start()
    desk.broker.writers[0].write(publish("a/1", b"before", 1) + raw(topic, 2) + publish("a/1", b"after", 3))
    await until(lambda: len(desk.payloads()) == 3)
    names = [name for pack in desk.packs for name in pack.topics]
    assert len(names[1]) <= MAX_TOPIC
    assert names[1].encode()
    desk.session.durable(desk.packs)
    await until(lambda: desk.broker.acked() == [1, 2, 3])


async def test_bytes_that_are_no_packet_end_the_connection_not_the_session(start: Start) -> None:
    desk = await start()
    desk.broker.writers[0].write(b"\x00\x00\xff\xff")
    await until(lambda: len(desk.broker.got) == 2 and desk.session.subscribed)


async def test_reading_is_paused_by_unacknowledged_bytes_while_pings_go_on(start: Start) -> None:
    desk = await start(unacked=3000, keepalive=2)
    for n in range(100):
        desk.broker.writers[0].write(publish("a/1", bytes(1000), n + 1))
        await asyncio.sleep(0)
    await until(
        lambda: desk.session._connection is not None and desk.session._connection.paused_at is not None
    )
    held, pings = len(desk.payloads()), desk.broker.pings()
    await until(lambda: desk.broker.pings() >= pings + 2)
    assert len(desk.broker.got) == 1
    assert len(desk.payloads()) == held
    await until(lambda: not desk.recorder.listening)
    assert "reading was paused" in desk.paper.whys()
    done = 0
    while len(desk.payloads()) < 100 or done < len(desk.packs):
        fresh, done = desk.packs[done:], len(desk.packs)
        lines = len(desk.paper.lines)
        deaf = not desk.recorder.listening
        desk.session.durable(fresh)
        if deaf and desk.recorder.listening:
            assert desk.paper.lines[lines][0] is RecordKind.GAP  # told before what comes now
        await asyncio.sleep(0.005)
    await until(lambda: len(desk.broker.acked()) == 100)
    assert desk.recorder.listening


async def test_pings_go_out_though_messages_without_acknowledgement_stream_in(start: Start) -> None:
    desk = await start(keepalive=2)
    end = asyncio.get_running_loop().time() + 2.2
    while asyncio.get_running_loop().time() < end:
        desk.broker.writers[0].write(publish("a/1", b"q0", None))
        await asyncio.sleep(0.05)
    assert desk.broker.pings() >= 1


async def test_the_brokers_own_keepalive_holds_and_a_silent_broker_is_left(start: Start) -> None:
    desk = await start(keepalive=600, connack=mqtt5.ConnAckPacket(server_keep_alive=2))
    desk.broker.pongs = False
    began = time.monotonic()
    await until(lambda: len(desk.broker.got) == 2, 6.0)
    assert time.monotonic() - began < 5.0
    assert desk.broker.pings(0) >= 1


async def test_a_broker_that_does_not_answer_is_not_counted_as_heard(start: Start) -> None:
    desk = await start(keepalive=60)
    await until(lambda: desk.paper.lines[-1][0] is RecordKind.WATERMARK)
    desk.broker.pongs = False
    await until(lambda: not desk.recorder.listening)
    desk.recorder.record(RecordKind.HEALTH, {})
    assert desk.paper.lines[-2][0] is RecordKind.GAP
    assert "the broker does not answer" in desk.paper.whys()
    desk.broker.pongs = True
    await until(lambda: desk.recorder.listening)
    assert len(desk.broker.got) == 1


async def test_a_publish_returns_on_its_acknowledgement_and_carries_its_expiry(start: Start) -> None:
    desk = await start()
    await desk.session.publish("x/y", b"cmd", 12.4)
    [sent] = [p for p in desk.broker.got[0] if isinstance(p, mqtt5.PublishPacket)]
    assert (sent.topic, sent.payload, sent.message_expiry_interval) == ("x/y", b"cmd", 12)
    assert (sent.qos, sent.retain) == (ONCE, False)
    await asyncio.gather(*(desk.session.publish("x/y", b"%d" % n, 1) for n in range(50)))


async def test_a_publish_that_is_refused_or_cut_off_raises(start: Start) -> None:
    desk = await start()
    desk.broker.puback = mqtt5.PubAckReasonCode.NOT_AUTHORIZED
    with pytest.raises(BrokerRefusedError, match="NOT_AUTHORIZED"):
        await desk.session.publish("x/y", b"cmd", 5)
    desk.broker.puback = None
    waiting = asyncio.create_task(desk.session.publish("x/y", b"cmd", 5))
    await until(lambda: sum(isinstance(p, mqtt5.PublishPacket) for p in desk.broker.got[0]) == 2)
    desk.broker.writers[0].transport.abort()
    with pytest.raises(ConnectionError):
        await waiting
    with pytest.raises(ConnectionError, match="not connected"):
        await desk.session.publish("x/y", b"cmd", 5)


KEPT = mqtt5.ConnAckPacket(session_present=True)
LOSS = "the broker has lost the session"


async def reconnected(desk: Desk, connack: mqtt5.ConnAckPacket) -> None:
    desk.broker.connack = connack
    connects = desk.session.connects
    desk.broker.writers[-1].transport.abort()
    await until(lambda: desk.session.connects > connects)


async def test_the_first_connection_ever_has_lost_nothing(start: Start) -> None:
    desk = await start()
    await reconnected(desk, KEPT)
    assert desk.session.lost_s == 0
    assert LOSS not in desk.paper.whys()


async def test_a_session_that_the_broker_has_lost_is_told_with_its_gap(start: Start) -> None:
    desk = await start()
    desk.broker.writers[0].write(publish("a/1", b"the last", 1))
    await until(lambda: len(desk.packs) == 1)
    heard = desk.packs[0].received
    await reconnected(desk, mqtt5.ConnAckPacket())
    [gap] = [body for kind, body in desk.paper.lines if kind is RecordKind.GAP and body["why"] == LOSS]
    assert heard <= int(str(gap["from"])) < time.time_ns()
    assert desk.session.lost_s > 0
    assert time.monotonic() - desk.session.lost_at < 5
    await reconnected(desk, KEPT)
    assert desk.paper.whys().count(LOSS) == 1


@pytest.mark.parametrize("client_id", ["nagari-collector", "another"])
async def test_a_session_lost_while_the_collector_was_down_is_told_too(start: Start, client_id: str) -> None:
    first = await start()
    assert first.session.lost_s == 0
    second = await start(client_id=client_id)  # the next process on the same data folder
    same = client_id == "nagari-collector"  # under another id it is another session, which nobody has lost
    assert (second.session.lost_s > 0) is same
    assert (LOSS in second.paper.whys()) is same


async def test_a_new_session_whose_subscription_fails_at_first_is_told_once_it_is_subscribed(
    start: Start,
) -> None:
    desk = await start()
    granted, desk.broker.grant = desk.broker.grant, []
    desk.broker.writers[-1].transport.abort()
    await until(lambda: "SUBSCRIBE" in desk.session.status)
    desk.broker.connack, desk.broker.grant = KEPT, granted
    await until(lambda: desk.session.subscribed)
    assert LOSS in desk.paper.whys()


async def test_another_client_with_our_id_is_named_and_not_fought(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    desk = await start(connack=KEPT)
    code = mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER
    desk.broker.writers[-1].write(mqtt5.DisconnectPacket(reason_code=code).write())
    await until(lambda: desk.session.rivals.times == 1)
    assert "another client uses the client id 'nagari-collector'" in desk.session.status
    assert "two collectors?" in caplog.text
    began = time.monotonic()
    await until(lambda: desk.session.subscribed)
    assert time.monotonic() - began > PAUSE_FIRST - 0.5


async def test_a_broker_that_closes_without_a_word_again_and_again_gives_us_away_too(start: Start) -> None:
    desk = await start(connack=KEPT)
    for _ in range(SUSPECT):
        assert desk.session.rivals.times == 0
        await until(lambda: desk.session.subscribed)
        desk.broker.writers[-1].close()
        await until(lambda: not desk.session.subscribed)
    assert desk.session.rivals.times == 1
    assert "another client" in desk.session.status


async def test_a_link_that_breaks_again_and_again_is_no_rival(start: Start) -> None:
    desk = await start()
    for _ in range(SUSPECT + 1):
        connects = desk.session.connects
        linger = struct.pack("ii", 1, 0)  # a reset, not an orderly end
        desk.broker.writers[-1].get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, linger
        )
        desk.broker.writers[-1].transport.abort()
        await until(lambda: desk.session.connects > connects)  # noqa: B023
    assert desk.session.rivals.times == 0


def test_two_collectors_throw_each_other_out_less_and_less_often() -> None:
    rivals, now, pauses = Rivals(), 0.0, []
    for _ in range(8):
        assert rivals.ended(now, 0.1, told=True, silent=False)
        pauses.append(rivals.pause(now))
        now += pauses[-1]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (PAUSE_FIRST, PAUSE_MOST)
    now += FORGET
    assert rivals.ended(now, 0.1, told=True, silent=False)
    assert rivals.pause(now) == PAUSE_FIRST


def test_a_broker_that_is_down_in_between_has_no_rival_of_ours() -> None:
    rivals = Rivals()
    for _ in range(10):
        assert not rivals.ended(0.0, 1.0, told=False, silent=True)
        rivals.unreachable()
    assert rivals.pause(0.0) == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the codec's own
async def test_packets_are_put_together_wherever_the_stream_is_cut() -> None:
    stream = b"".join(publish(f"a/{n}", bytes([n]) * n * 9, n) for n in range(1, 6))
    stream += publish("a/6", b"retained", 6, retain=True)
    whole: list[tuple[str, bytes]] = []
    bad = raw(b"\xff", 9)
    cuts = range(len(stream) + 1), [len(bad) - 1, len(bad) + len(stream)]
    for data, cut in [(stream, cut) for cut in cuts[0]] + [(bad + stream, cut) for cut in cuts[1]]:
        packs: list[Pack] = []
        connection = Connection(mqtt5.ConnectPacket("x"), packs.append, lambda: 1, 1 << 30)
        connection.data_received(data[:cut])
        connection.data_received(data[cut:])
        found = [pair for pack in packs for pair in zip(pack.topics, pack.payloads, strict=True)]
        whole = whole or found
        assert found[-6:] == whole
        assert len(found) == 6 + (data is not stream)
        assert not connection.closed.done()
        connection.connack.cancel()
