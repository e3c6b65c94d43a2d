"""What is asked of hot tables and cold parts together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, cast

import duckdb
import numpy as np

from collector.core.readings import F64, I32, I64
from collector.store.base import Tier, TierUsage
from collector.store.duckdb import rollups
from collector.store.duckdb.layout import Layout, PartFile
from collector.store.duckdb.tables import named
from collector.store.tiers import DAY, PLACES, TIERS

HOUR = 3_600 * 10**9
PIECE = 250_000
"""About so many readings come in one piece of a scan."""


def days_of(time: I64) -> list[int]:
    """The days (since the epoch) that these times are in: mostly one."""
    first, last = int(time.min()) // DAY, int(time.max()) // DAY
    if last - first <= 1:
        return [first] if first == last else [first, last]
    return cast(list[int], np.unique(time // DAY).tolist())


def raw_parts(view: Layout, days: list[int]) -> list[PartFile]:
    """The cold parts with the readings of those days."""
    return [part for day in days if (part := view.parts.get(("raw", day)))]


def find(
    con: duckdb.DuckDBPyConnection, view: Layout, rows: I64, ids: I32, time: I64
) -> Iterator[dict[str, Any]]:
    """Of the (ids[i], time[i]) those that are there: numbers in `row`, values in `value`."""
    for day in days_of(time):
        mine = (time >= day * DAY) & (time < (day + 1) * DAY)
        series, when = ids[mine].astype(np.int64), time[mine]
        place, ns = series * PLACES["raw"] + (when - day * DAY) // 10**6, when % 10**6
        columns = {"row": rows[mine], "series": series, "time": when, "place": place, "ns": ns}
        selects = [
            f"""select asked.row, kept.value from asked join {table.name} kept
on kept.series = asked.series and kept.time = asked.time
where kept.series between {series.min()} and {series.max()}
and kept.time between {when.min()} and {when.max()}"""
            for table in view.hot.get(day, ())
        ]
        if part := view.parts.get(("raw", day)):
            selects.append(f"""select asked.row, kept.value from asked join {part.name}.rows kept
on kept.place = asked.place and kept.ns = asked.ns
where kept.place between {place.min()} and {place.max()}""")
        if selects:
            with named(con, "asked", columns):
                yield con.execute(" union all ".join(selects)).fetchnumpy()


def lasts(con: duckdb.DuckDBPyConnection, view: Layout, known: I32) -> tuple[I32, I64, F64]:
    """The newest reading of each of the known series: (id, time, value)."""
    found = [con.execute("select series, time, value from newest").fetchnumpy()]
    missing = known
    for day in sorted(view.hot, reverse=True):
        for since, until in ((day * DAY + 23 * HOUR, (day + 1) * DAY), (day * DAY, day * DAY + 23 * HOUR)):
            if not len(missing):
                break
            there = _newest(con, view, day, missing, since, until)
            found.append(there)
            missing = np.setdiff1d(missing, there["series"]).astype(np.int32)
    series, time, value = (
        np.concatenate([each[name] for each in found]) for name in ("series", "time", "value")
    )
    order = np.lexsort((time, series))
    newest = order[np.flatnonzero(np.diff(series[order], append=-1))]
    return series[newest].astype(np.int32), time[newest], value[newest]


def _newest(
    con: duckdb.DuckDBPyConnection, view: Layout, day: int, series: I32, since: int, until: int
) -> dict[str, Any]:
    tables = " union all ".join(f"select series, time, value from {table.name}" for table in view.hot[day])
    with named(con, "missing", {"series": series}):
        return con.execute(f"""
select series, max(time) as time, arg_max(value, time) as value from ({tables})
where time >= {since} and time < {until} and series in (select series from missing) group by series
""").fetchnumpy()


def pieces(con: duckdb.DuckDBPyConnection, view: Layout, start: int, end: int) -> Iterator[dict[str, Any]]:
    """The raw readings with start <= time < end of one day, in order of time, in columns."""
    rows = rollups.readings(view, start, end)
    if not rows:
        return
    bins = f"select time // 1000000000 as second, count(*) as n from ({rows}) group by second order by second"
    found = con.execute(bins).fetchnumpy()
    chunk = np.cumsum(found["n"]) // PIECE
    first = 1 + np.flatnonzero(np.diff(chunk))
    edges = [start, *(found["second"][first].astype(np.int64) * 10**9).tolist(), end]
    for low, high in pairwise(edges):
        piece = con.execute(rollups.readings(view, low, high)).fetchnumpy()
        order = np.argsort(piece["time"], kind="stable")  # most of it is in order: numpy is faster
        yield {name: column[order] for name, column in piece.items()}


def usage(con: duckdb.DuckDBPyConnection, view: Layout, main_bytes: int) -> list[TierUsage]:
    """What is kept, by tier; the main file counts as raw."""
    hot = [
        con.execute(f"select count(*), min(time), max(time) from {table.name}").fetchall()[0]
        for tables in view.hot.values()
        for table in tables
    ]
    hot = [row for row in hot if row[0]]
    return [
        _usage(
            tier,
            [(part.rows, part.oldest, part.newest) for (kind, _), part in view.parts.items() if kind == tier]
            + (hot if tier == "raw" else []),
            sum(part.bytes for (kind, _), part in view.parts.items() if kind == tier)
            + (main_bytes if tier == "raw" else 0),
        )
        for tier in TIERS
    ]


def _usage(tier: Tier, kept: list[tuple[int, int, int]], size: int) -> TierUsage:
    oldest = min((row[1] for row in kept), default=None)
    newest = max((row[2] for row in kept), default=None)
    return TierUsage(tier, sum(row[0] for row in kept), size, oldest, newest)
