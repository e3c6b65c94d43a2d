"""DuckDB by days: bytes a reading, a day closed beside commits, charts over 30 days and over 2 years.

Run it alone with `python -m tests.bench.bench_parts`; it takes some minutes and 4 GB of disk.

One day of 2,500 series at 10 s is committed and closed as in life. Its parts' files are then copied under the
numbers of the 29 days before (a part's rows are dated from its number), and two years of the hour tier are
generated. Values are as devices of five kinds send them, rounded to the catalogue's resolution.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import duckdb
import numpy as np

from collector.core.readings import F64, I64, Readings, SeriesKey, SeriesTable
from collector.store.base import Ledger
from collector.store.duckdb import DuckStore, manifest, open_store
from collector.store.duckdb.layout import PartFile
from collector.store.duckdb.parts import FORM
from collector.store.duckdb.rollups import COLD
from collector.store.tiers import DAY, NS, SPAN

SERIES = 2_500
EVERY = 10
NUMBER = 20_448  # the day
MEMORY = 128_000_000  # the default
COMMITTED = 25_000
YEARS = 730
Row = dict[str, str | float]

# level, deviation from it, from one reading to the next, decimals: as a kind of device sends it
METRICS = {
    "rx_dbm": (-21.4, 0.03, 3),
    "latency_ms": (12.0, 1.5, 2),
    "mains_v": (221.0, 1.2, 1),
    "temperature_c": (31.0, 0.2, 1),
    "cpu_pct": (35.0, 6.0, 0),
}


def opened(folder: Path) -> tuple[DuckStore, SeriesTable]:
    """A store that knows the series' numbers 0 to SERIES - 1."""
    table, names = SeriesTable(), list(METRICS)
    for i in range(SERIES):
        table.number(SeriesKey(f"13050{i // 5 % 103}", f"device-{i // 5}", names[i % 5]))
    return open_store("duckdb:", folder, table, MEMORY), table


def values(series: I64, rng: np.random.Generator) -> F64:
    """What the series' devices might send."""
    level, spread, digits = (np.array(column)[series % 5] for column in zip(*METRICS.values(), strict=True))
    value = level * (1 + 0.02 * np.sin(series)) + spread * rng.normal(size=len(series))
    scale = 10.0**digits
    return np.round(value * scale) / scale


def live(first: int, count: int, day: int) -> Readings:
    """Rows number `first` and on of a day: each device at its own moment of 10 s, ± 3 ms."""
    rng = np.random.default_rng(first)
    number = np.arange(first, first + count)
    series = np.random.default_rng(1).permutation(SERIES)[number % SERIES]
    ms = number // SERIES * EVERY * 1000 + series // 5 * 17 % 9_990 + rng.integers(0, 6, count)
    when = day * DAY + ms * 10**6
    delay = rng.exponential(60e6, count).astype(np.int64) + 5_000_000
    return Readings(
        series.astype(np.int32), when, values(series, rng), np.zeros(count, np.uint8), when + delay
    )


def filled(store: DuckStore) -> int:
    """A day is committed, and the first hours of the next. Gives the rows of the day."""
    rows = SERIES * 86_400 // EVERY
    for n, at in enumerate(range(0, rows, 60_000)):
        store.commit(live(at, min(60_000, rows - at), NUMBER), [], Ledger(n + 1))
    return rows


def closed(store: DuckStore, rows: int) -> list[Row]:
    """The day is closed while commits of 2,500 rows go on, four a second."""
    took: list[float] = []
    done = threading.Event()

    def commit() -> None:
        n = 10**6
        while not done.is_set():
            batch = live(len(took) * 2500, 2500, NUMBER + 1)
            at = time.perf_counter()
            store.commit(batch, [], Ledger(n + len(took)))
            took.append((time.perf_counter() - at) * 1e3)
            done.wait(0.25)

    thread = threading.Thread(target=commit)
    thread.start()
    begun = time.perf_counter()
    store.tidy((NUMBER + 1) * DAY + 3 * 3_600 * NS)
    seconds = time.perf_counter() - begun
    done.set()
    thread.join()
    used = {usage.tier: usage for usage in store.usage()}
    size = sum(part.bytes for part in store._layout.parts.values() if part.tier == "raw")
    return [
        {"case": f"close a day of {rows:,}", "seconds": round(seconds, 1), "rows/s": round(rows / seconds)},
        {
            "case": "commits of 2,500 meanwhile",
            "number": len(took),
            "p50 ms": round(median(took), 1),
            "p99 ms": round(float(np.quantile(took, 0.99)), 1),
            "max ms": round(max(took), 1),
        },
        {
            "case": "closed, bytes a reading",
            "raw": round(size / rows, 3),
            "minute tier": round(used["minute"].bytes / rows, 3),
            "hour tier": round(used["hour"].bytes / rows, 3),
        },
    ]


def past(folder: Path, days: int) -> None:
    """The day's raw and minute parts, copied for the days before; two years of the hour tier, generated."""
    parts = folder / "parts"
    with duckdb.connect(str(folder / "readings.duckdb")) as con:
        known = [PartFile(*row) for row in con.execute("select * from parts").fetchall()]
        for part in known:
            for back in range(1, days if part.tier != "hour" else 0):
                other = replace(
                    part,
                    number=part.number - back,
                    oldest=part.oldest - back * DAY,
                    newest=part.newest - back * DAY,
                )
                shutil.copyfile(parts / part.file, parts / other.file)
                manifest.put(con, other)
        last = NUMBER // 32
        for number in range(last - YEARS // 32 - 1, last + 1):
            manifest.put(con, hours(parts, number))


def hours(parts: Path, number: int) -> PartFile:
    """A part of the hour tier as 32 days of all series leave it."""
    part = PartFile("hour", False, number, 9, SERIES * 768, SERIES * 768 * 360, 0, number * SPAN["hour"], 0)
    places = part.places
    with duckdb.connect() as con:
        con.execute(f"attach '{parts / part.file}' as building ({FORM})")
        con.execute(f"create table building.rows ({COLD['hour']})")
        con.execute(f"""insert into building.rows
select place, round(20 - random(), 2), round(20 + random(), 2), round(7200 + random(), 2), 0, 360,
round(19.5 + random(), 2), 3590000 + (random() * 9000)::integer, 0 from range({SERIES * places}) t(place)""")
        con.execute("detach building")
    return replace(part, bytes=(parts / part.file).stat().st_size, newest=part.end - 1)


def chart(folder: Path, case: str, days: int, step: int | None, most: float) -> Row:
    """One series' chart: from a store just opened, then of nine other series, and of those again."""
    store, table = opened(folder)
    end = (NUMBER + 1) * DAY
    start = end - days * DAY

    def ask(key: SeriesKey) -> tuple[float, int, str]:
        at = time.perf_counter()
        found = store.points(key, start, end, step, "mean", 10**6)
        return (time.perf_counter() - at) * 1e3, len(found), found.tier

    first, count, tier = ask(table.keys[77])
    keys = [table.keys[i] for i in range(100, SERIES, 270)]
    others, again = [ask(key)[0] for key in keys], [ask(key)[0] for key in keys]
    store.close()
    return {
        "case": case,
        "tier": tier,
        "points": count,
        "first ms": round(first, 1),
        "another series ms": round(median(others), 1),
        "repeated ms": round(median(again), 1),
        "max ms": round(max(*others, *again), 1),
        "most": most,
    }


def last_hour(store: DuckStore, table: SeriesTable) -> list[Row]:
    """The newest hour of a hot day: all readings of all sites, and a chart of one series of each site."""
    end = (NUMBER + 1) * DAY
    start = end - 3_600 * NS
    keys = [table.keys[i * 5] for i in range(103)]

    def charts() -> int:
        return sum(map(len, store.charts(keys, start, end, 60 * NS, "mean", 10**6).values()))

    def scan() -> int:
        return sum(len(each) for each in store.scan(start, end))

    return [
        _timed("all sites' last hour, all readings", scan),
        _timed("last hour, 103 sites' charts", charts),
    ]


def _timed(case: str, ask: Callable[[], int]) -> Row:
    took = []
    for _ in range(5):
        at = time.perf_counter()
        count = ask()
        took.append((time.perf_counter() - at) * 1e3)
    return {
        "case": case,
        "rows": count,
        "first ms": round(took[0], 1),
        "repeated ms": round(median(took[1:]), 1),
        "most": 200,
    }


def _cells(row: Row) -> list[str]:
    figures = {name: value for name, value in row.items() if name != "case"}
    return [
        f"{name} {value}" if isinstance(value, str) else f"{name} {value:,}"
        for name, value in figures.items()
    ]


def run() -> dict[str, object]:
    """The figures."""
    with tempfile.TemporaryDirectory(prefix="nagari-bench-") as name:
        folder = Path(name)
        store, table = opened(folder)
        rows = filled(store)
        found = last_hour(store, table)
        found += closed(store, rows)
        store.close()
        past(folder, 30)
        minute = 60 * NS
        for case, days, step, most in (
            ("30 days, 10 min", 30, 10 * minute, 100),
            ("30 days, 7 min 30 s (raw)", 30, 450 * NS, 100),
            ("30 days, hours", 30, 60 * minute, 100),
            ("30 days, raw", 30, None, 100),
            ("2 years, 12 h", YEARS, 720 * minute, 300),
            ("2 years, hours", YEARS, 60 * minute, 300),
        ):
            found.append(chart(folder, case, days, step, most))
    for row in found:
        print(f"  {row['case']:36} " + ", ".join(_cells(row)), flush=True)
    by_case = {str(row["case"]): row for row in found}
    return {
        "parts.bytes_per_reading": by_case["closed, bytes a reading"]["raw"],
        "parts.close_rows_s": by_case[f"close a day of {rows:,}"]["rows/s"],
        "parts.commit_max_ms": by_case["commits of 2,500 meanwhile"]["max ms"],
        "parts.chart_30_days_first_ms": by_case["30 days, 10 min"]["first ms"],
        "parts.chart_30_days_ms": by_case["30 days, 10 min"]["another series ms"],
        "parts.chart_2_years_first_ms": by_case["2 years, 12 h"]["first ms"],
        "parts.chart_2_years_ms": by_case["2 years, 12 h"]["another series ms"],
        "parts.last_hour_scan_ms": by_case["all sites' last hour, all readings"]["repeated ms"],
        "parts.last_hour_first_ms": by_case["last hour, 103 sites' charts"]["first ms"],
        "parts.last_hour_ms": by_case["last hour, 103 sites' charts"]["repeated ms"],
    }


if __name__ == "__main__":
    for key, value in run().items():
        print(f"{key:40} {value}")
