"""The main file's tables about partitions: the parts there are, what was shed, the newest closed readings."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import astuple, replace

import duckdb

from collector.store.base import Tier
from collector.store.duckdb import tables
from collector.store.duckdb.layout import HotTable, Layout, PartFile


def load(con: duckdb.DuckDBPyConnection, version: int) -> Layout:
    """What the main file says there is."""
    hot = sorted(HotTable.named(name) for (name,) in con.execute(tables.HOT_TABLES).fetchall())
    parts = [PartFile(*row) for row in con.execute("select * from parts").fetchall()]
    floors: dict[Tier, int] = dict(con.execute("select * from floors").fetchall())
    return Layout(version, tuple(hot), {part.key: part for part in parts}, floors)


def put(con: duckdb.DuckDBPyConnection, part: PartFile) -> None:
    """Name a part, instead of the one there was."""
    drop(con, part)
    con.execute("insert into parts values (?, ?, ?, ?, ?, ?, ?, ?, ?)", list(astuple(part)))


def drop(con: duckdb.DuckDBPyConnection, part: PartFile) -> None:
    """Name it no more."""
    con.execute("delete from parts where tier = ? and shared = ? and number = ?", list(part.key))


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


def changed(
    layout: Layout,
    *,
    gone: Collection[HotTable] = (),
    made: Collection[HotTable] = (),
    old: Collection[PartFile] = (),
    new: Collection[PartFile] = (),
) -> Layout:
    """The next layout: tables `gone` and `made`, parts of the `old` replaced by `new` ones."""
    hot = sorted([*(table for table in layout.hot if table not in gone), *made])
    parts = {key: part for key, part in layout.parts.items() if part not in old}
    parts |= {part.key: part for part in new}
    return replace(layout, version=layout.version + 1, hot=tuple(hot), parts=parts)
