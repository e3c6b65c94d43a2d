"""Messages become columns or are refused with a reason; nothing that comes stops a batch."""

from __future__ import annotations

import json
import math
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core.readings import DEVICE, SeriesKey, SeriesTable
from collector.core.records import Batch, Flag, RecordKind
from collector.ingest.decode import Decoder
from collector.ingest.decoded import NO_TS, Decoded
from collector.ingest.directory import REFUSED, Caps
from devices.model import CommandAck, Event
from devices.region import Region
from simulators.regions import write_region

S = 10**9
NOW = 1_764_000_000 * S
SITE, ROUTER = "load-000000", "router-000000-0"
TELE = f"nagari/v1/{SITE}/{ROUTER}/tele"


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Region:
    made = write_region(tmp_path_factory.mktemp("region"), 2, ("router", "ont"))
    return replace(made, aliases={"old-id": SITE})


def no_other(content: str) -> Region:
    raise KeyError(content)


class OneVersion:
    """A decoder under one version of the region."""

    def __init__(self, region: Region, caps: Caps) -> None:
        self.table = SeriesTable()
        self.decoder = Decoder(self.table, no_other, caps)
        self.region = region

    def decode(self, one: Batch) -> Decoded:
        return self.decoder.decode(one, self.region)

    def shared(self, one: Batch) -> Decoded:
        [stretch] = self.decoder.shared(one, self.region)
        return stretch.found

    @property
    def unclaimed(self) -> int:
        return self.decoder.directory(self.region).unclaimed

    def claimed(self, found: Decoded) -> list[bool]:
        strange = self.decoder.directory(self.region).strange(found.series)
        return [True] * len(found.series) if strange is None else (~strange).tolist()


@pytest.fixture
def decoder(region: Region) -> OneVersion:
    return OneVersion(region, Caps(5, 4))


def batch(*messages: tuple[str, bytes] | tuple[str, bytes, int]) -> Batch:
    n = len(messages)
    return Batch(
        0, n, [1] * n, [m[2] if len(m) > 2 else 0 for m in messages],
        [m[0] for m in messages], [m[1] for m in messages],
        NOW + np.arange(n, dtype=np.int64), np.arange(n, dtype=np.int64), n,
    )  # fmt: skip


def values(decoder: OneVersion, found: Decoded) -> list[tuple[str, float]]:
    keys = decoder.table.keys
    return [(keys[s].metric, v) for s, v in zip(found.series.tolist(), found.value.tolist(), strict=True)]


def tele(**fields: object) -> bytes:
    return json.dumps({"values": {"latency_ms": 1.5}, **fields}).encode()


def test_a_message_becomes_rows(decoder: OneVersion) -> None:
    payload = b'{"ts":1764000000123,"seq":7,"values":{"latency_ms":1.5,"on_lte":true,"loss_pct":0}}'
    found = decoder.decode(batch((TELE, payload)))
    assert values(decoder, found) == [("latency_ms", 1.5), ("on_lte", 1.0), ("loss_pct", 0.0)]
    assert found.item_ts.tolist() == [1764000000123 * 10**6]
    assert found.marked.tolist() == [True]
    assert decoder.table.keys[int(found.device[0])] == SeriesKey(SITE, ROUTER, DEVICE)
    assert found.refused == []


def test_an_array_becomes_items_of_one_message(decoder: OneVersion) -> None:
    many = b'[{"ts":1,"values":{"latency_ms":1}},{"values":{"latency_ms":2,"loss_pct":3}}]'
    found = decoder.decode(batch((TELE, tele()), (TELE, many)))
    assert found.item_message.tolist() == [0, 1, 1]
    assert found.item_message[found.row_item].tolist() == [0, 1, 1, 1]
    assert found.item_ts.tolist() == [NO_TS, 10**6, NO_TS]


def test_nulls_are_no_readings(decoder: OneVersion) -> None:
    some, none = b'{"values":{"latency_ms":null,"loss_pct":2}}', b'{"values":{"latency_ms":null}}'
    found = decoder.decode(batch((TELE, some), (TELE, none), (TELE, tele())))
    assert values(decoder, found) == [("loss_pct", 2.0), ("latency_ms", 1.5)]
    assert found.item_message[found.row_item].tolist() == [0, 2]
    assert found.nulls == [1]


def test_an_age_beats_the_time_sent(decoder: OneVersion) -> None:
    found = decoder.decode(batch((TELE, tele()), (TELE, tele(ts=5, age_ms=1500))))
    assert found.item_ts.tolist() == [NO_TS, NOW + 1 - 1500 * 10**6]
    assert found.aged == [1]


@pytest.mark.parametrize("age", [0, 2**33, 9_223_372_036_854])
def test_no_age_is_too_large(decoder: OneVersion, age: int) -> None:
    found = decoder.decode(batch((TELE, tele(age_ms=age))))
    assert found.item_ts.tolist() == [NOW - age * 10**6]


REFUSED_ONES = {
    (TELE, b""): "not JSON",
    (TELE, b"[]"): "empty",
    (TELE, b"{}"): "values is missing",
    (TELE, b'{"values":{}}'): "values is empty",
    (TELE, b'{"values":{"a":"on"}}'): "not a finite number",
    (TELE, b'{"values":{"a":1e400}}'): "not",
    (TELE, b'{"values":{"a":NaN}}'): "not",
    (TELE, b'{"values":{"Rx":1}}'): "metric name",
    (TELE, b'{"ts":-1,"values":{"a":1}}'): "ts",
    (TELE, b'{"ts":1.5,"values":{"a":1}}'): "ts",
    (TELE, b'{"ts":true,"values":{"a":1}}'): "ts",
    (TELE, b'{"device":"other","values":{"latency_ms":1}}'): "device",
    (TELE, b'{"site":"other","values":{"latency_ms":1}}'): "site",
    (TELE, b'[{"values":{"latency_ms":1}},{"values":{"latency_ms":"x"}}]'): "reading 1",
    (TELE, b"\xff\xfe"): "not JSON",
    (TELE, b"[" * 100_000): "not JSON",
    (TELE.replace("tele", "state"), b"ONLINE"): "online",
    (TELE.replace("tele", "event"), b'{"event":1}'): "event",
    (TELE.replace("tele", "ack"), b'{"id":"a"}'): "status",
    (TELE.replace("tele", "cmd"), b"{}"): "command",
    ("nagari/v2/a/b/tele", b"{}"): "does not begin",
    ("nagari/v1/a/tele", b"{}"): "levels",
    ("nagari/v1/a,b/c/tele", tele()): "is no id",
    ("nagari/v1/\\xff/c/tele", tele()): "is no id",
    ("?", b""): "does not begin",
}


@pytest.mark.parametrize("message", REFUSED_ONES, ids=lambda message: repr(message)[:60])
def test_a_bad_message_is_refused_with_a_reason_and_its_neighbours_are_untouched(
    decoder: OneVersion, message: tuple[str, bytes]
) -> None:
    found = decoder.decode(batch((TELE, tele()), message, (TELE, tele(seq=1))))
    [(which, reason)] = found.refused
    assert which == 1
    assert REFUSED_ONES[message] in reason
    assert "\n" not in reason
    assert found.device[1] == REFUSED
    assert found.item_message[found.row_item].tolist() == [0, 2]
    assert len(found) == 3


def test_what_was_cut_is_refused_whatever_is_left_of_it(decoder: OneVersion) -> None:
    found = decoder.decode(batch((TELE, tele(), int(Flag.CUT))))
    assert found.refused == [(0, "the payload has more than 262144 bytes")]


def test_states_events_and_answers_are_told_apart(decoder: OneVersion) -> None:
    at = TELE.removesuffix("tele")
    found = decoder.decode(
        batch(
            (at + "state", b"offline", int(Flag.RETAIN)),
            (at + "state", b"online"),
            (at + "event", b'{"event":"dying_gasp","ts":1}'),
            (at + "ack", b'{"id":"c1","status":"done"}', int(Flag.QOS0)),
        )
    )
    assert found.states == [(0, False), (1, True)]
    assert found.signs == {2: Event("dying_gasp", 1, {}), 3: CommandAck("c1", "done")}
    assert found.marked.tolist() == [False, False, True, False]
    assert found.retained.tolist() == [True, False, False, False]
    assert found.qos0 == 1


def test_other_records_are_passed_over(decoder: OneVersion) -> None:
    mixed = batch(("", b"{}"), (TELE, tele()), ("", b"{}"))
    mixed.kinds = [2, 1, 6]
    found = decoder.decode(mixed)
    assert found.record.tolist() == [1]
    assert len(decoder.decode(Batch.empty(0, 9, 0))) == 0


@pytest.mark.parametrize("site", ["old-id", SITE])
@pytest.mark.parametrize("named", [True, False])
def test_an_old_id_of_a_site_still_works_with_its_name_in_the_payload_too(
    decoder: OneVersion, site: str, named: bool
) -> None:
    at = f"nagari/v1/{site}/{ROUTER}/"
    own = {"site": site, "device": ROUTER} if named else {}
    event = json.dumps({"event": "dying_gasp", **own}).encode()
    found = decoder.decode(
        batch((at + "tele", tele(**own)), (at + "event", event), (at + "tele", b"[" + tele(**own) + b"]"))
    )
    assert found.refused == []
    assert {decoder.table.keys[n].site for n in found.series.tolist()} == {SITE}


def metrics(*names: str) -> bytes:
    return json.dumps({"values": dict.fromkeys(names, 1)}).encode()


def test_unknown_devices_are_taken_up_to_the_cap_then_refused(decoder: OneVersion) -> None:
    strange = [(f"nagari/v1/{SITE}/x{n}/tele", tele()) for n in range(4)]
    found = decoder.decode(batch(*strange, (TELE, tele())))
    # a device and a metric each: two fit whole, of the third the device only
    assert [which for which, _ in found.refused] == [2, 3]
    assert "the cap of 5 unclaimed series is reached" in found.refused[0][1]
    assert decoder.unclaimed == 5


def test_a_known_devices_readings_are_taken_though_there_is_no_room_for_an_unknown_metric(
    decoder: OneVersion,
) -> None:
    decoder.decode(batch(*[(f"nagari/v1/{SITE}/x{n}/tele", tele()) for n in range(4)]))
    found = decoder.decode(batch((TELE, metrics("latency_ms", "made_up")), (TELE, metrics("made_up"))))
    assert values(decoder, found) == [("latency_ms", 1.0)]
    assert found.left_out == 1
    [(which, reason)] = found.refused
    assert which == 1
    assert f"does not know {ROUTER} with these metrics" in reason


def test_who_invents_names_fills_its_own_share_and_leaves_the_others_theirs(region: Region) -> None:
    decoder = OneVersion(region, Caps(1000, 4))
    at = f"nagari/v1/{SITE}/inventor/tele"
    found = decoder.decode(batch(*[(at, metrics(f"m{n}")) for n in range(50)], (TELE, metrics("extra"))))
    assert len(found.refused) == 47  # the device itself and three metrics are taken
    assert "the cap of 4 of inventor is reached" in found.refused[0][1]
    assert [name for name, _ in values(decoder, found)] == ["m0", "m1", "m2", "extra"]


def test_an_array_keeps_what_is_known_of_each_reading(decoder: OneVersion) -> None:
    decoder.decode(batch(*[(f"nagari/v1/{SITE}/x{n}/tele", tele()) for n in range(4)]))
    many = b"[" + metrics("latency_ms") + b"," + metrics("made_up") + b"]"
    found = decoder.decode(batch((TELE, many)))
    assert found.refused == []
    assert values(decoder, found) == [("latency_ms", 1.0)]


def test_a_known_device_reported_from_another_site_is_not_claimed(decoder: OneVersion) -> None:
    decoder.decode(batch((f"nagari/v1/load-000001/{ROUTER}/tele", tele())))
    assert decoder.unclaimed == 2


def test_many_shapes_of_one_device_do_not_pile_up(decoder: OneVersion) -> None:
    names = ["latency_ms", "loss_pct", "jitter_ms", "rx_bps", "tx_bps", "cpu_pct", "on_lte"]
    rng = np.random.default_rng(1)
    for _ in range(300):
        some = rng.permutation(names)[: rng.integers(1, 8)]
        body = json.dumps({"values": {str(name): 1 for name in some}}).encode()
        found = decoder.decode(batch((TELE, body)))
        assert [metric for metric, _ in values(decoder, found)] == [str(name) for name in some]
    entry = decoder.decoder.directory(decoder.region).topics[TELE]
    assert entry.others
    assert len(entry.others) <= 64


def region_record(one: Batch, record: int, region: Region) -> Batch:
    """The batch with a record in it from which on that version of the region holds."""
    one.kinds[record], one.topics[record] = int(RecordKind.REGION), ""
    one.payloads[record] = json.dumps({"hash": region.hash}).encode()
    return one


def test_each_record_is_decoded_by_the_version_in_force_at_it(tmp_path: Path) -> None:
    small, large = write_region(tmp_path / "a", 1), write_region(tmp_path / "b", 2)
    decoder = Decoder(SeriesTable(), {small.hash: small, large.hash: large}.__getitem__)
    other = "nagari/v1/load-000001/router-000001-0/tele"
    one = region_record(batch((other, tele()), ("", b""), (other, tele())), 1, large)
    before, after = decoder.shared(one, small)
    assert (before.region, after.region) == (small, large)
    assert [len(before.batch), len(after.batch)] == [1, 2]
    assert (before.batch.end, after.batch.start, after.batch.end) == (1, 1, 3)
    assert decoder.directory(small).strange(before.found.series) is not None
    assert decoder.directory(large).strange(after.found.series) is None


def test_an_alias_counts_from_the_version_that_names_it_on(region: Region) -> None:
    plain = replace(region, aliases={}, hash="plain")
    decoder = Decoder(SeriesTable(), {region.hash: region}.__getitem__)
    old = TELE.replace(SITE, "old-id")
    stretches = decoder.shared(
        region_record(batch((old, tele()), ("", b""), (old, tele())), 1, region), plain
    )
    keys = decoder._table.keys
    assert [keys[int(s.found.series[0])].site for s in stretches] == ["old-id", SITE]


def test_a_version_that_cannot_be_had_leaves_the_one_before_in_force(
    region: Region, caplog: pytest.LogCaptureFixture
) -> None:
    decoder = Decoder(SeriesTable(), no_other)
    lost = region_record(batch((TELE, tele()), ("", b"")), 1, replace(region, hash="lost"))
    [stretch] = decoder.shared(lost, region)
    assert (stretch.region, len(stretch.found)) == (region, 1)
    assert "the region lost cannot be had" in caplog.text


def test_what_leaves_the_inventory_and_what_comes_is_told_apart_though_they_are_as_many(
    tmp_path: Path,
) -> None:
    one, two = write_region(tmp_path / "a", 1, ("router",)), write_region(tmp_path / "b", 1, ("ont",))
    decoder = Decoder(SeriesTable(), no_other)
    at = "nagari/v1/load-000000/{}-000000-0/tele"
    both = batch((at.format("router"), tele()), (at.format("ont"), metrics("rx_dbm")))
    for version, strange in ((one, [False, True]), (two, [True, False]), (one, [False, True])):
        found = decoder.decode(both, version)
        said = decoder.directory(version).strange(found.series)
        assert said is not None
        assert said.tolist() == strange


def test_followers_share_what_the_first_one_decoded(decoder: OneVersion) -> None:
    one, got = batch((TELE, tele())), list[Decoded]()
    threads = [threading.Thread(target=lambda: got.append(decoder.shared(one))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(each is got[0] for each in got)


SUFFIX = st.sampled_from(["tele", "state", "event", "ack", "cmd", ""])
JSONISH = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["values", "ts", "seq", "age_ms", "event", "id", "status", "site", "latency_ms", "é"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
).map(lambda tree: json.dumps(tree).encode())
PAYLOAD = (
    st.binary(max_size=30) | JSONISH | st.sampled_from([b"online", tele(), tele(ts=2**62), b'{"values":'])
)
TOPIC = st.text(max_size=20) | SUFFIX.map(lambda suffix: f"nagari/v1/{SITE}/{ROUTER}/{suffix}")


@settings(max_examples=150, deadline=None)
@given(messages=st.lists(st.tuples(TOPIC, PAYLOAD, st.integers(0, 15)), max_size=6))
def test_no_bytes_make_a_batch_fail(region: Region, messages: list[tuple[str, bytes, int]]) -> None:
    found = OneVersion(region, Caps(5, 4)).decode(batch(*messages))
    assert len(found) == len(messages)
    refused = {which for which, _ in found.refused}
    assert refused == set(np.flatnonzero(found.device == REFUSED).tolist())
    others = {
        *found.item_message[found.row_item].tolist(),
        *(m for m, _ in found.states),
        *found.signs,
        *found.nulls,
    }
    assert refused.isdisjoint(others)
    assert refused | others == set(range(len(messages)))
    assert all(map(math.isfinite, found.value.tolist()))
    assert all(reason for _, reason in found.refused)
