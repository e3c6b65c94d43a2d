"""Whose time: the columns say what one message at a time would, however the journal is cut into batches."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector.alarms.engine import Engine
from collector.alarms.rules import parse_rules
from collector.core.bundle import BundleError
from collector.core.readings import DEVICE, Quality, Readings, SeriesKey, SeriesTable
from collector.core.records import Batch, Flag
from collector.core.roster import Part, numbers, roster
from collector.ingest.dating import Dating
from collector.ingest.decode import Decoder
from devices.payload.native import MAX_TS
from devices.region import Region
from simulators.regions import write_region

S = 10**9
NOW = 1_764_000_000 * S
HOUR = 3600 * S
WEEK = 7 * 24 * HOUR
DAWN = 1_577_836_800 * S
SITES = ("load-000000", "load-000001")


@dataclass(frozen=True)
class Message:
    """One message and when it was received."""

    received: int
    topic: str
    payload: bytes
    flags: int = 0


@dataclass
class Told:
    """What was said of messages: rows (key, time, value, quality), newer, copies, clocks."""

    rows: list[tuple[SeriesKey, int, float, int, bool]] = field(default_factory=list)
    copies: list[bool] = field(default_factory=list)
    clocks: list[tuple[int, bool]] = field(default_factory=list)


class Reference:
    """DESIGN's "Whose time", one message after the other."""

    def __init__(self) -> None:
        self.last: dict[SeriesKey, int] = {}
        self.wrong: set[str] = set()
        self.suspects: dict[str, tuple[int, int, int]] = {}
        self.recent: dict[tuple[str, bytes], int] = {}
        self.told = Told()

    def take(self, number: int, message: Message) -> None:
        _, _, site, device, suffix = message.topic.split("/")
        received, retained = message.received, bool(message.flags & Flag.RETAIN)
        tree = json.loads(message.payload)
        items: list[dict[str, Any]] = [] if suffix != "tele" else tree if isinstance(tree, list) else [tree]
        for item in items:
            item["clocked"] = "ts" in item and "age_ms" not in item
            item["at"] = item["ts"] * 10**6 if "ts" in item else None
            if "age_ms" in item:
                item["at"] = max(0, received - item["age_ms"] * 10**6)
            at = item["at"]
            item["bad"] = at is not None and (at - received > 10 * S or at < DAWN)
            item["outside"] = at is not None and not item["bad"] and at - received < -60 * S
            item["ahead"] = at is not None and at - received > S // 10
        self._judge(number, device, received, [i for i in items if i["clocked"] and not retained])
        copy = self._copy(message, suffix, tree, items)
        self.told.copies.append(copy)
        self._date(received, items)
        for item in items if not copy else []:
            self._rows(site, device, item, received, retained)

    def _judge(self, number: int, device: str, received: int, items: list[dict[str, Any]]) -> None:
        if not items:
            return
        newest = max(items, key=lambda item: item["at"])
        wrong = newest["bad"]
        if not wrong:
            wrong = self._same_again(device, newest["at"] - received, received)
        if wrong:
            for item in items:
                item["bad"] = True
        if wrong != (device in self.wrong):
            (self.wrong.add if wrong else self.wrong.discard)(device)
            self.told.clocks.append((number, wrong))

    def _same_again(self, device: str, offset: int, received: int) -> bool:
        if offset >= -60 * S:
            self.suspects.pop(device, None)
            return False
        first, since, count = self.suspects.get(device, (offset, received, 0))
        if abs(offset - first) > 5 * S:
            first, since, count = offset, received, 0
        self.suspects[device] = first, since, count + 1
        return count + 1 >= 5 and received - since >= 120 * S

    def _copy(self, message: Message, suffix: str, tree: Any, items: list[dict[str, Any]]) -> bool:
        unsure = [i for i in items if not i["clocked"] or i["bad"] or i["outside"] or i["ahead"]]
        parts = tree if isinstance(tree, list) else [tree]
        marked = any("ts" in part or "seq" in part for part in parts)
        if not marked or not (unsure or suffix != "tele"):
            return False
        key, at = (message.topic, message.payload), message.received
        if key in self.recent and at - self.recent[key] <= 600 * S:
            return True
        self.recent[key] = at
        return False

    @staticmethod
    def _date(received: int, items: list[dict[str, Any]]) -> None:
        bad = [item for item in items if item["bad"]]
        for behind, item in enumerate(reversed(bad)):
            back = max(other["at"] for other in bad) - item["at"]
            item["time"] = received - (back if back <= WEEK else WEEK + behind)
        bare = [item for item in items if item["at"] is None]
        for back, item in enumerate(reversed(bare)):
            item["time"] = received - back
        for item in items:
            item.setdefault("time", item["at"])
            late = item["outside"] and not item["bad"]
            old = late and item["at"] - received < -24 * HOUR
            item["quality"] = late * Quality.LATE | old * Quality.OLD | item["bad"] * Quality.CLOCK

    def _rows(self, site: str, device: str, item: dict[str, Any], received: int, retained: bool) -> None:
        for metric, value in item["values"].items():
            if value is None:
                continue
            key, quality = SeriesKey(site, device, metric), item["quality"] | retained * Quality.RETAINED
            last = self.last.get(key, -(2**63))
            newer = item["time"] > last
            if newer or last > received + 10 * S:
                self.last[key] = item["time"]
            elif last <= received and item["at"] is not None and not item["bad"] and not quality:
                quality = Quality.LATE
            self.told.rows.append((key, item["time"], float(value), int(quality), newer))


class Columns:
    """The code under test, fed in batches; it may be put to sleep and woken between them."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.table = SeriesTable()
        self.decoder = Decoder(self.table, {}.__getitem__)
        self.dating = Dating(self.table)
        self.told = Told()
        self.count = 0

    def wake_anew(self) -> None:
        size, series = roster(self.table)
        kept, self.table = self.dating.save(size), SeriesTable()
        for n in range(3):  # other numbers than before
            self.table.number(SeriesKey("elsewhere", f"d{n}", "m"))
        self.decoder = Decoder(self.table, {}.__getitem__)
        self.dating = Dating.load(self.table, kept, numbers(self.table, series))

    def take(self, messages: list[Message]) -> Readings:
        batch = journaled(messages)
        found = self.decoder.decode(batch, self.region)
        dated = self.dating.date(batch, found)
        rows, keys = dated.readings, self.table.keys
        columns = (rows.series, rows.time, rows.value, rows.quality, dated.newer)
        self.told.rows += [
            (keys[s], t, v, q, n) for s, t, v, q, n in zip(*(c.tolist() for c in columns), strict=True)
        ]
        self.told.copies += dated.copy.tolist()
        self.told.clocks += [(self.count + message, wrong) for message, wrong in dated.clock]
        self.count += len(messages)
        return rows


def journaled(messages: list[Message]) -> Batch:
    n = len(messages)
    return Batch(
        0, n, [1] * n, [m.flags for m in messages], [m.topic for m in messages],
        [m.payload for m in messages], np.array([m.received for m in messages], np.int64),
        np.arange(n, dtype=np.int64), n,
    )  # fmt: skip


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Region:
    return write_region(tmp_path_factory.mktemp("region"), 2)


STEADY = st.integers(-5, 5).map(lambda jitter: -HOUR + jitter * S // 2)
OFFSET = st.one_of(
    STEADY,
    st.sampled_from(
        [0, -S, S // 20, S // 2, 9 * S, 10 * S, 11 * S, HOUR, -59 * S, -60 * S, -61 * S, -300 * S]
    ),
    st.sampled_from([-23 * HOUR, -25 * HOUR, -24 * HOUR, -NOW, -(NOW - DAWN) - S, -(NOW - DAWN) + HOUR]),
)
PACE = st.sampled_from([10**6, S, 10 * S, 29 * S, 30 * S, 31 * S, 61 * S, 599 * S, 601 * S])
VALUES = st.sampled_from(
    [{"latency_ms": 1}, {"latency_ms": 2, "on_lte": True}, {"loss_pct": 3, "latency_ms": None}]
)


@st.composite
def item(draw: st.DrawFn, received: int, offsets: st.SearchStrategy[int]) -> dict[str, Any]:
    found: dict[str, Any] = {"values": draw(VALUES)}
    if draw(st.integers(0, 3)):
        found["ts"] = max(0, received + draw(offsets)) // 10**6
    if not draw(st.integers(0, 4)):
        found["seq"] = draw(st.integers(0, 2))
    if not draw(st.integers(0, 9)):
        found["age_ms"] = draw(st.sampled_from([0, 1000, 61_000, 100_000, 90_000_000, 3 * 10**11]))
    return found


@st.composite
def journal(draw: st.DrawFn) -> list[Message]:
    received, found = NOW, list[Message]()
    offsets = draw(st.sampled_from([OFFSET, STEADY, STEADY | st.sampled_from([0, HOUR])]))
    for _ in range(draw(st.integers(1, 25))):
        received += draw(PACE)
        site = draw(st.sampled_from(SITES))
        topic = f"nagari/v1/{site}/router-{site[5:]}-0/"
        again = found and not draw(st.integers(0, 5))
        if again:
            earlier = draw(st.sampled_from(found))
            found.append(Message(received, earlier.topic, earlier.payload, int(Flag.DUP)))
        elif not draw(st.integers(0, 9)):
            event = {"event": "dying_gasp", **draw(st.sampled_from([{}, {"ts": 5}]))}
            found.append(Message(received, topic + "event", json.dumps(event).encode()))
        else:
            one = item(received, offsets)
            tree = draw(one if draw(st.integers(0, 3)) else st.lists(one, min_size=1, max_size=4))
            flags = int(Flag.RETAIN) if not draw(st.integers(0, 9)) else 0
            found.append(Message(received, topic + "tele", json.dumps(tree).encode(), flags))
    return found


@settings(max_examples=250, deadline=None)
@given(messages=journal(), cuts=st.sets(st.integers(1, 24)), naps=st.sets(st.integers(1, 24)))
def test_any_batching_and_any_restart_dates_like_one_message_at_a_time(
    region: Region, messages: list[Message], cuts: set[int], naps: set[int]
) -> None:
    reference, columns = Reference(), Columns(region)
    for number, message in enumerate(messages):
        reference.take(number, message)
    edges = [0, *sorted(cut for cut in cuts if cut < len(messages)), len(messages)]
    for start, end in itertools.pairwise(edges):
        columns.take(messages[start:end])
        if end in naps:
            columns.wake_anew()
    assert columns.told.copies == reference.told.copies
    assert columns.told.clocks == reference.told.clocks
    assert columns.told.rows == reference.told.rows


def tele(received: int, tree: object, flags: int = 0) -> Message:
    return Message(received, f"nagari/v1/{SITES[0]}/router-000000-0/tele", json.dumps(tree).encode(), flags)


def told(region: Region, *messages: Message) -> list[tuple[int, int]]:
    """(time relative to receipt, quality) of each row, when all is one batch."""
    columns = Columns(region)
    columns.take(list(messages))
    [received] = {message.received for message in messages[-1:]}
    return [(time - received, quality) for _, time, _, quality, _ in columns.told.rows]


def at(offset: int) -> Message:
    return tele(NOW, {"ts": (NOW + offset) // 10**6, "values": {"latency_ms": 1}})


@pytest.mark.parametrize(
    ("offset", "time", "quality"),
    [
        (0, 0, 0),
        (10 * S, 10 * S, 0),
        (10 * S + 10**6, 0, Quality.CLOCK),
        (365 * 24 * HOUR, 0, Quality.CLOCK),
        (-60 * S, -60 * S, 0),
        (-61 * S, -61 * S, Quality.LATE),
        (-24 * HOUR, -24 * HOUR, Quality.LATE),
        (-25 * HOUR, -25 * HOUR, Quality.LATE | Quality.OLD),
        (DAWN - NOW, DAWN - NOW, Quality.LATE | Quality.OLD),
        (DAWN - NOW - S, 0, Quality.CLOCK),
        (-NOW, 0, Quality.CLOCK),
    ],
)
def test_a_single_reading(region: Region, offset: int, time: int, quality: int) -> None:
    assert told(region, at(offset)) == [(time, quality)]


def test_a_router_that_booted_in_1970_keeps_the_spacing_of_its_array(region: Region) -> None:
    many = [{"ts": 1000 * n, "values": {"latency_ms": n}} for n in (1, 2, 5)]
    assert told(region, tele(NOW, many)) == [(-4 * S, 4), (-3 * S, 4), (0, 4)]


def test_an_array_of_nonsense_is_dated_within_a_week_before_its_receipt(region: Region) -> None:
    ends = [{"ts": MAX_TS, "values": {"latency_ms": 1}}, {"age_ms": MAX_TS, "values": {"latency_ms": 2}}]
    assert told(region, tele(NOW, ends)) == [(0, 4), (-WEEK, 4)]


def test_a_copy_of_a_reading_from_a_clock_that_is_ahead_is_told(region: Region) -> None:
    ahead = at(5 * S)
    copy = Message(NOW + S, ahead.topic, ahead.payload, int(Flag.DUP))
    columns = Columns(region)
    columns.take([ahead, copy])
    assert columns.told.copies == [False, True]


def test_a_clock_that_was_ahead_and_is_set_right_makes_no_reading_late(region: Region) -> None:
    columns = Columns(region)
    columns.take([at(9 * S), tele(NOW + S, {"ts": (NOW + S) // 10**6, "values": {"latency_ms": 1}})])
    assert [(quality, newer) for *_, quality, newer in columns.told.rows] == [(0, True), (0, False)]


def test_a_last_time_that_is_to_come_heals_with_the_next_reading(region: Region) -> None:
    columns = Columns(region)
    columns.take([at(-5 * S)])
    columns.dating.last[:] = NOW + 59 * 365 * 24 * HOUR  # as an older program's snapshot, or a store, may say
    columns.wake_anew()
    columns.take([at(0), at(1 * S)])
    assert [(quality, newer) for *_, quality, newer in columns.told.rows[1:]] == [(0, False), (0, True)]


def test_an_array_without_times_beside_a_refused_message_keeps_all_its_readings(region: Region) -> None:
    many = [{"values": {"latency_ms": n}} for n in (1, 2)]
    assert told(region, tele(NOW - S, []), tele(NOW, many)) == [(-1, 0), (0, 0)]


def test_a_constant_age_is_late_and_no_wrong_clock(region: Region) -> None:
    columns = Columns(region)
    columns.take([tele(NOW + n * 60 * S, {"age_ms": 90_000, "values": {"latency_ms": n}}) for n in range(10)])
    assert {quality for *_, quality, _ in columns.told.rows} == {int(Quality.LATE)}
    assert columns.told.clocks == []


def test_a_copy_of_an_aged_reading_is_told_by_its_number(region: Region) -> None:
    body = {"seq": 7, "age_ms": 100, "values": {"latency_ms": 1}}
    assert told(region, tele(NOW - 5 * S, body), tele(NOW, body, int(Flag.DUP))) == [(-5 * S - 10**8, 0)]


def test_the_same_offset_again_and_again_is_a_wrong_clock_until_it_is_right(region: Region) -> None:
    columns, messages = Columns(region), list[Message]()
    for n in range(6):
        received = NOW + n * 30 * S
        messages.append(tele(received, {"ts": (received - HOUR) // 10**6 + n, "values": {"latency_ms": n}}))
    received = NOW + 7 * 30 * S
    messages.append(tele(received, {"ts": received // 10**6, "values": {"latency_ms": 9}}))
    columns.take(messages)
    assert [quality for *_, quality, _ in columns.told.rows] == [1, 1, 1, 1, 4, 4, 0]
    assert columns.told.clocks == [(4, True), (6, False)]


def test_a_reading_within_the_window_ends_the_suspicion_whatever_the_batch(region: Region) -> None:
    def late(n: int, offset: int) -> Message:
        received = NOW + n * 40 * S
        return tele(received, {"ts": (received - offset) // 10**6, "values": {"latency_ms": n}})

    messages = [late(n, 0 if n == 2 else HOUR) for n in range(6)]
    columns = Columns(region)
    columns.take(messages)
    assert columns.told.clocks == []


def test_memory_of_copies_is_let_go_after_ten_minutes(region: Region) -> None:
    columns = Columns(region)
    columns.take([tele(NOW + n, {"seq": n, "values": {"latency_ms": 1}}) for n in range(50)])
    columns.take([tele(NOW + 601 * S, {"seq": 3, "values": {"latency_ms": 1}})])
    assert len(columns.dating._recent) == 1
    assert not any(columns.told.copies)


ANY_TIME = st.one_of(
    st.integers(0, MAX_TS),
    st.sampled_from([0, MAX_TS]),
    st.integers(-(10**6), 10**6).map(lambda n: NOW // 10**6 + n),
)
ANY_ITEM = st.fixed_dictionaries(
    {"values": st.just({"loss_pct": 0})},
    optional={"ts": ANY_TIME, "age_ms": st.integers(0, 10**5) | ANY_TIME, "seq": st.integers(0, 3)},
)
ANY_MESSAGE = st.tuples(
    st.integers(0, 15 * S), ANY_ITEM | st.lists(ANY_ITEM, min_size=1, max_size=4), st.sampled_from([0, 1, 2])
)
LOSS = b"""
[[rule]]
name = "loss"
select = { kind = "router", metric = "loss_pct" }
when = { above = 5.0, for = "7s" }
severity = "major"
summary = { id = "{value}", en = "{value}" }
"""


@settings(max_examples=150, deadline=None)
@example(
    story=[
        (0, {"values": {"loss_pct": 0}}, 0),
        (0, {"values": {"loss_pct": 0}, "seq": 0, "ts": 1_764_000_000_001}, 0),
    ],
    wait=1,
    lag=999_997,
)
@given(story=st.lists(ANY_MESSAGE, max_size=8), wait=st.integers(1, 20 * S), lag=st.integers(0, S // 2))
def test_after_any_messages_whatever_a_live_reading_raises_within_its_for(
    region: Region, story: list[tuple[int, object, int]], wait: int, lag: int
) -> None:
    columns, rules = Columns(region), parse_rules({"rules/r.toml": LOSS}, region)
    engine, now, times = Engine(columns.table), NOW, [0]
    engine.region(region, rules, NOW, 0)

    def take(message: Message) -> None:
        readings = columns.take([message])
        times.extend(readings.time.tolist())
        engine.rows(readings, np.zeros(len(readings), np.int64))
        assert (readings.time <= message.received + 10 * S).all()

    for pause, tree, flags in story:
        now += pause + 1
        take(tele(now, tree, flags))
    now += wait + lag
    # Measured after what was measured before, in the milliseconds of devices: else it is a copy, or late.
    newest = max(time for time in times if time <= now)
    ts = max(-(-(now - lag) // 10**6), newest // 10**6 + 1)
    take(tele(now, {"ts": ts, "values": {"loss_pct": 9}}))
    engine.advance(now + 7 * S, 0)
    assert [alert.condition for alert in engine.alerts.values()] == ["active"]


def test_a_snapshot_of_something_else_is_refused() -> None:
    with pytest.raises(BundleError):
        Dating.load(SeriesTable(), Part({"wrong": [], "suspects": []}, {}), np.empty(0, np.int32))


def test_a_devices_own_series_carries_the_clock(region: Region) -> None:
    columns = Columns(region)
    columns.take([at(HOUR)])
    assert [columns.table.keys[n] for n in columns.dating.wrong] == [
        SeriesKey(SITES[0], "router-000000-0", DEVICE)
    ]
