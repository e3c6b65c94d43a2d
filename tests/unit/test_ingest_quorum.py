"""The collector's own clock: whatever becomes of it, nobody is blind for a minute, and it is told."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.alarms.engine import Engine
from collector.alarms.rules import parse_rules
from collector.core.clock import Clock
from collector.core.readings import Quality, SeriesTable
from collector.core.records import Batch, RecordKind
from collector.core.roster import numbers, roster
from collector.ingest.dating import Dated, Dating
from collector.ingest.decode import Decoder
from devices.region import Region
from simulators.regions import write_region

S = 10**9
HOUR = 3600
TRUE = 1_764_000_000 * S
DEVICES = 12
PERIOD = 10
LOSS = b"""
[[rule]]
name = "loss"
select = { kind = "router", metric = "loss_pct" }
when = { above = 5.0, for = "7s" }
severity = "major"
summary = { id = "{value}", en = "{value}" }
"""
Record = tuple[int, str, bytes, int]  # kind, topic, payload, stamp


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Region:
    return write_region(tmp_path_factory.mktemp("region"), DEVICES)


def place(device: int) -> str:
    return f"load-{device:06}/router-{device:06}-0"


def batch(records: list[Record], start: int = 0) -> Batch:
    kinds, topics, payloads, stamps = map(list, zip(*records, strict=True))
    n = len(records)
    columns = np.array(stamps, np.int64), np.arange(start, start + n, dtype=np.int64)
    return Batch(start, start + n, kinds, [0] * n, topics, payloads, *columns, n)


def reading(device: int, ts: int, stamp: int, loss: float = 0.0) -> Record:
    body = {"ts": ts // 10**6, "values": {"loss_pct": loss}}
    return (RecordKind.MESSAGE, f"nagari/v1/{place(device)}/tele", json.dumps(body).encode(), stamp)


def told(kind: RecordKind, body: dict[str, object], stamp: int) -> Record:
    return (kind, "", json.dumps(body).encode(), stamp)


@dataclass
class Town:
    """A region whose devices' clocks are right, and a collector whose machine's clock is off by `error` s.

    Second by second: device n sends at each tenth second from n on, and loses packets from 20 n on.
    """

    region: Region = field(repr=False)
    error: Callable[[int], int]
    begins: int = 0  # the journal's last stamp at the start, s after TRUE
    devices: int = DEVICES
    off: dict[int, int] = field(default_factory=dict)  # second -> how far off the machine is found to be, s
    raised: dict[str, int] = field(default_factory=dict)  # device -> the second in which its alert came
    quality: list[int] = field(default_factory=list)
    clocks: list[bool] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)

    def run(self, seconds: int) -> Town:
        table = SeriesTable()
        decoder, dating, engine = Decoder(table, {}.__getitem__), Dating(table), Engine(table)
        clock, ahead = Clock(TRUE + self.begins * S), 0.0
        engine.region(self.region, parse_rules({"rules/r.toml": LOSS}, self.region), TRUE - HOUR * S, 0)
        for second in range(seconds):
            now = clock.at(TRUE + (second + self.error(second)) * S, second * S)
            records = []
            if leap := clock.leap():
                records.append(told(RecordKind.GAP, {"from": now - leap, "why": "leapt"}, now))
                engine.gap(now - leap, now, 0)
            if second % 30 == 0 or (clock.ahead > 5 * S) != (ahead > 5 * S):
                ahead = clock.ahead
                records.append(told(RecordKind.HEALTH, {"clock_ahead_s": ahead / S}, now + 1))
            for device in range(second % PERIOD, self.devices, PERIOD):
                at, loss = TRUE + second * S - S // 20, 9.0 if second >= 20 * device else 0.0
                records.append(reading(device, at, now + 2 + device, loss))
            if records:
                self.take(batch(records), decoder, dating, engine)
            engine.advance(now + S // 2 - 1, 0)
            for alert in engine.alerts.values():
                if alert.condition == "active":
                    self.raised.setdefault(alert.device, second)
            self.off[second] = dating.off // S
            self.records += records
        return self

    def take(self, one: Batch, decoder: Decoder, dating: Dating, engine: Engine) -> None:
        found = decoder.decode(one, self.region)
        dated = dating.date(one, found)
        engine.rows(dated.readings, one.offsets[found.record[dated.message]])
        self.quality += dated.readings.quality.tolist()
        self.clocks += [wrong for _, wrong in dated.clock]

    def blind(self) -> int:
        """The longest that it took from a device's first loss to its alert; s of true time."""
        first = {d: 20 * d + (d - 20 * d) % PERIOD for d in range(self.devices)}
        return max(self.raised.get(place(d).split("/")[1], 10**9) - at for d, at in first.items())


def stepping(*steps: tuple[int, int]) -> Callable[[int], int]:
    """The machine's clock is off by so many seconds from that second on."""
    return lambda second: next((error for since, error in reversed(steps) if second >= since), 0)


@pytest.mark.parametrize(
    ("error", "begins"),
    [
        (stepping(), -HOUR),
        (stepping((100, HOUR), (400, 0)), 0),
        (stepping((100, HOUR), (105, 0)), 0),
        (stepping((100, -HOUR)), 0),
        (stepping((100, -HOUR), (200, 0)), 0),
        (stepping((0, HOUR)), -HOUR),
        (stepping((0, -HOUR)), -9 * HOUR),
        (stepping((0, -HOUR)), -10),
        (stepping(), HOUR),
        (stepping((0, -TRUE // S)), -HOUR),
        (stepping((60, 90), (120, -90), (180, 90), (240, 0)), 0),
    ],
    ids=[
        "right all along", "an hour fast for five minutes", "an hour fast for five seconds", "an hour slow",
        "an hour slow, then right", "started an hour fast", "started an hour slow", "set back while down",
        "started right after an hour too fast", "of 1970", "to and fro",
    ],
)  # fmt: skip
def test_nobody_is_blind_for_longer_than_a_minute(
    region: Region, error: Callable[[int], int], begins: int
) -> None:
    town = Town(region, error, begins).run(500)
    assert town.blind() <= 60 + 2 * 7


def test_most_devices_say_that_the_machine_is_an_hour_fast(region: Region) -> None:
    town = Town(region, stepping((100, HOUR), (400, 0))).run(500)
    found = [second for second, off in town.off.items() if off]
    assert 100 < found[0] <= 140
    assert {town.off[second] for second in found} == {-HOUR - 1}  # a twentieth of a second, rounded down
    assert 400 <= found[-1] <= 460


def test_devices_are_not_blamed_for_the_collectors_clock(region: Region) -> None:
    town = Town(region, stepping((0, HOUR)), -HOUR).run(500)
    assert not any(town.clocks)
    assert set(town.quality[200:]) == {int(Quality.CLOCK)}


def test_a_right_clock_is_not_accused_by_a_minority(region: Region) -> None:
    table = SeriesTable()
    decoder, dating = Decoder(table, {}.__getitem__), Dating(table)
    for second in range(300):
        now = TRUE + second * S
        one = batch([reading(n, now - (n < 5) * HOUR * S, now + n) for n in range(DEVICES)])
        dating.date(one, decoder.decode(one, region))
        assert dating.off == 0


@pytest.mark.parametrize("pace", [5, 20, 3600])
def test_a_backlog_of_all_devices_is_late_and_no_clocks_fault(region: Region, pace: int) -> None:
    """After an hour without a line everybody sends what was kept, oldest first, `pace` times as fast."""
    table = SeriesTable()
    decoder, dating = Decoder(table, {}.__getitem__), Dating(table)
    for step in range(HOUR // PERIOD):
        at = TRUE + step * PERIOD * S
        now = TRUE + HOUR * S + step * PERIOD * S // pace
        one = batch([reading(n, at, now + n) for n in range(DEVICES)])
        dated = dating.date(one, decoder.decode(one, region))
        assert dating.off == 0
        assert not (dated.readings.quality & Quality.CLOCK).any()


STEPS = st.lists(st.tuples(st.integers(0, 200), st.sampled_from([0, HOUR, -HOUR, 30, -90])), max_size=4).map(
    lambda steps: stepping(*sorted(steps))
)


@settings(max_examples=15, deadline=None)
@given(error=STEPS, cuts=st.sets(st.integers(1, 300), max_size=20), nap=st.integers(0, 20))
def test_any_batching_and_any_restart_find_the_same(
    region: Region, error: Callable[[int], int], cuts: set[int], nap: int
) -> None:
    records = Town(region, error).run(240).records
    stamps = np.maximum.accumulate([stamp for *_, stamp in records]) + np.arange(len(records))
    records = [(*record[:3], int(stamp)) for record, stamp in zip(records, stamps, strict=True)]
    one_by_one = dated(region, records, set(range(1, len(records))), -1)
    assert dated(region, records, cuts, nap) == one_by_one


def dated(region: Region, records: list[Record], cuts: set[int], nap: int) -> list[tuple[int, ...]]:
    """Rows of (time, quality), then (message, whether its clock is wrong), then `off` after it all."""
    table = SeriesTable()
    decoder, dating = Decoder(table, {}.__getitem__), Dating(table)
    edges = [0, *sorted(cut for cut in cuts if cut < len(records)), len(records)]
    rows: list[tuple[int, ...]] = []
    clocks: list[tuple[int, ...]] = []
    for turn, (start, end) in enumerate(itertools.pairwise(edges)):
        one = batch(records[start:end])
        found: Dated = dating.date(one, decoder.decode(one, region))
        rows += zip(found.readings.time.tolist(), found.readings.quality.tolist(), strict=True)
        messages = [message for message in range(start, end) if records[message][0] == RecordKind.MESSAGE]
        clocks += [(messages[message], wrong) for message, wrong in found.clock]
        if turn == nap:
            size, series = roster(table)
            kept, table = dating.save(size), SeriesTable()
            decoder = Decoder(table, {}.__getitem__)
            dating = Dating.load(table, kept, numbers(table, series))
    return [*rows, *clocks, (dating.off,)]
