"""The native payloads: what is written is read, and everything else is refused with one sentence."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.model import Address, Command, CommandAck, Event, Suffix
from devices.payload import FORMATS, PayloadError, native
from devices.topics import FILTERS

ADDRESS = Address("s1", "d1", Suffix.TELE)
NAMES = st.from_regex(r"\A[a-z][a-z0-9_]{0,63}\Z")
IDS = st.from_regex(r"\A[A-Za-z0-9_-]{1,64}\Z")
VALUES = st.dictionaries(
    NAMES,
    st.one_of(st.none(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)),
    min_size=1,
    max_size=8,
)
TIMES = st.integers(0, native.MAX_TS)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
ARGS = st.dictionaries(st.text(), PLAIN, max_size=4)
WHOLE = b'{"ts":1764000000123,"values":{"rx_dbm":-21.4,"on_battery":false,"x":null},"seq":7,"age_ms":3}'


def refusal(parse: Any, payload: bytes) -> str:
    with pytest.raises(PayloadError) as refused:
        parse(payload)
    assert "\n" not in refused.value.reason
    assert 0 < len(refused.value.reason) < 250
    return refused.value.reason


@given(VALUES, st.none() | TIMES, st.none() | st.integers(0, 2**32 - 1), st.none() | TIMES)
def test_readings_come_back_as_they_were_written(
    values: dict[str, float | bool | None], ts: int | None, seq: int | None, age: int | None
) -> None:
    found = native.parse_tele(native.encode_tele(values, ts, seq, age))
    assert isinstance(found, dict)
    assert found["values"] == values
    assert [type(value) for value in found["values"].values()] == [type(value) for value in values.values()]
    assert (found.get("ts"), found.get("seq"), found.get("age_ms")) == (ts, seq, age)


@settings(max_examples=50)
@given(st.lists(st.tuples(VALUES, TIMES), min_size=1, max_size=4))
def test_a_backfill_keeps_its_order(many: list[tuple[dict[str, float | bool | None], int]]) -> None:
    readings: list[native.Tele] = [{"values": values, "ts": ts} for values, ts in many]
    assert native.parse_tele(native.encode_backfill(readings)) == readings


@given(NAMES, st.none() | TIMES, ARGS)
def test_events_come_back(event: str, ts: int | None, data: dict[str, object]) -> None:
    written = Event(event, ts, data)
    assert native.parse_event(native.encode_event(written)) == written


@given(IDS, NAMES, ARGS, TIMES, st.just("") | st.from_regex(r"\A[0-9a-f]{64}\Z"))
def test_commands_come_back(id_: str, name: str, args: dict[str, object], expires: int, sig: str) -> None:
    written = Command(id_, name, args, expires, sig)
    assert native.parse_command(native.encode_command(written)) == written


@given(
    IDS,
    st.sampled_from(("accepted", "done", "failed", "rejected")),
    st.text(max_size=4096),
    st.none() | TIMES,
)
def test_answers_come_back(id_: str, status: Any, detail: str, ts: int | None) -> None:
    written = CommandAck(id_, status, detail, ts)
    assert native.parse_ack(native.encode_ack(written)) == written


@pytest.mark.parametrize("online", [True, False])
def test_presence_comes_back(online: bool) -> None:
    assert native.parse_state(native.encode_state(online)) == ("online" if online else "offline")


@pytest.mark.parametrize(
    ("parse", "payload"),
    [
        (native.parse_tele, WHOLE),
        (native.parse_tele_checked, b"[" + WHOLE + b"," + WHOLE + b"]"),
        (native.parse_event, b'{"ts":1,"event":"dying_gasp","data":{"a":[1,"\\u00e9"]}}'),
        (
            native.parse_command,
            b'{"id":"c","name":"reboot","args":{},"expires":5,"sig":"' + b"a" * 64 + b'"}',
        ),
        (native.parse_ack, b'{"id":"c","status":"done","detail":"","ts":5}'),
        (native.parse_state, b"offline"),
    ],
)
def test_cut_off_anywhere_it_is_refused_and_nothing_else_happens(parse: Any, payload: bytes) -> None:
    parse(payload)
    for size in range(len(payload)):
        refusal(parse, payload[:size])


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_noise_raises_nothing_but_a_refusal(payload: bytes) -> None:
    for parse in FORMATS.values():
        with suppress(PayloadError):
            parse(payload)


@settings(max_examples=300)
@given(PLAIN)
def test_any_json_is_read_or_refused(tree: object) -> None:
    payload = json.dumps(tree).encode()
    for parse in FORMATS.values():
        with suppress(PayloadError):
            parse(payload)


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_a_flipped_byte_is_read_or_refused(at: int, byte: int) -> None:
    broken = bytearray(WHOLE)
    broken[at] = byte
    with suppress(PayloadError):
        native.parse_tele_checked(bytes(broken))


def many_values(count: int) -> bytes:
    return b'{"values":{' + b",".join(b'"v%d":1' % index for index in range(count)) + b"}}"


def many_readings(count: int, each: bytes = b'{"values":{"a":1,"b":2}}') -> bytes:
    return b"[" + b",".join([each] * count) + b"]"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "the payload is not JSON: EOF"),
        (b"\x00", "the payload is not JSON"),
        (b"\xff\xfe", "the payload is not JSON"),
        (b'{"values":{"a\xff":1}}', "the payload is not JSON: invalid unicode"),
        (b'\xef\xbb\xbf{"values":{"a":1}}', "the payload is not JSON"),
        (b'{"values":{"a":1}} {}', "the payload is not JSON: trailing"),
        (b'{"values":{"a":1},}', "the payload is not JSON"),
        (b"[" * 100_000, "the payload is not JSON: recursion limit"),
        (b'{"a":' * 50_000, "the payload is not JSON: recursion limit"),
        (b'{"values":{"a":' + b"[" * 50_000, "the payload is not JSON: recursion limit"),
        (b"x" * 1_000_000, "the payload has 1000000 bytes, more than 262144"),
        (b"null", "the payload is not an object"),
        (b'"online"', "the payload is not an object"),
        (b"[]", "the array is empty"),
        (b"[[]]", "the payload is not an object in reading 0"),
        (b"{}", "values is missing"),
        (b'{"values":{}}', "values is empty"),
        (b'{"values":null}', "values is not an object"),
        (b'{"values":[1]}', "values is not an object"),
        (b'[{"values":{"a":1}},{"values":{}}]', "values is empty in reading 1"),
        (b'[{"values":{"a":1}},{"ts":5}]', "values is missing in reading 1"),
        (b'{"ts":-1,"values":{"a":1}}', "ts is not a whole number from 0"),
        (b'{"ts":1.5,"values":{"a":1}}', "ts is not a whole number"),
        (b'{"ts":"1764000000123","values":{"a":1}}', "ts is not a whole number"),
        (b'{"ts":true,"values":{"a":1}}', "ts is not a whole number"),
        (b'{"ts":null,"values":{"a":1}}', "ts is not a whole number"),
        (b'{"ts":9223372036855,"values":{"a":1}}', "ts is not a whole number"),
        (b'{"age_ms":-1,"values":{"a":1}}', "age_ms is not a whole number"),
        (b'{"seq":-1,"values":{"a":1}}', "seq is not a whole number from 0 to 4294967295"),
        (b'{"seq":4294967296,"values":{"a":1}}', "seq is not a whole number"),
        (b'{"site":5,"values":{"a":1}}', "site is not text"),
        (b'{"device":{},"values":{"a":1}}', "device is not text"),
        (b'{"values":{"a":"on"}}', "the value of 'a' is not a finite number, true, false or null"),
        (b'{"values":{"a":"1.5"}}', "the value of 'a' is not a finite number"),
        (b'{"values":{"a":NaN}}', "the value of 'a' is not a finite number"),
        (b'{"values":{"a":Infinity}}', "the value of 'a' is not a finite number"),
        (b'{"values":{"a":-Infinity}}', "the value of 'a' is not a finite number"),
        (b'{"values":{"a":1e400}}', "the value of 'a' is not a finite number"),
        (b'{"values":{"a":' + b"9" * 400 + b"}}", "the value of 'a' is not a finite number"),
        (b'{"values":{"a":[1]}}', "the value of 'a' is not a finite number"),
        (b'{"values":{"a":{"b":1}}}', "the value of 'a' is not a finite number"),
        (b'{"values":{"a":1,"b":"x"}}', "the value of 'b' is not a finite number"),
        (b'{"values":{"":1}}', "the metric name '' is not"),
        (b'{"values":{"Rx":1}}', "the metric name 'Rx' is not"),
        (b'{"values":{"a-b":1}}', "the metric name 'a-b' is not"),
        (b'{"values":{"a\\n":1}}', "the metric name 'a\\n' is not"),
        (b'{"values":{"a\\u0000":1}}', "the metric name 'a\\x00' is not"),
        (b'{"values":{"' + b"a" * 65 + b'":1}}', "is not 1 to 64 of a-z 0-9 _"),
        (b'{"site":"s2","values":{"a":1}}', "the payload's site 's2' is not the topic's 's1'"),
        (b'{"device":"d2","values":{"a":1}}', "the payload's device 'd2' is not the topic's 'd1'"),
        (many_values(501), "values has more than 500"),
        (many_values(20_000), "the payload has 20000 values, more than 500"),
        (many_readings(251), "the payload has 502 values, more than 500"),
        (many_readings(10_000, b'{"values":{"a":"x"}}'), "the payload has 10000 values, more than 500"),
        (many_readings(501, b"5"), "the payload is not an object in reading 0"),
    ],
)
def test_bad_readings_are_refused_with_the_reason(payload: bytes, reason: str) -> None:
    assert reason in refusal(lambda raw: native.parse_tele_checked(raw, ADDRESS), payload)


@pytest.mark.parametrize(
    ("payload", "values"),
    [
        (b' \n{"values":{"a":1}}', {"a": 1.0}),
        (b'{"values":{"a":1},"colour":"red","deep":{"x":[NaN]}}', {"a": 1.0}),
        (b'{"site":"s1","device":"d1","values":{"a":-0.0,"b":1E3,"c":true,"d":null}}',
         {"a": -0.0, "b": 1000.0, "c": True, "d": None}),
        (b'{"values":{"a":          12.50}}', {"a": 12.5}),
        (many_values(500), {f"v{index}": 1.0 for index in range(500)}),
    ],
)  # fmt: skip
def test_good_readings_are_read(payload: bytes, values: dict[str, object]) -> None:
    (found,) = native.parse_tele_checked(payload, ADDRESS)
    assert found["values"] == values


def test_the_quick_way_leaves_names_to_whoever_caches_them() -> None:
    found = native.parse_tele(b'{"values":{"A B":1}}')
    assert isinstance(found, dict)
    with pytest.raises(PayloadError, match="the metric name 'A B'"):
        native.check_names(found["values"])
    native.check_names(["a", "rx_dbm", "a" * 64])


@pytest.mark.parametrize(
    ("parse", "payload", "reason"),
    [
        (native.parse_state, b"", "the state b'' is neither online nor offline"),
        (native.parse_state, b'"online"', "neither online nor offline"),
        (native.parse_state, b"online\n", "neither online nor offline"),
        (native.parse_state, b"ONLINE", "neither online nor offline"),
        (native.parse_state, b"x" * 1_000_000, "neither online nor offline"),
        (native.parse_event, b"{}", "event is missing"),
        (native.parse_event, b'{"event":"Dying gasp"}', "event is not a name"),
        (native.parse_event, b'{"event":"x","data":[]}', "data is not an object"),
        (native.parse_event, b'{"event":"x","data":{"a":NaN}}', "data holds NaN"),
        (native.parse_event, b'{"event":"x","data":{"a":1e400}}', "data holds NaN, Infinity"),
        (native.parse_event, b'{"event":"x","ts":-1}', "ts is not a whole number"),
        (native.parse_event, b"x" * 300_000, "the payload has 300000 bytes"),
        (native.parse_ack, b'{"id":"c","status":"ok"}', "status is none of accepted, done, failed"),
        (native.parse_ack, b'{"id":"a b","status":"done"}', "id is not 1 to 64"),
        (native.parse_ack, b'{"id":"c","status":"done","detail":5}', "detail is not text"),
        (native.parse_command, b'{"id":"c","name":"reboot"}', "expires is missing"),
        (native.parse_command, b'{"id":"c","name":"re boot","expires":1}', "name is not a name"),
        (native.parse_command, b'{"id":"c","name":"x","expires":1,"sig":"AB"}', "sig is not 64 hex digits"),
        (native.parse_command, b'{"id":"c","name":"x","expires":1,"args":5}', "args is not an object"),
    ],
)
def test_other_bad_payloads_are_refused_with_the_reason(parse: Any, payload: bytes, reason: str) -> None:
    assert reason in refusal(parse, payload)


def test_an_event_for_another_device_is_refused() -> None:
    with pytest.raises(PayloadError, match="the payload's device 'd2' is not the topic's 'd1'"):
        native.parse_event(b'{"event":"x","device":"d2"}', ADDRESS)


@pytest.mark.parametrize("values", [{}, {"a": float("nan")}, {"a": float("inf")}, {"A": 1.0}, {"a": "on"}])
def test_what_a_reader_would_refuse_is_not_written(values: dict[str, Any]) -> None:
    with pytest.raises(PayloadError):
        native.encode_tele(values)


def test_every_subscription_has_its_format() -> None:
    assert set(FILTERS) < set(FORMATS)
    assert FORMATS["nagari/v1/+/+/state"](b"online") == "online"
