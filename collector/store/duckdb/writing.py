"""The writer's side of the DuckDB store: rows, rejects and ledger in one transaction of the main file."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, cast

import duckdb
import numpy as np

from collector.core.readings import I32, I64, Readings, SeriesTable, grown
from collector.store.base import COUNTS, KEPT_REJECTS, PRUNED_AT, Ledger, Reject
from collector.store.duckdb import asking, manifest, tables
from collector.store.duckdb.database import DuckFile
from collector.store.duckdb.layout import HotTable
from collector.store.duckdb.tables import named, reject_columns, scalar, series_columns, series_numbers
from collector.store.tiers import ALWAYS, DAY

OPEN = 8
"""So many days at most have a table of their own, and more only"""
NEWEST = 2
"""for so many days of one commit that are newer than all others."""


class Writer(DuckFile):
    """Commits; knows the series and the ledger."""

    def __init__(self, file: Path, table: SeriesTable, memory: int) -> None:
        self._table = table
        self._tried: int | None = None  # the cursor of a commit in doubt
        self._ledger: Ledger | None = None
        self._sealed: set[HotTable] = set()  # tables that are being closed: no row comes to them any more
        super().__init__(file, memory)

    def ledger(self) -> Ledger | None:
        """What was last committed; None for a store that has never been written, or was set aside."""
        self._settle()
        return None if self._ledger is None else replace(self._ledger)

    def commit(self, new: Readings, rejects: list[Reject], ledger: Ledger) -> Ledger:
        """Write the rows, the rejects and the ledger: all or nothing, durable on return. Gives that ledger.

        After a StoreError the same commit may be given again: if it did reach the disk, it is not doubled.
        """
        with self._writing() as con:
            if not (self._ledger and self._tried == self._ledger.cursor == ledger.cursor):
                fresh = self._fresh(new.series)
                self._doubt, self._tried = True, ledger.cursor
                self._write(con, new, rejects, ledger, fresh)
                self._doubt, self._ledger = False, replace(ledger)
            self._tried = None  # else it had reached the disk after all
        return replace(ledger)

    def _settle(self) -> None:
        """After a commit that failed: see what reached the disk."""
        if self._doubt or self._broken:
            with self._writing():
                pass

    def _numbers(self) -> I32:
        """This process's number of each of the store's series."""
        known = np.flatnonzero(self._map >= 0).astype(np.int32)
        number = np.zeros(int(self._map.max(initial=-1)) + 1, np.int32)
        number[self._map[known]] = known
        return number

    def _load(self, con: duckdb.DuckDBPyConnection) -> None:
        super()._load(con)
        ids, numbers = series_numbers(con, self._table)
        self._next = int(ids.max(initial=-1)) + 1
        self._map: I32 = np.full(len(self._table), -1, np.int32)  # this process's numbers -> the store's ids
        self._map[numbers] = ids
        ledgers = con.execute(tables.LEDGER).fetchall()
        self._ledger = _ledger(ledgers[0]) if ledgers else None
        self._rejects: int = scalar(con, "select count(*) from rejects")
        self._count = count(
            max((table.number for table in self._layout.hot), default=0) + 1
        )  # the numbers of the tables to come

    def _ids(self, numbers: I32) -> I32:
        self._map = cast(I32, grown(self._map, len(self._table), -1))
        return self._map[numbers]

    def _fresh(self, numbers: I32) -> I32:
        """The numbers of those that the store does not know."""
        return np.unique(numbers[self._ids(numbers) < 0])

    def _write(
        self,
        con: duckdb.DuckDBPyConnection,
        new: Readings,
        rejects: list[Reject],
        ledger: Ledger,
        fresh: I32,
    ) -> None:
        self._map[fresh] = self._next + np.arange(len(fresh))
        rows = {
            "series": self._map[new.series],
            "time": new.time,
            "value": new.value,
            "quality": new.quality,
            "received": new.received,
        }
        with (
            named(con, "rows", rows),
            named(con, "refused", reject_columns(rejects)),
            named(con, "named", series_columns(self._map[fresh], *self._table.names_of(fresh))),
        ):
            con.begin()
            if len(fresh):
                con.execute("insert into series select * from named")
            made = self._insert(con, new.time) if len(new) else []
            kept = self._refuse(con, rejects) if rejects else self._rejects
            self._put(con, ledger)
            if made:
                self._publish(con, lambda layout: manifest.changed(layout, made=made))
            else:
                con.commit()
        self._rejects = kept
        self._next += len(fresh)

    def _insert(self, con: duckdb.DuckDBPyConnection, time: I64) -> list[HotTable]:
        """Each row into the table of its day, or of the past; gives the tables that were made for it."""
        days = asking.days_of(time)
        places, made = self._tables(days)
        for table in made:
            con.execute(f"create table {table.name} ({tables.HOT})")
        own = {day: table for day, table in zip(days, places, strict=True) if table.days}
        inside = {day: f"time >= {day * DAY} and time < {(day + 1) * DAY}" for day in own}
        for day, table in own.items():
            where = f" where {inside[day]}" if len(days) > 1 else ""
            con.execute(f"insert into {table.name} select * from rows{where}")
        if len(own) < len(days):
            [past] = {table for table in places if not table.days}
            where = " and ".join(f"not ({each})" for each in inside.values()) or "true"
            con.execute(f"insert into {past.name} select * from rows where {where}")
        return made

    def _tables(self, days: list[int]) -> tuple[list[HotTable], list[HotTable]]:
        """For each day its table; and those of them that are to be made.

        No more than OPEN days have one of their own, so that neither memory nor files grow with the days that
        somebody sends; but the newest of all days always have one. The others share a table of the past.
        """
        layout = self._layout
        open_ = {table.first: table for table in layout.hot if table.days == 1 and table not in self._sealed}
        many, newest = (
            sum(table.days == 1 for table in layout.hot),
            max((table.first for table in layout.hot), default=ALWAYS),
        )
        past = next(iter(layout.past()), None)
        places, made = list[HotTable](), list[HotTable]()
        for day in reversed(days):
            table = open_.get(day)
            if table is None and (many < OPEN or (day > newest and len(made) < NEWEST)):
                table = HotTable(day, 1, next(self._count))
                made.append(table)
                many += 1
            elif table is None:
                if past is None:
                    past = HotTable(0, 0, next(self._count))
                    made.append(past)
                table = past
            places.append(table)
        return places[::-1], made

    def _refuse(self, con: duckdb.DuckDBPyConnection, rejects: list[Reject]) -> int:
        con.execute("insert into rejects select * from refused")
        there = self._rejects + len(rejects)
        if there <= PRUNED_AT:
            return there
        con.execute(tables.PRUNE, [KEPT_REJECTS])
        return KEPT_REJECTS

    def _put(self, con: duckdb.DuckDBPyConnection, ledger: Ledger) -> None:
        row = [getattr(ledger, name) for name in COUNTS]
        con.execute(tables.FIRST_LEDGER if self._ledger is None else tables.NEXT_LEDGER, row)


def _ledger(row: tuple[Any, ...]) -> Ledger:
    return Ledger(**dict(zip(COUNTS, row, strict=True)))
