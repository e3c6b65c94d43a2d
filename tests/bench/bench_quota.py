"""Three simulated years against a quota that holds one: never over, nothing protected lost, forecast right.

A real store, state.db and keeper; the clock alone is simulated: a day's readings in one commit, then a look.
Of the regency's 2,500 series at ten seconds there is one in 500; the quota so that it is reached.
Run it alone with `python -m tests.bench.bench_quota`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from collector.alarms.model import Alert, Transition
from collector.core.config import check
from collector.core.readings import Readings, SeriesKey, SeriesTable
from collector.state import State
from collector.storage.keeper import Keeper, Sources
from collector.store.base import Ledger, Store
from collector.store.duckdb import open_store

DAYS = 3 * 365
SCALE = 500
A_DAY = 2_500 * 8_640 // SCALE
QUOTA = 110_000_000
DAY = 86_400 * 10**9
START = 20_454 * DAY  # 2026-01-01
SERIES = 5
EARLIEST, LATEST = 30, 30
"""Days of history before the first forecast that counts, and days to go at the last one."""


@dataclass
class Outcome:
    """What came of it. Bytes; days."""

    capacity: int
    rows_a_day: int = 0
    most_held: int = 0  # after a look, and before the next
    most_on_disk: int = 0  # as the file system says
    shed: int = 0
    first_shed: int | None = None
    kept_days: float = 0.0
    holes: int = 0  # readings missing between the oldest kept and now
    protected_lost: int = 0
    errors: list[float] = field(default_factory=list)  # of each forecast, in parts of the time it foretold
    look_ms: float = 0.0

    @property
    def worst_error(self) -> float:
        """The worst of the forecasts, in percent."""
        return round(100 * max(self.errors, default=0.0), 1)


def simulate(
    folder: Path,
    store: Store,
    table: SeriesTable,
    days: int,
    a_day: int,
    capacity: int,
    earliest: int = EARLIEST,
) -> Outcome:
    """Live through so many days, with a fresh store and its `table`. Forecasts count from `earliest` on."""
    state = State(folder / "state.db")
    journal = 200_000
    settings = {"capacity": capacity, "raw": "20y", "minute": "20y", "hour": "20y"}
    tree: Mapping[str, Any] = {
        "data": {"dir": str(folder)},
        "journal": {"max_bytes": journal},
        "storage": settings,
    }

    def audit(*row: Any) -> None:
        state.audit(*row)

    nothing = np.zeros(0, np.int64)
    sources = Sources(lambda: journal, lambda: nothing, dict, lambda: (None, None, False), audit)
    keeper = Keeper(check(dict(tree), folder / "nagari.toml"), store, table, sources)
    series = np.array(
        [table.number(SeriesKey("s", f"d{n // 5}", f"m{n % 5}")) for n in range(SERIES)], np.int32
    )
    out = Outcome(capacity, a_day)
    foretold: list[tuple[int, float]] = []
    took = []
    for day in range(days):
        store.commit(_day(day, a_day, series), [], Ledger(day + 1, messages=day + 1, stored=day + 1))
        _protected(state, day)
        if day % 5 == 0:  # so would its log hold two months
            state.close()
            state = State(folder / "state.db")
        now = START + (day + 1) * DAY
        store.tidy(now)  # yesterday is closed
        out.most_on_disk = max(out.most_on_disk, _on_disk(folder) + journal)
        before = sum(tier.bytes for tier in store.usage()) + keeper.holding.held - _readings(keeper)
        begun = time.perf_counter()
        keeper.look(now, 0.0)
        took.append(time.perf_counter() - begun)
        out.most_held = max(out.most_held, before, keeper.holding.held)
        if out.first_shed is None and keeper.holding.shed:
            out.first_shed = day
        if day >= earliest and out.first_shed is None and keeper.holding.days_left is not None:
            foretold.append((day, keeper.holding.days_left))
    if out.first_shed is not None:
        left = [(out.first_shed - day, said) for day, said in foretold if out.first_shed - day >= LATEST]
        out.errors = [abs(said - true) / true for true, said in left]
    raw = next(tier for tier in store.usage() if tier.tier == "raw")
    assert raw.oldest is not None
    out.kept_days = (START + days * DAY - raw.oldest) / DAY
    out.holes = round(out.kept_days * a_day) - raw.rows
    out.shed = sum(each.bytes for each in keeper.holding.shed)
    out.look_ms = round(1e3 * max(took), 1)
    audited = {row.detail["day"] for row in state.audited("bench.day", days)}
    out.protected_lost = days - len(audited) + (state.verify_audit() is not None)
    out.protected_lost += days - len(state.alerts("all", limit=days + 1))
    state.close()
    return out


def _day(day: int, count: int, series: np.ndarray) -> Readings:
    when = START + day * DAY + np.arange(count, dtype=np.int64) * (DAY // count)
    value = np.random.default_rng(day).normal(20.0, 3.0, count).round(2)
    return Readings(
        series[np.arange(count) % len(series)], when, value, np.zeros(count, np.uint8), when + 40_000_000
    )


def _protected(state: State, day: int) -> None:
    at = START + day * DAY
    state.audit(at, "bench", "bench.day", {"day": day})
    alert = Alert(f"a{day}", "rule", "v", "s", "d0", "m0", "major", "active", at, 1.0, 1, raised_at=at)
    state.commit(day + 1, [Transition("raised", at, day, alert)], lambda _: {"id": "tinggi", "en": "high"})


def _readings(keeper: Keeper) -> int:
    return sum(share.bytes for share in keeper.holding.shares if share.share in {"raw", "minute", "hour"})


def _on_disk(folder: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())


def run() -> dict[str, object]:
    """The figures."""
    with tempfile.TemporaryDirectory() as name:
        folder, table = Path(name), SeriesTable()
        store = open_store("duckdb:", folder, table, 128_000_000)
        found = simulate(folder, store, table, DAYS, A_DAY, QUOTA)
        store.close()
    print(f"  {found}", flush=True)
    return {
        "quota.days": DAYS,
        "quota.capacity_mb": QUOTA / 1e6,
        "quota.most_held_pct": round(100 * found.most_held / QUOTA, 1),
        "quota.most_on_disk_pct": round(100 * found.most_on_disk / QUOTA, 1),
        "quota.first_shed_day": found.first_shed,
        "quota.protected_lost": found.protected_lost,
        "quota.holes": found.holes,
        "quota.forecasts": len(found.errors),
        "quota.forecasts_off_by_more_than_10_pct": sum(error > 0.1 for error in found.errors),
        "quota.forecast_worst_error_pct": found.worst_error,
        "quota.look_max_ms": found.look_ms,
    }


if __name__ == "__main__":
    print(run())
