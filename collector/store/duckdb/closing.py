"""Closing days: hot rows become the next generation of parts, a few series at a time.

A day with many rows has parts of its own. Of 32 days those with few rows share one, so that neither the files
nor their bytes grow with the number of days. What is too little even for that stays in the main file, in the
table of the past, until more comes or its raw readings are shed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np

from collector.store.duckdb import rollups
from collector.store.duckdb.layout import HotTable, Layout, PartFile, Partition
from collector.store.duckdb.parts import BUILDING, FORM, Shelf, quoted, sync
from collector.store.duckdb.tables import number_of, scalar
from collector.store.tiers import DAY, SHARED, TIERS

FEW = 10_000
"""A day with fewer rows has no part of its own, and 32 such days with fewer of them no shared one."""
GRACE = 2 * 3_600 * 10**9
"""A day is closed so long after its end,"""
WAIT = 3_600 * 10**9
"""and rows that come later wait so long for each other."""
STAGED = "staged"
AT_ONCE = 1_000_000
"""Readings that are sorted in one go: about 60 MB."""


class AbandonedError(Exception):
    """The store is being closed: what was built so far is thrown away."""


class DueTables(NamedTuple):
    """Tables of the same days to be closed, and the rows in each of those days."""

    tables: list[HotTable]
    rows: dict[int, int]

    @property
    def span(self) -> tuple[int, int]:
        """From when to when, epoch ns."""
        first, days, _ = self.tables[0]
        return first * DAY, (first + days) * DAY


def due(con: duckdb.DuckDBPyConnection, layout: Layout, now: int) -> DueTables | None:
    """The oldest tables that are to be closed at `now` (epoch ns)."""
    for (first, days), group in groupby(layout.hot, lambda table: table[:2]):
        tables = list(group)
        if days == 0 or (days == 1 and (first + 1) * DAY + GRACE > now):
            continue
        since = [scalar(con, f"select min(received) from {table.name}") for table in tables]
        if days > 1 or any(when is None or when + WAIT <= now for when in since):
            return DueTables(tables, rows_a_day(con, tables))
    return None


def due_of_the_past(con: duckdb.DuckDBPyConnection, layout: Layout, now: int, few: int) -> int | None:
    """The oldest 32 days (their number) whose rows are to leave the past at `now`.

    There are enough of them, or the raw tier has been shed beyond them: then the roll-ups keep them.
    """
    if not (past := layout.past()):
        return None
    found = con.execute(f"""
select {number_of("time", SHARED)} as number, count(*), min(received)
from ({_union("time, received", past)}) group by number order by number""").fetchall()
    for number, rows, since in found:
        if since + WAIT <= now and (rows >= few or (number + 1) * SHARED <= layout.floor("raw")):
            return int(number)
    return None


def rows_a_day(con: duckdb.DuckDBPyConnection, tables: list[HotTable]) -> dict[int, int]:
    """The rows of each day in the tables."""
    query = f"select {number_of('time', DAY)} as day, count(*) from ({_union('time', tables)}) group by day"
    return dict(con.execute(query).fetchall())


def build(
    con: duckdb.DuckDBPyConnection,
    shelf: Shelf,
    layout: Layout,
    due: DueTables,
    few: int,
    stop: Callable[[], bool],
) -> list[PartFile]:
    """The new parts, on disk for good, that no manifest names yet. Raises AbandonedError."""
    con.execute("set session preserve_insertion_order = true")  # a part is sorted
    return [
        _build(con, shelf, part, layout.parts.get(part.key), _Rows(due.tables, inside), stop)
        for part, inside in targets(due.rows, layout, few)
    ]


def targets(rows: dict[int, int], layout: Layout, few: int) -> Iterator[tuple[Partition, str]]:
    """The partitions that so many rows a day belong to, and which rows (SQL); none below a tier's floor."""
    for tier in TIERS:
        floor = layout.floor(tier)
        days = sorted(day for day in rows if (day + 1) * DAY > floor)
        full = [day for day in days if rows[day] >= few and tier != "hour"]
        for day in full:
            yield Partition(tier, False, day), _within(day * DAY, (day + 1) * DAY)
        rest, shared = [day for day in days if day not in full], tier != "hour"
        for number in sorted({day * DAY // SHARED for day in rest}):
            part = Partition(tier, shared, number)
            without = [f"not ({_within(day * DAY, (day + 1) * DAY)})" for day in full]
            yield part, " and ".join([_within(max(part.start, floor), part.end), *without])


def _within(start: int, end: int) -> str:
    return f"time >= {start} and time < {end}"


class _Rows(NamedTuple):
    """Rows of hot tables: those for which `inside` (SQL) is true."""

    tables: list[HotTable]
    inside: str


def _build(
    con: duckdb.DuckDBPyConnection,
    shelf: Shelf,
    part: Partition,
    old: PartFile | None,
    rows: _Rows,
    stop: Callable[[], bool],
) -> PartFile:
    new = PartFile(*part.key, old.generation + 1 if old else 1, 0, 0, 0, 0, 0)
    file = shelf.path(new)
    _clear(file)
    with shelf.held([old] if old else []), _attached(con, file, BUILDING):
        con.execute(f"create table {BUILDING}.rows ({rollups.COLD[part.tier]})")
        _fill(con, shelf, part, old, rows, stop)
        stock = con.execute(rollups.stock(part)).fetchall()[0]
        con.execute(f"checkpoint {BUILDING}")
    sync(file)
    return PartFile(*part.key, new.generation, stock[0], stock[1], file.stat().st_size, stock[2], stock[3])


def _fill(
    con: duckdb.DuckDBPyConnection,
    shelf: Shelf,
    part: Partition,
    old: PartFile | None,
    rows: _Rows,
    stop: Callable[[], bool],
) -> None:
    """A few series at a time. Roll-ups go by way of a file: written in one go they take a third less."""

    def insert(target: str) -> None:
        for low, high in _stretches(con, part, old, rows):
            if stop():
                raise AbandonedError
            merged = rollups.merged(part, rows.tables, rows.inside, old, low, high)
            con.execute(f"insert into {target} {merged}")

    if part.tier == "raw":
        insert(f"{BUILDING}.rows")
        return
    staged = shelf.folder / "staged.duckdb"
    with _attached(con, staged, STAGED):
        con.execute(f"create table {STAGED}.rows ({rollups.COLD[part.tier]})")
        insert(f"{STAGED}.rows")
        con.execute(f"insert into {BUILDING}.rows select * from {STAGED}.rows order by place")
    _clear(staged)


@contextmanager
def _attached(con: duckdb.DuckDBPyConnection, file: Path, name: str) -> Iterator[None]:
    """A new file, open to be written."""
    _clear(file)
    con.execute(f"attach {quoted(file)} as {name} ({FORM})")
    try:
        yield
    finally:
        con.execute(f"detach {name}")


def _stretches(
    con: duckdb.DuckDBPyConnection, part: Partition, old: PartFile | None, rows: _Rows
) -> Iterator[tuple[int, int]]:
    """Ranges of series (low <= s < high), none with many more than AT_ONCE rows."""
    sources = [
        f"select series, count(*) as n from {table.name} where {rows.inside} group by series"
        for table in rows.tables
    ]
    if old:
        sources.append(f"select place // {part.places}, count(*) from {old.name}.rows group by all")
    counts = " union all ".join(sources)
    query = f"select series, sum(n)::bigint as n from ({counts}) group by series order by series"
    found = con.execute(query).fetchnumpy()
    series, chunk = found["series"], np.cumsum(found["n"]) // AT_ONCE
    if len(series):
        first = 1 + np.flatnonzero(np.diff(chunk))
        yield from pairwise([int(series[0]), *series[first].tolist(), int(series[-1]) + 1])


def _union(columns: str, tables: list[HotTable]) -> str:
    return " union all ".join(f"select {columns} from {table.name}" for table in tables)


def _clear(file: Path) -> None:
    """What an abandoned closing left."""
    file.parent.mkdir(exist_ok=True)
    file.unlink(missing_ok=True)
    file.with_name(file.name + ".wal").unlink(missing_ok=True)
