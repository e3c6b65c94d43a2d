"""Closing a day: its hot rows become the next generation of its parts, a few series at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np

from collector.store.base import Tier
from collector.store.duckdb import rollups
from collector.store.duckdb.layout import HotTable, Layout, PartFile
from collector.store.duckdb.parts import BUILDING, FORM, Shelf, quoted, sync
from collector.store.duckdb.tables import scalar
from collector.store.tiers import DAY, PLACES, SPAN, TIERS

GRACE = 2 * 3_600 * 10**9
"""A day is closed so long after its end,"""
WAIT = 3_600 * 10**9
"""and rows that come later wait so long for each other."""
STAGED = "staged"
AT_ONCE = 1_000_000
"""Readings that are sorted in one go: about 60 MB."""


class AbandonedError(Exception):
    """The store is being closed: what was built so far is thrown away."""


def due(con: duckdb.DuckDBPyConnection, view: Layout, now: int) -> int | None:
    """The oldest day that is to be closed at `now` (epoch ns)."""
    for day in sorted(view.hot):
        if (day + 1) * DAY + GRACE > now:
            return None
        since = [scalar(con, f"select min(received) from {table.name}") for table in view.hot[day]]
        if any(first is None or first + WAIT <= now for first in since):
            return day
    return None


def build(
    con: duckdb.DuckDBPyConnection,
    shelf: Shelf,
    view: Layout,
    day: int,
    tables: list[HotTable],
    stop: Callable[[], bool],
) -> list[PartFile]:
    """The new parts of a day, on disk for good, that no manifest names yet. Raises AbandonedError."""
    con.execute("set session preserve_insertion_order = true")  # a part is sorted
    new = []
    for tier in TIERS:
        number = day * DAY // SPAN[tier]
        if number * SPAN[tier] >= view.floors.get(tier, -(2**63)):
            new.append(_build(con, shelf, tier, number, view.parts.get((tier, number)), tables, stop))
    return new


def _build(
    con: duckdb.DuckDBPyConnection,
    shelf: Shelf,
    tier: Tier,
    number: int,
    old: PartFile | None,
    tables: list[HotTable],
    stop: Callable[[], bool],
) -> PartFile:
    generation = old.generation + 1 if old else 1
    part = PartFile(tier, number, generation, 0, 0, 0, 0, 0)
    file = shelf.path(part)
    _clear(file)
    with shelf.held([old] if old else []), _attached(con, file, BUILDING):
        con.execute(f"create table {BUILDING}.rows ({rollups.COLD[tier]})")
        _fill(con, shelf, part, old, tables, stop)
        stock = con.execute(rollups.stock(tier, number)).fetchall()[0]
        con.execute(f"checkpoint {BUILDING}")
    sync(file)
    return PartFile(tier, number, generation, stock[0], stock[1], file.stat().st_size, stock[2], stock[3])


def _fill(
    con: duckdb.DuckDBPyConnection,
    shelf: Shelf,
    part: PartFile,
    old: PartFile | None,
    tables: list[HotTable],
    stop: Callable[[], bool],
) -> None:
    """A few series at a time. Roll-ups go by way of a file: written in one go they take a third less."""

    def insert(target: str) -> None:
        for low, high in _stretches(con, part.tier, old, tables):
            if stop():
                raise AbandonedError
            rows = rollups.merged(part.tier, part.number, tables, old, low, high)
            con.execute(f"insert into {target} {rows}")

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
    con: duckdb.DuckDBPyConnection, tier: Tier, old: PartFile | None, tables: list[HotTable]
) -> Iterator[tuple[int, int]]:
    """Ranges of series (low <= s < high), none with many more than AT_ONCE rows."""
    sources = [f"select series, count(*) as n from {table.name} group by series" for table in tables]
    if old:
        sources.append(f"select place // {PLACES[tier]}, count(*) from {old.name}.rows group by all")
    counts = " union all ".join(sources)
    query = f"select series, sum(n)::bigint as n from ({counts}) group by series order by series"
    found = con.execute(query).fetchnumpy()
    series, chunk = found["series"], np.cumsum(found["n"]) // AT_ONCE
    first = 1 + np.flatnonzero(np.diff(chunk))
    yield from pairwise([int(series[0]), *series[first].tolist(), int(series[-1]) + 1])


def _clear(file: Path) -> None:
    """What an abandoned closing left."""
    file.parent.mkdir(exist_ok=True)
    file.unlink(missing_ok=True)
    file.with_name(file.name + ".wal").unlink(missing_ok=True)
