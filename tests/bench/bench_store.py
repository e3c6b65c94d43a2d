"""The DuckDB store: CPU of inserts by commit size; a chart over a day of 2,500 series at 10 s behind it.

Run it alone with `python -m tests.bench.bench_store`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from collector.core.readings import Readings, SeriesKey, SeriesTable
from collector.store.base import Ledger, Store
from collector.store.duckdb import open_store

SERIES = 2_500
EVERY = 10  # seconds between two readings of a series
DAY = 86_400
INSERTED = 2_000_000
MEMORY = 256_000_000
START = 1_764_000_000
NS = 10**9
Row = dict[str, str | float]


def opened(folder: Path) -> tuple[Store, SeriesTable]:
    """A fresh store that knows the series' numbers 0 to SERIES - 1."""
    table = SeriesTable()
    for i in range(SERIES):
        table.number(SeriesKey(f"13050{i % 103}", f"rtr-{i // 5}", f"metric_{i % 5}"))
    return open_store("duckdb:", folder, table, MEMORY), table


def live(first: int, count: int) -> Readings:
    """Rows number `first` and on of the regency's life: each device at its own moment of its ten seconds."""
    number = np.arange(first, first + count)
    series = np.random.default_rng(1).permutation(SERIES)[number % SERIES].astype(np.int32)
    when = START * NS + number * (EVERY * NS // SERIES)
    value = np.random.default_rng(first).normal(20.0, 3.0, count).round(2)
    return Readings(series, when, value, np.zeros(count, np.uint8), when + 40_000_000)


def inserts(size: int) -> Row:
    """Rows a second and CPU a row (all threads) at a commit size; and how long a commit takes."""
    with tempfile.TemporaryDirectory() as folder:
        store, _ = opened(Path(folder))
        batches = [live(at, size) for at in range(0, INSERTED, size)]
        took, begin, cpu = [], time.perf_counter(), time.process_time()
        for n, batch in enumerate(batches):
            at = time.perf_counter()
            store.commit(batch, [], Ledger(n + 1))
            took.append((time.perf_counter() - at) * 1e3)
        wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
        store.close()
    rows = size * len(batches)
    return {
        "case": f"insert, commits of {size:,}",
        "rows/s": round(rows / wall),
        "cpu us/row": round(cpu / rows * 1e6, 3),
        "commit p50 ms": round(median(took), 2),
        "commit p99 ms": round(float(np.quantile(took, 0.99)), 1),
        "commit max ms": round(max(took), 1),
    }


def timed(case: str, query: Callable[[], object], want: int) -> Row:
    """The median of nine runs after a first one."""
    query()
    took = []
    for _ in range(9):
        at = time.perf_counter()
        found = query()
        took.append((time.perf_counter() - at) * 1e3)
        if len(found) != want:  # type: ignore[arg-type]
            raise SystemExit(f"{case}: {len(found)} instead of {want}")  # type: ignore[arg-type]
    return {"case": case, "median ms": round(median(took), 1), "max ms": round(max(took), 1)}


def queries() -> list[Row]:
    """A day of all series, committed as live; then what the page, the follower and a restart ask."""
    with tempfile.TemporaryDirectory() as folder:
        store, table = opened(Path(folder))
        rows = SERIES * DAY // EVERY
        for n, at in enumerate(range(0, rows, 12_500)):
            store.commit(live(at, 12_500), [], Ledger(n + 1))
        key, start, end = table.keys[77], START * NS, (START + DAY) * NS
        per = DAY // EVERY
        backfill = live(0, rows // 8)
        backfill = backfill.take(backfill.series < 50_000 * 8 // per)
        newest = live(rows - 1000, 1000)
        found = [
            timed("chart of a day, raw", lambda: store.points(key, start, end, None, "mean", 10**6), per),
            timed(
                "chart of a day, 1 min mean",
                lambda: store.points(key, start, end, 60 * NS, "mean", 10**6),
                1440,
            ),
            timed(
                "chart of a day, 5 min last",
                lambda: store.points(key, start, end, 300 * NS, "last", 10**6),
                288,
            ),
            timed(
                "chart of the last hour, raw",
                lambda: store.points(key, end - 3600 * NS, end, None, "mean", 999),
                360,
            ),
            timed("find 1,000 of the newest", lambda: store.find(newest.series, newest.time)[0], 1000),
            timed(
                f"find a backfill of {len(backfill):,}",
                lambda: store.find(backfill.series, backfill.time)[0],
                len(backfill),
            ),
            timed("lasts", lambda: store.lasts()[0], SERIES),
        ]
        store.close()
        size = (Path(folder) / "readings.duckdb").stat().st_size
        at = time.perf_counter()
        opened(Path(folder))[0].close()
        found.append({"case": "open the day's file", "ms": round((time.perf_counter() - at) * 1e3, 1)})
        found.append({"case": "size on disk", "bytes/row": round(size / rows, 1)})
    return found


def run() -> dict[str, object]:
    """The figures."""
    table = [inserts(size) for size in (1_000, 12_500, 50_000)] + queries()
    for row in table:
        cells = (f"{name} {value:,}" for name, value in row.items() if name != "case")
        print(f"  {row['case']:30} " + ", ".join(cells), flush=True)
    by_case = {str(row["case"]): row for row in table}
    return {
        "store.chart_day_raw_ms": by_case["chart of a day, raw"]["median ms"],
        "store.chart_day_1min_mean_ms": by_case["chart of a day, 1 min mean"]["median ms"],
        "store.insert_rows_s": by_case["insert, commits of 50,000"]["rows/s"],
        "store.bytes_per_row": by_case["size on disk"]["bytes/row"],
    }


if __name__ == "__main__":
    print(run())
