"""What is asked of hot tables and cold parts together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, cast

import duckdb
import numpy as np

from collector.core.readings import F64, I32, I64
from collector.store.base import TierUsage
from collector.store.duckdb import rollups
from collector.store.duckdb.layout import HotTable, Layout, PartFile
from collector.store.duckdb.tables import named, number_of, scalar
from collector.store.tiers import ALWAYS, DAY, SHARED, TIERS

HOUR = 3_600 * 10**9
PIECE = 250_000
"""About so many readings come in one piece of a scan."""


def days_of(time: I64) -> list[int]:
    """The days (since the epoch) that these times are in: mostly one."""
    first, last = int(time.min()) // DAY, int(time.max()) // DAY
    if last - first <= 1:
        return [first] if first == last else [first, last]
    return cast(list[int], np.unique(time // DAY).tolist())


def find(
    con: duckdb.DuckDBPyConnection, layout: Layout, rows: I64, ids: I32, time: I64
) -> Iterator[dict[str, Any]]:
    """Of the (ids[i], time[i]) those that are there: numbers in `row`, values in `value`."""
    if past := layout.past():
        yield _find(con, rows, ids, time, past, [])
    for day in days_of(time):
        start, end = day * DAY, (day + 1) * DAY
        hot, parts = [table for table in layout.hot_in(start, end) if table.days], layout.raw_of([day])
        if hot or parts:
            mine = (time >= start) & (time < end)
            yield _find(con, rows[mine], ids[mine], time[mine], hot, parts)


def _find(
    con: duckdb.DuckDBPyConnection,
    rows: I64,
    ids: I32,
    time: I64,
    hot: list[HotTable],
    parts: list[PartFile],
) -> dict[str, Any]:
    series = ids.astype(np.int64)
    columns = {"row": rows, "series": series, "time": time, "ns": time % 10**6}
    selects = [
        f"""select asked.row, kept.value from asked join {table.name} kept
on kept.series = asked.series and kept.time = asked.time
where kept.series between {series.min()} and {series.max()}
and kept.time between {time.min()} and {time.max()}"""
        for table in hot
    ]
    for part in parts:
        place = series * part.places + (time - part.start) // 10**6
        columns[part.name] = place
        selects.append(f"""select asked.row, kept.value from asked join {part.name}.rows kept
on kept.place = asked.{part.name} and kept.ns = asked.ns
where kept.place between {place.min()} and {place.max()}""")
    with named(con, "asked", columns):
        return con.execute(" union all ".join(selects)).fetchnumpy()


def lasts(con: duckdb.DuckDBPyConnection, layout: Layout, known: I32) -> tuple[I32, I64, F64]:
    """The newest reading of each of the known series: (id, time, value)."""
    found = [con.execute("select series, time, value from newest").fetchnumpy()]
    missing = known
    days = {table.first for table in layout.hot if table.days == 1}
    for day in sorted(days, reverse=True):
        tables = [table for table in layout.hot if (table.first, table.days) == (day, 1)]
        for since, until in ((day * DAY + 23 * HOUR, (day + 1) * DAY), (day * DAY, day * DAY + 23 * HOUR)):
            if not len(missing):
                break
            there = _newest(con, tables, missing, since, until)
            found.append(there)
            missing = np.setdiff1d(missing, there["series"]).astype(np.int32)
    if others := [table for table in layout.hot if table.days != 1]:  # theirs may be newer
        found.append(_newest(con, others, known, ALWAYS, 2**63 - 1))
    series, time, value = (
        np.concatenate([each[name] for each in found]) for name in ("series", "time", "value")
    )
    order = np.lexsort((time, series))
    newest = order[np.flatnonzero(np.diff(series[order], append=-1))]
    return series[newest].astype(np.int32), time[newest], value[newest]


def _newest(
    con: duckdb.DuckDBPyConnection, tables: list[HotTable], series: I32, since: int, until: int
) -> dict[str, Any]:
    rows = " union all ".join(f"select series, time, value from {table.name}" for table in tables)
    with named(con, "missing", {"series": series}):
        return con.execute(f"""
select series, max(time) as time, arg_max(value, time) as value from ({rows})
where time >= {since} and time < {until} and series in (select series from missing) group by series
""").fetchnumpy()


def pieces(con: duckdb.DuckDBPyConnection, layout: Layout, start: int, end: int) -> Iterator[dict[str, Any]]:
    """The raw readings with start <= time < end in order of time, in columns."""
    rows = rollups.readings(layout, start, end)
    if not rows:
        return
    bins = f"select time // 1000000000 as second, count(*) as n from ({rows}) group by second order by second"
    found = con.execute(bins).fetchnumpy()
    chunk = np.cumsum(found["n"]) // PIECE
    first = 1 + np.flatnonzero(np.diff(chunk))
    edges = [start, *(found["second"][first].astype(np.int64) * 10**9).tolist(), end]
    for low, high in pairwise(edges):
        piece = con.execute(rollups.readings(layout, low, high)).fetchnumpy()
        order = np.argsort(piece["time"], kind="stable")  # most of it is in order: numpy is faster
        yield {name: column[order] for name, column in piece.items()}


def stretches(con: duckdb.DuckDBPyConnection, layout: Layout) -> Iterator[tuple[int, int]]:
    """Where there are raw readings, epoch ns, oldest first: 32 days where they are few, else single days."""
    parts = [part for part in layout.parts.values() if part.tier == "raw"]
    days = {table.first for table in layout.hot if table.days} | {
        part.number for part in parts if not part.shared
    }
    shared = {part.number for part in parts if part.shared} | {day * DAY // SHARED for day in days}
    for table in layout.past():
        numbers = f"select distinct {number_of('time', SHARED)} from {table.name}"
        shared |= {number for (number,) in con.execute(numbers).fetchall()}
    busy = {day * DAY // SHARED for day in days}
    for number in sorted(shared):
        start, end = number * SHARED, (number + 1) * SHARED
        yield from pairwise(range(start, end + 1, DAY if number in busy else SHARED))


def oldest(con: duckdb.DuckDBPyConnection, tables: list[HotTable]) -> list[int]:
    """The oldest time (epoch ns) of each table that has rows."""
    found = [scalar(con, f"select min(time) from {table.name}") for table in tables]
    return [time for time in found if time is not None]


def usage(con: duckdb.DuckDBPyConnection, layout: Layout, main_bytes: int) -> list[TierUsage]:
    """What is kept, by tier; the main file counts as raw. What is below a tier's floor is seen no more."""
    shown = f"select count(*), min(time), max(time) from {{}} where time >= {layout.floor('raw')}"
    hot = [con.execute(shown.format(table.name)).fetchall()[0] for table in layout.hot]
    found = []
    for tier in TIERS:
        parts, floor = [part for part in layout.parts.values() if part.tier == tier], layout.floor(tier)
        kept = [(part.rows, max(part.oldest, floor), part.newest) for part in parts if part.newest >= floor]
        kept += [row for row in hot if row[0]] if tier == "raw" else []
        size = sum(part.bytes for part in parts) + (main_bytes if tier == "raw" else 0)
        oldest = min((row[1] for row in kept), default=None)
        newest = max((row[2] for row in kept), default=None)
        found.append(TierUsage(tier, sum(row[0] for row in kept), size, oldest, newest))
    return found
