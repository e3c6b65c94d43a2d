"""The main file's tables about partitions: the parts there are, what was shed, the newest closed readings."""

from __future__ import annotations

from dataclasses import replace

import duckdb

from collector.store.base import Tier
from collector.store.duckdb import tables
from collector.store.duckdb.layout import HotTable, Layout, PartFile


def load(con: duckdb.DuckDBPyConnection, version: int) -> Layout:
    """What the main file says there is."""
    hot: dict[int, tuple[HotTable, ...]] = {}
    for (name,) in con.execute(tables.HOT_TABLES).fetchall():
        if table := HotTable.named(name):
            hot[table.day] = tuple(sorted((*hot.get(table.day, ()), table)))
    parts = [PartFile(*row) for row in con.execute("select * from parts").fetchall()]
    floors: dict[Tier, int] = dict(con.execute("select * from floors").fetchall())
    return Layout(version, hot, {(part.tier, part.number): part for part in parts}, floors)


def put(con: duckdb.DuckDBPyConnection, part: PartFile) -> None:
    """Name a part, instead of the one there was."""
    drop(con, part)
    con.execute("insert into parts values (?, ?, ?, ?, ?, ?, ?, ?)", list(part))


def drop(con: duckdb.DuckDBPyConnection, part: PartFile) -> None:
    """Name it no more."""
    con.execute("delete from parts where tier = ? and number = ?", [part.tier, part.number])


def shed(con: duckdb.DuckDBPyConnection, tier: Tier, before: int) -> None:
    """Say that there is nothing of a tier before that time any more."""
    con.execute("delete from floors where tier = ?", [tier])
    con.execute("insert into floors values (?, ?)", [tier, before])


def renew(con: duckdb.DuckDBPyConnection, table: HotTable) -> None:
    """Keep the newest reading of each series before the table goes."""
    fresh = (
        f"select series, max(time) as time, arg_max(value, time) as value from {table.name} group by series"
    )
    con.execute(f"create or replace temp table fresh as {fresh}")
    con.execute(
        "delete from fresh using newest where fresh.series = newest.series and fresh.time <= newest.time"
    )
    con.execute("delete from newest using fresh where fresh.series = newest.series")
    con.execute("insert into newest select * from fresh")


def without(view: Layout, tables: list[HotTable], old: list[PartFile], new: list[PartFile]) -> Layout:
    """The next view: these tables and parts gone, those there."""
    gone = set(tables)
    hot = {day: tuple(table for table in there if table not in gone) for day, there in view.hot.items()}
    parts = {key: part for key, part in view.parts.items() if part not in old}
    parts |= {(part.tier, part.number): part for part in new}
    kept = {day: there for day, there in hot.items() if there}
    return replace(view, version=view.version + 1, hot=kept, parts=parts)


def having(view: Layout, made: list[HotTable]) -> Layout:
    """The next view: these tables there as well."""
    hot = dict(view.hot)
    for table in made:
        hot[table.day] = (*hot.get(table.day, ()), table)
    return replace(view, version=view.version + 1, hot=hot)
