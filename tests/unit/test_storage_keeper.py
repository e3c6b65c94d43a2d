"""The contract while it runs: what goes first, what never goes, never over, and when it will be full."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core.config import Config, StorageSettings, check
from collector.core.readings import Quality, Readings, SeriesKey, SeriesTable
from collector.followers.rates import Rates
from collector.state import State
from collector.storage.forecast import Growing, days_until, slope
from collector.storage.keeper import Keeper, Sources
from collector.storage.samples import Samples
from collector.storage.shedding import DAY, Usage, decide
from collector.store.base import Ledger, Store, Tier, TierUsage
from collector.store.duckdb import open_store
from collector.store.tiers import TIERS
from devices.model import Device

T0 = 20_000 * DAY


class Days:
    """A disk of partitions: of each tier a size per day, in partitions of so many days."""

    def __init__(self, **span: int) -> None:
        self.span = span
        self.sizes: dict[str, dict[int, int]] = {tier: defaultdict(int) for tier in TIERS}
        self.gone: list[tuple[str, int]] = []

    def usage(self) -> list[TierUsage]:
        found = []
        for tier in TIERS:
            days = sorted(self.sizes[tier])
            oldest, newest = (days[0] * DAY, days[-1] * DAY + DAY // 2) if days else (None, None)
            found.append(TierUsage(tier, len(days), sum(self.sizes[tier].values()), oldest, newest))
        return found

    def shed(self, tier: Tier, before: int) -> int:
        span = self.span.get(tier, 1)
        ended = [day for day in self.sizes[tier] if (day // span + 1) * span * DAY <= before]
        self.gone += [(tier, day) for day in sorted(ended)]
        return sum(self.sizes[tier].pop(day) for day in ended)


def settings_of(folder: Path, capacity: int | str = 10**9, journal: int = 10**6, **storage: Any) -> Config:
    tree = {
        "data": {"dir": str(folder)},
        "journal": {"max_bytes": journal},
        "storage": {"capacity": capacity, **storage},
    }
    return check(tree, folder / "nagari.toml")


def keeper_of(config: Config, store: Any, **sources: Any) -> Keeper:
    given: dict[str, Any] = {
        "journal": lambda: 0,
        "rates": lambda: np.zeros(0, np.int64),
        "devices": dict,
        "contract": lambda: (None, None, False),
        "audit": lambda *_: None,
    }
    table = sources.pop("table", SeriesTable())
    return Keeper(config, cast(Store, store), table, Sources(**(given | sources)))


@settings(max_examples=6, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 12), st.integers(0, 3)), min_size=60, max_size=90),
    st.sampled_from([1, 7, 30]),
)
def test_it_is_never_over_and_the_oldest_raw_readings_go_first(
    tmp_path_factory: pytest.TempPathFactory, growth: list[tuple[int, int, int]], span: int
) -> None:
    disk = Days(minute=span, hour=span)
    config = settings_of(tmp_path_factory.mktemp("k"), capacity=1000, journal=1, shed=0.9, alarm=0.5)
    keeper = keeper_of(config, disk)
    for number, sizes in enumerate(growth):
        before = {tier: set(disk.sizes[tier]) for tier in TIERS}
        for tier, size in zip(TIERS, sizes, strict=True):
            disk.sizes[tier][20_000 + number] += size
        assert sum(tier.bytes for tier in disk.usage()) <= 1000, "grew by less than lies above the shed mark"
        disk.gone.clear()
        keeper.look(T0 + number * DAY + DAY // 2, 0.0)
        raw_left = [day for day in disk.sizes["raw"] if disk.sizes["raw"][day]]
        if any(tier != "raw" for tier, _ in disk.gone):
            assert len(disk.sizes["raw"]) == 1, "minutes go only when of raw the newest day alone is left"
        for tier in TIERS:
            kept = set(disk.sizes[tier])
            assert not kept or min(kept) > max((day for t, day in disk.gone if t == tier), default=-1)
            assert kept <= before[tier] | {20_000 + number}
        over = keeper.holding.held > 900
        spent = len(raw_left) <= 1 and all(len(disk.sizes[t]) <= span for t in ("minute", "hour"))
        assert not over or spent


def test_nothing_is_deleted_without_a_capacity() -> None:
    usage = Usage([TierUsage("raw", 9, 10**15, 0, T0)], 0, 0, 10)
    assert decide(usage, StorageSettings(), T0) == []


def test_what_is_older_than_its_retention_goes_though_there_is_room(tmp_path: Path) -> None:
    disk = Days()
    for day in range(200):
        for tier in TIERS:
            disk.sizes[tier][20_000 + day] = 1
    keeper = keeper_of(settings_of(tmp_path, raw="90d", minute="150d"), disk)
    keeper.look(T0 + 199 * DAY + 7, 0.0)
    assert [len(disk.sizes[tier]) for tier in TIERS] == [91, 151, 200]
    assert {each.why for each in keeper.holding.shed} == {"age"}
    assert not keeper.holding.shedding


def test_a_partition_that_is_partly_too_old_does_not_stand_in_the_way_of_making_room(tmp_path: Path) -> None:
    disk = Days(raw=7, minute=30)
    for day in range(100):
        disk.sizes["raw"][20_000 + day] = 5
        disk.sizes["minute"][20_000 + day] = 5
    config = settings_of(tmp_path, capacity=800, journal=1, raw="90d", minute="80d", alarm=0.5)
    keeper = keeper_of(config, disk)
    keeper.look(T0 + 99 * DAY + DAY // 2, 0.0)
    assert keeper.holding.held <= 720
    assert {(each.tier, each.why) for each in keeper.holding.shed if each.bytes} >= {("raw", "room")}
    assert min(disk.sizes["minute"]) < 20_000 + 20, "of minutes no more went than was too old"


def test_a_tier_with_no_more_to_give_leaves_it_to_the_next(tmp_path: Path) -> None:
    disk = Days(raw=30)
    for day in range(40):
        disk.sizes["raw"][20_010 + day] = 5
        disk.sizes["minute"][20_010 + day] = 5
    config = settings_of(tmp_path, capacity=200, journal=1, alarm=0.5)
    keeper = keeper_of(config, disk)
    keeper.look(T0 + 49 * DAY + DAY // 2, 0.0)
    assert keeper.holding.held <= 180
    assert min(disk.sizes["raw"]) == 20_040
    assert len(disk.sizes["minute"]) < 40


def test_one_reading_from_years_ago_does_not_take_the_others_along() -> None:
    disk = Days()
    disk.sizes["raw"][18_300] = 1
    for day in range(60):
        disk.sizes["raw"][20_000 + day] = 10
    config = StorageSettings(capacity=600, raw=10_000 * 86_400.0, shed=0.9, alarm=0.5)
    for _ in range(100):
        deletes = decide(Usage(disk.usage(), 0, 0, 0), config, T0 + 60 * DAY)
        if not deletes:
            break
        disk.shed(deletes[0].tier, deletes[0].before)
    assert 50 <= len(disk.sizes["raw"]) <= 54


def test_the_journals_share_is_kept_free_for_it() -> None:
    disk = Days()
    for day in range(10):
        disk.sizes["raw"][20_000 + day] = 10
    config = StorageSettings(capacity=200, shed=0.9, alarm=0.5)
    assert decide(Usage(disk.usage(), 0, 0, 50), config, T0 + 10 * DAY) == []
    assert decide(Usage(disk.usage(), 0, 0, 90), config, T0 + 10 * DAY) != []


def test_what_was_shed_is_audited_and_outlives_a_restart_with_the_growth(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    disk = Days()
    config = settings_of(tmp_path, capacity=100_000_000, alarm=0.5)
    keeper = keeper_of(config, disk, audit=state.audit)
    for day in range(40):
        disk.sizes["raw"][20_000 + day] = 4_000_000
        keeper.look(T0 + day * DAY + DAY // 2, 0.0)
    assert keeper.holding.shedding
    assert keeper.flags()["storage_nearly_full"]
    rows = state.audited("storage.shed", 100)
    assert sum(row.detail["bytes"] for row in rows) == keeper.holding.shed[0].bytes > 0
    again = Samples(tmp_path / "storage.json")
    assert again.shed["raw", "room"].bytes == keeper.holding.shed[0].bytes
    assert again.growth["raw"] == pytest.approx(4_000_000)
    state.close()


def test_a_file_of_samples_that_is_damaged_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "storage.json").write_text('{"samples": [{"at": "x"}]}')
    assert Samples(tmp_path / "storage.json").growth == {}


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 10**9), st.lists(st.integers(-(10**12), 10**12), min_size=0, max_size=10))
def test_wild_points_do_not_bend_the_slope(a_day: int, wild: list[int]) -> None:
    times = [hour / 24 for hour in range(24 * 5)]
    sizes = [float(a_day * hour / 24) for hour in range(24 * 5)]
    for number, value in enumerate(wild):
        sizes[number * 11] += value
    assert slope(times, sizes) == pytest.approx(a_day, rel=0.25)


def test_the_day_it_is_full_knows_where_growth_will_end() -> None:
    assert days_until(100, [Growing(10)]) == 10
    assert days_until(100, [Growing(10, 5), Growing(1)]) == 50
    assert days_until(100, [Growing(10, 5)]) is None
    assert days_until(0, [Growing(10)]) == 0
    assert days_until(100, [Growing(0)]) is None


def test_a_device_that_sends_more_than_its_kinds_plan_is_counted_and_nothing_of_it_is_lost(
    tmp_path: Path,
) -> None:
    table, rates = SeriesTable(), Rates()
    store = open_store("duckdb:", tmp_path, table, 64_000_000)
    devices = {"calm": Device("s", "calm", "router"), "wild": Device("s", "wild", "router")}
    config = settings_of(tmp_path)
    keeper = keeper_of(
        config, store, table=table, rates=rates.cut, devices=lambda: devices, journal=lambda: 0
    )
    keeper.look(T0, 0.0)
    for name, messages in (("calm", 30), ("wild", 90), ("stranger", 5)):
        numbers = [table.number(SeriesKey("s", name, f"m{n}")) for n in range(7)]
        rows = _rows(np.repeat(numbers, messages), np.tile(np.arange(messages), 7))
        store.commit(rows, [], Ledger(messages))
        rates.take(rows)
    late = _rows(np.repeat([table.number(SeriesKey("s", "calm", "m0"))], 5000), np.arange(5000))
    rates.take(Readings(late.series, late.time, late.value, late.quality | Quality.LATE, late.received))
    keeper.look(T0 + DAY, 600.0)
    holding = keeper.holding
    assert holding.over == 1
    assert [each.device for each in holding.devices] == ["wild", "calm", "stranger"]
    assert holding.devices[0].over
    assert holding.devices[1].readings == pytest.approx(holding.devices[1].planned)
    assert {each.kind: each.devices for each in holding.kinds} == {"router": 2, "unclaimed": 1}
    assert keeper.sizes()["storage_over_rate"] == 1
    assert holding.shares[0].rows == 7 * 125
    store.close()


def _rows(series: Any, seconds: Any) -> Readings:
    size, time = len(series), T0 + np.asarray(seconds, np.int64) * 10**9
    return Readings(
        np.asarray(series, np.int32), time, np.zeros(size), np.zeros(size, np.uint8), time + 10**7
    )


def test_a_store_that_is_away_is_an_alarm_and_no_crash(tmp_path: Path) -> None:
    store = open_store("duckdb:", tmp_path, SeriesTable(), 64_000_000)
    keeper = keeper_of(settings_of(tmp_path), store)
    store.close()
    keeper.tried_to_look(T0, 0.0)
    assert keeper.flags()["storage_failing"]
