"""Fault 17: what must be refused is quarantined AND acknowledged, with a reason; neighbours are well."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from collector.broker import Mosquitto, free_port
from tests.acceptance.faults.checks import nothing_missing, query, settled, wait_for
from tests.acceptance.faults.proxy import Proxy, proxy, unacknowledged, wrong_acks
from tests.acceptance.faults.publishers import NUMBER, Load, Wire, now_ms
from tests.bench.rig import Rig

GOOD = b'{"values":{"latency_ms":1.5}}'
NEIGHBOURS = 10
PATIENCE = 5 * 10**9
MANY = {f"m{n}": n for n in range(501)}
CASES: dict[str, tuple[str, bytes, str]] = {
    "1 MB": ("tele", b'{"values":{"latency_ms":1}}' + b" " * 1_000_000, "more than 262144 bytes"),
    "1 MB of rubbish": ("tele", bytes(1_000_000), "more than 262144 bytes"),
    "a state of 300 KB": ("state", b"online" * 50_000, "more than 262144 bytes"),
    "deep arrays": ("tele", b"[" * 100_000 + b"]" * 100_000, "not JSON"),
    "deep objects": ("tele", b'{"values":' * 20_000 + b"1" + b"}" * 20_000, "not JSON"),
    "deep data in an event": ("event", b'{"event":"x","data":' + b"[" * 9999 + b"]" * 9999 + b"}",
        "not JSON"),
    "NaN": ("tele", b'{"values":{"latency_ms":NaN}}', "latency_ms' is not a finite number"),
    "Infinity": ("tele", b'{"values":{"latency_ms":Infinity}}', "latency_ms' is not a finite number"),
    "-Infinity": ("tele", b'{"values":{"latency_ms":-Infinity}}', "latency_ms' is not a finite number"),
    "1e400": ("tele", b'{"values":{"latency_ms":1e400}}', "latency_ms' is not a finite number"),
    "an integer of 400 digits": ("tele", b'{"values":{"latency_ms":%s}}' % (b"9" * 400), "latency_ms"),
    "an integer of 5000 digits": ("tele", b'{"values":{"latency_ms":%s}}' % (b"9" * 5000),
        "number out of range"),
    "bad UTF-8": ("tele", b'{"values":{"latency_ms":1},"x":"\xff\xfe"}', "not JSON"),
    "bad UTF-8 alone": ("tele", b"\xff\xfe", "not JSON"),
    "NUL": ("tele", b"\0", "not JSON"),
    "NUL after good JSON": ("tele", GOOD + b"\0", "not JSON"),
    "half a surrogate pair": ("tele", b'{"values":{"\\ud800":1}}', "not JSON"),
    "NUL in a name": ("tele", b'{"values":{"a\\u0000b":1}}', "metric name"),
    "cut off": ("tele", GOOD[:-1], "not JSON"),
    "two documents": ("tele", GOOD + GOOD, "not JSON"),
    "empty": ("tele", b"", "not JSON"),
    "blank": ("tele", b"  \n", "not JSON"),
    "an empty array": ("tele", b"[]", "the array is empty"),
    "null": ("tele", b"null", "not an object"),
    "a number": ("tele", b"42", "not an object"),
    "a text": ("tele", b'"latency"', "not an object"),
    "an array of numbers": ("tele", b"[1,2]", "not an object in reading 0"),
    "no values": ("tele", b'{"ts":1764000000123}', "values is missing"),
    "empty values": ("tele", b'{"values":{}}', "values is empty"),
    "values as an array": ("tele", b'{"values":[1]}', "values is not an object"),
    "a text as value": ("tele", b'{"values":{"on_lte":"on"}}', "on_lte' is not a finite number, true, false"),
    "digits as text": ("tele", b'{"values":{"latency_ms":"12"}}', "latency_ms' is not a finite number"),
    "an array as value": ("tele", b'{"values":{"latency_ms":[1]}}', "latency_ms' is not a finite number"),
    "one bad value of two": ("tele", b'{"values":{"latency_ms":1,"loss_pct":"x"}}', "loss_pct"),
    "one bad reading of two": ("tele", b"[%s,{}]" % GOOD, "values is missing in reading 1"),
    "ts below zero": ("tele", b'{"ts":-1,"values":{"latency_ms":1}}', "ts is not a whole number"),
    "ts as text": ("tele", b'{"ts":"now","values":{"latency_ms":1}}', "ts is not a whole number"),
    "ts with a fraction": ("tele", b'{"ts":1.5,"values":{"latency_ms":1}}', "ts is not a whole number"),
    "ts as bool": ("tele", b'{"ts":true,"values":{"latency_ms":1}}', "ts is not a whole number"),
    "ts past all time": ("tele", b'{"ts":99999999999999999999,"values":{"latency_ms":1}}',
        "ts is not a whole"),
    "age below zero": ("tele", b'{"age_ms":-5,"values":{"latency_ms":1}}', "age_ms is not a whole number"),
    "seq below zero": ("tele", b'{"seq":-1,"values":{"latency_ms":1}}', "seq is not a whole number"),
    "seq past 32 bits": ("tele", b'{"seq":4294967296,"values":{"latency_ms":1}}',
        "seq is not a whole number"),
    "another site": ("tele", b'{"site":"load-999","values":{"latency_ms":1}}',
        "site 'load-999' is not the topic's"),
    "another device": ("tele", b'{"device":"x","values":{"latency_ms":1}}', "device 'x' is not the topic's"),
    "another device in an event": ("event", b'{"device":"x","event":"a"}', "device 'x' is not the topic's"),
    "501 values": ("tele", json.dumps({"values": MANY}).encode(), "more than 500"),
    "501 readings": ("tele", b"[" + b",".join([GOOD] * 501) + b"]", "more than 500"),
    "15,000 values": ("tele", json.dumps({"values": {f"m{n}": n for n in range(15_000)}}).encode(),
        "more than 500"),
    "a name with capitals": ("tele", b'{"values":{"Latency":1}}', "metric name 'Latency'"),
    "a name with a blank": ("tele", b'{"values":{"a b":1}}', "metric name 'a b'"),
    "a name of 65": ("tele", b'{"values":{"%s":1}}' % (b"a" * 65), "metric name"),
    "a name of nothing": ("tele", b'{"values":{"":1}}', "metric name ''"),
    "a name that ends in a newline": ("tele", b'{"values":{"a\\n":1}}', "metric name"),
    "a state in capitals": ("state", b"ONLINE", "neither online nor offline"),
    "a state with a newline": ("state", b"online\n", "neither online nor offline"),
    "a state that is empty": ("state", b"", "neither online nor offline"),
    "an event without a name": ("event", b"{}", "event is missing"),
    "an event with NaN in it": ("event", b'{"event":"x","data":{"a":NaN}}', "NaN"),
    "an answer without a status": ("ack", b'{"id":"c1"}', "status is missing"),
    "an answer of another kind": ("ack", b'{"id":"c1","status":"perhaps"}', "none of accepted, done"),
}  # fmt: skip
TOPICS = {
    "nagari/v1/load-000000/rou ter/tele": "the device 'rou ter' in the topic is no id",
    "nagari/v1/load-000000/pengukur-sungai-é/tele": "in the topic is no id",
    f"nagari/v1/{'s' * 65}/r/tele": "in the topic is no id",
    "nagari/v1//r/tele": "the site '' in the topic is no id",
    "nagari/v1/load-000000/'; drop table readings;--/tele": "in the topic is no id",
}
"""Topics that our subscription lets in and the grammar does not."""


@dataclass
class Ward:
    """What became of the poison and of its neighbours; the collector is stopped by now."""

    rig: Rig
    link: Proxy
    stats: dict
    sent: int
    acked: set[int]
    rejects: dict[str, list[dict]] = field(default_factory=dict)  # by topic


def topic_of(rig: Rig, case: str) -> str:
    """Each case has a router of its own."""
    site, device = rig.devices[NEIGHBOURS + list(CASES).index(case)]
    return f"nagari/v1/{site}/{device}/{CASES[case][0]}"


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    folder = tmp_path_factory.mktemp("poison")
    broker = Mosquitto(folder / "mosquitto", free_port())
    broker.start()
    with proxy(broker.port) as link:
        rig = Rig(folder, sites=NEIGHBOURS + len(CASES), broker=broker, url=link.url, rules={})
        try:
            rig.start()
            yield _poison(rig, link)
        finally:
            rig.end()


def _poison(rig: Rig, link: Proxy) -> Ward:
    neighbours = Load(rig.broker.port, rig.devices[:NEIGHBOURS], 500)
    time.sleep(0.5)
    with Wire(rig.broker.port, "poison") as wire:
        for case, (_, payload, _) in CASES.items():
            wire.publish(topic_of(rig, case), payload)
        for each in TOPICS:
            wire.publish(each, GOOD)
        for _ in range(100):  # the costliest, again and again
            wire.publish(topic_of(rig, "15,000 values"), CASES["15,000 values"][1])
            wire.publish(topic_of(rig, "deep arrays"), CASES["deep arrays"][1])
        wire.flush()
        sent = wire.sent
        assert len(wire.acked) == sent
    time.sleep(1.0)
    acked = neighbours.stop()
    stats = settled(rig, sent + len(acked))
    rejects: dict[str, list[dict]] = {}
    for reject in rig.get("/api/v1/rejects?limit=1000")["rejects"]:
        rejects.setdefault(reject["topic"], []).append(reject)
    wait_for("all is acknowledged", lambda: not _left(link), 5)
    rig.stop()
    return Ward(rig, link, stats, sent, acked, rejects)


def _left(link: Proxy) -> list[int]:
    return [number for talk in link.conversations() for number in unacknowledged(talk)]


def test_every_one_of_them_is_quarantined_and_nothing_else_is(ward: Ward) -> None:
    assert ward.stats["quarantined"] == ward.sent
    assert ward.stats["stored"] == len(ward.acked)
    assert ward.stats["dropped"] == ward.stats["duplicate"] == 0


@pytest.mark.parametrize("case", CASES)
def test_a_person_can_read_why(ward: Ward, case: str) -> None:
    _, payload, reason = CASES[case]
    found = ward.rejects[topic_of(ward.rig, case)]
    said = found[0]["reason"]
    assert reason in said
    assert len(said) < 250
    assert not any(word in said for word in ("Traceback", "pydantic", "Error", "\n"))
    if len(payload) <= 262_144:
        assert found[0]["size"] == len(payload)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_outside_the_grammar_is_refused_with_the_reason(ward: Ward, topic: str) -> None:
    (found,) = ward.rejects[topic]
    assert TOPICS[topic] in found["reason"]
    assert found["head"] == GOOD.decode()


def test_all_of_it_is_acknowledged_so_that_the_broker_forgets_it(ward: Ward) -> None:
    assert _left(ward.link) == []
    assert [number for talk in ward.link.conversations() for number in wrong_acks(talk)] == []


def test_every_reading_of_the_neighbours_is_stored_and_was_taken_in_on_time(ward: Ward) -> None:
    nothing_missing(ward.rig, ward.acked)
    text = "select max(received - time) from readings join series on id = series where metric = ?"
    ((worst,),) = query(ward.rig, text, NUMBER)
    assert worst < PATIENCE


def test_nothing_of_a_refused_message_is_stored(ward: Ward) -> None:
    rows = query(ward.rig, "select distinct device from readings join series on id = series")
    assert {device for (device,) in rows} == {device for _, device in ward.rig.devices[:NEIGHBOURS]}


@pytest.mark.parametrize(
    "topic", [b"nagari/v1/a/r\0/tele", b"nagari/v1/a/r\xff\xfe/tele", b"nagari/v1/a/\xed\xa0\x80/tele"]
)
def test_a_topic_that_is_no_text_harms_its_publisher_alone(ward: Ward, topic: bytes) -> None:
    """mosquitto cuts such a publisher off."""
    ward.rig.start()
    before = ward.rig.stats()
    with Wire(ward.rig.broker.port, "bad-topic") as wire:
        body = len(topic).to_bytes(2, "big") + topic + b"\0\1\0" + GOOD
        wire.send(bytes([0x32, len(body)]) + body)
        with pytest.raises(ConnectionError):
            wire.pump(5)
    acked = Load(
        ward.rig.broker.port, ward.rig.devices[:1], 100, first=10_000_000 + now_ms() % 10**6, count=20
    ).join()
    stats = settled(ward.rig, before["received"] + len(acked))
    assert stats["stored"] == before["stored"] + len(acked)
    ward.rig.stop()
