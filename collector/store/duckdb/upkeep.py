"""The upkeep of the DuckDB store: days are closed, old parts shed, copies taken, while commits go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import duckdb

from collector.core.readings import SeriesTable
from collector.store.base import StoreError, Tier
from collector.store.duckdb import asking, closing, copying, manifest, tables
from collector.store.duckdb.layout import HotTable, Layout, PartFile
from collector.store.duckdb.writing import Writer
from collector.store.tiers import ALWAYS, DAY, SHARED, TIERS


class Upkeep(Writer):
    """All of it may be called in other threads than commit; one of tidy, shed and snapshot runs at a time."""

    def __init__(self, file: Path, table: SeriesTable, memory: int, few: int = closing.FEW) -> None:
        super().__init__(file, table, memory)
        self._few = few
        self._busy: duckdb.DuckDBPyConnection | None = None  # what closes a day
        self._leftover: list[tuple[int, PartFile]] = []  # with the version of the layout without them

    def snapshot(self, folder: Path) -> None:
        """A copy of all that is committed, made into the empty `folder`; closed days are hard links.

        Commits wait while the open days' file is copied; the journal keeps what comes.
        """
        with self._closing, self._writing():
            copying.copy(self._shelf, self._layout, self._file, folder)

    def tidy(self, now: int) -> None:
        """Close the days that are due at `now` (epoch ns): commits and questions go on meanwhile."""
        while not self._leaving.is_set():
            with self._closing, self._telling(), self._borrowed(pinned=False) as (con, layout):
                self._sweep(con)
                self._busy = con
                try:
                    if not self._tidy_once(con, layout, now):
                        return
                finally:
                    self._busy = None

    def _tidy_once(self, con: duckdb.DuckDBPyConnection, layout: Layout, now: int) -> bool:
        """Put in order the oldest of what is due; False if there is nothing."""
        if due := closing.due(con, layout, now):
            [(days, rows)] = {(table.days, sum(due.rows.values())) for table in due.tables}
            if days == 1 and rows < self._few:
                self._move_to_the_past(con, due.tables)
            else:
                self._close_days(con, due)
            return True
        number = closing.due_of_the_past(con, layout, now, self._few)
        if number is not None:
            self._take_from_the_past(con, number)
        return number is not None

    def shed(self, tier: Tier, before: int) -> int:
        """Delete whole partitions of the tier that end at or before `before`; gives the bytes freed.

        Older rows that have no partition of their own are seen no more, and go with the next closing.
        """
        with self._closing, self._telling(), self._borrowed(pinned=False) as (con, layout):
            gone = [part for part in layout.parts.values() if part.tier == tier and part.end <= before]
            floor = max(layout.floor(tier), *(part.end for part in gone), self._few_before(con, tier, before))
            if floor == layout.floor(tier):
                return 0
            con.begin()
            for part in gone:
                manifest.drop(con, part)
            manifest.shed(con, tier, floor)
            self._publish(
                con,
                lambda layout: replace(
                    manifest.changed(layout, old=gone), floors={**layout.floors, tier: floor}
                ),
            )
            self._leave(gone)
            self._sweep(con)
        return sum(part.bytes for part in gone)

    def close(self) -> None:
        """Release the file. Nothing committed is lost by not calling it."""
        self._leaving.set()
        if busy := self._busy:
            with suppress(duckdb.Error):  # it may just have come to its end
                busy.interrupt()
        with self._writer:
            self._shut()

    def _few_before(self, con: duckdb.DuckDBPyConnection, tier: Tier, before: int) -> int:
        """The tier's floor for the days before `before` that share their parts, or have none yet."""
        layout, day = self._layout, before // DAY * DAY
        oldest = [part.oldest for part in layout.parts.values() if part.tier == tier and part.shared]
        if tier == "raw":
            oldest += asking.oldest(con, layout.past())
        return day if min(oldest, default=day) < day else ALWAYS

    def _move_to_the_past(self, con: duckdb.DuckDBPyConnection, few: list[HotTable]) -> None:
        """Days of few rows: their tables are given up, the rows go to where those of other such days are."""
        with self._writer:  # no commit is in the middle of writing to them
            past = next(iter(self._layout.past()), None) or HotTable(0, 0, next(self._count))
            made = [] if past in self._layout.hot else [past]
            con.begin()
            for table in made:
                con.execute(f"create table {table.name} ({tables.HOT})")
            for table in few:
                con.execute(f"insert into {past.name} select * from {table.name}")
                con.execute(f"drop table {table.name}")
            self._publish(con, lambda layout: manifest.changed(layout, gone=few, made=made))

    def _take_from_the_past(self, con: duckdb.DuckDBPyConnection, number: int) -> None:
        """The rows of SHARED, so many since the epoch, get a table of their own, which is closed next."""
        days = SHARED // DAY
        fresh = HotTable(number * days, days, next(self._count))
        inside = f"time >= {number * SHARED} and time < {(number + 1) * SHARED}"
        con.begin()
        con.execute(f"create table {fresh.name} ({tables.HOT})")
        for table in self._layout.past():
            con.execute(f"insert into {fresh.name} select * from {table.name} where {inside}")
            con.execute(f"delete from {table.name} where {inside}")
        self._publish(con, lambda layout: manifest.changed(layout, made=[fresh]))

    def _close_days(self, con: duckdb.DuckDBPyConnection, due: closing.DueTables) -> None:
        with self._writer:  # no commit is in the middle of writing to them
            hot = [table for table in self._layout.hot if table[:2] == due.tables[0][:2]]
            self._sealed.update(hot)
        try:
            layout = self._layout
            due = closing.DueTables(hot, closing.rows_a_day(con, hot))
            try:
                new = closing.build(con, self._shelf, layout, due, self._few, self._leaving.is_set)
            except duckdb.Error:
                parts = [part for tier in TIERS for part in layout.parts_in(tier, *due.span)]
                if bad := [part for part in parts if self._shelf.fault(con, part)]:
                    self._lose(bad)  # it is gone, with or without these days: the next round goes on without
                    return
                raise
            old = [layout.parts[part.key] for part in new if part.key in layout.parts]
            con.begin()
            for part in new:
                manifest.put(con, part)
            for table in hot:
                manifest.renew(con, table)
                con.execute(f"drop table {table.name}")
            self._publish(con, lambda layout: manifest.changed(layout, gone=hot, old=old, new=new))
        finally:
            self._sealed.difference_update(hot)
        self._leave(old)
        self._sweep(con)

    def _leave(self, parts: list[PartFile]) -> None:
        self._leftover += [(self._layout.version, part) for part in parts]

    def _sweep(self, con: duckdb.DuckDBPyConnection) -> None:
        """Delete old generations that nobody looks at, once the main file itself (not its log) says so."""
        with self._turn:
            oldest = min(self._looking, default=self._layout.version)
        free = [part for version, part in self._leftover if version <= oldest]
        if not free:
            return
        with self._writer:
            try:
                con.execute("checkpoint")
            except duckdb.TransactionException:  # a long question is under way: another time
                return
        for part in free:
            self._shelf.remove(part)
        self._leftover = [(version, part) for version, part in self._leftover if part not in free]

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (closing.AbandonedError, duckdb.InterruptException):
            return
        except (duckdb.Error, OSError) as error:
            raise StoreError(f"{self._file}: {str(error).splitlines()[0]}", permanent=False) from error
