"""The embedded time-series store: one DuckDB file, one writer, readings and ledger in one transaction.

Its hot rows are in a table a UTC day. A day that is over becomes immutable parts, a file each, in `parts/`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, cast

import duckdb
import numpy as np

from collector.core.readings import F64, I32, I64, Bools, Readings, SeriesKey, SeriesTable, grown
from collector.store import asking, closing, copying, manifest, rollups, tables
from collector.store.base import (
    COUNTS,
    KEPT_REJECTS,
    PRUNED_AT,
    Aggregate,
    Ledger,
    Points,
    Reject,
    StoreError,
    Tier,
    TierUsage,
)
from collector.store.database import Database
from collector.store.tables import named, reject_columns, scalar, series_columns, series_numbers
from collector.store.tiers import ALWAYS, DAY, SPAN, TIERS, plan
from collector.store.view import Hot, Part, View
from devices.problems import Problems


def open_store(url: str, folder: Path, table: SeriesTable, memory: int) -> DuckStore:
    """The store of `[store] url` (`duckdb:` or `duckdb:FILE`), its file in `folder`; `memory` in bytes.

    Raises Problems if the file is another process's, of a newer version, or cannot be had; a damaged file is
    set aside (see `DuckStore.set_aside`) and a fresh one begun.
    """
    scheme, _, name = url.partition(":")
    if scheme != "duckdb":
        raise Problems.one("store.url", f"{url!r} is no store this version knows", 'write "duckdb:"')
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Problems.one(
            str(folder), f"cannot be made ({error.strerror})", "choose another data.dir"
        ) from None
    return DuckStore(folder / (name or "readings.duckdb"), table, memory)


class DuckStore(Database):
    """A `Store` in a DuckDB file and a folder of closed days beside it.

    commit, find, lasts and ledger are the writer's; all else may run in other threads meanwhile.
    Every method raises StoreError when DuckDB does not do its part.
    """

    resolution, tolerance = 1, 0.0

    def __init__(self, file: Path, table: SeriesTable, memory: int) -> None:
        self._table = table
        self._tried: int | None = None  # the cursor of a commit in doubt
        self._ledger: Ledger | None = None
        self._sealed: set[Hot] = set()  # tables that are being closed: no row comes to them any more
        self._leftover: list[tuple[int, Part]] = []  # old generations, and the view's version without them
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

    def tend(self) -> None:
        """Nothing: what is committed is kept."""

    def find(self, series: I32, time: I64) -> tuple[Bools, F64]:
        """For each (series, time): is it there, and its value (NaN where it is not)."""
        there, value = np.zeros(len(series), np.bool_), np.full(len(series), np.nan)
        self._settle()
        ids = self._ids(series)
        rows = np.flatnonzero(ids >= 0)
        if len(rows):
            days = asking.days_of(time[rows])
            found = self._ask(
                lambda view: asking.raw_parts(view, days),
                lambda con, view: list(asking.find(con, view, rows, ids[rows], time[rows])),
                suspicious=True,
            )
            for each in found:
                there[each["row"]] = True
                value[each["row"]] = each["value"]
        return there, value

    def lasts(self) -> tuple[I32, I64, F64]:
        """Of every series its newest time and the value there: (series, epoch ns, value)."""
        self._settle()
        known = self._map[self._map >= 0]
        with self._reading(suspicious=True) as (con, view):
            ids, time, value = asking.lasts(con, view, known)
        return self._numbers()[ids], time, value

    def points(
        self, key: SeriesKey, start: int, end: int, step: int | None, agg: Aggregate, limit: int
    ) -> Points:
        """One series, start <= t < end (epoch ns), raw or one point per non-empty bucket; see Store."""
        number = self._table.find(key)
        series = -1 if number is None or number >= len(self._map) else int(self._map[number])
        if series < 0:
            return Points()

        def needed(view: View) -> list[Part]:
            segments = plan(start, end, step, view.floors)
            return [part for segment in segments for part in view.parts_in(*segment)]

        def answer(con: duckdb.DuckDBPyConnection, view: View) -> Points:
            segments = plan(start, end, step, view.floors)
            tier: Tier = max((segment.tier for segment in segments), key=TIERS.index, default="raw")
            query = rollups.points(view, segments, series, step, agg, limit)
            if not query:
                return Points((), tier)
            times, values = con.execute(query).fetchnumpy().values()
            return Points(zip(times.tolist(), values.tolist(), strict=True), tier)

        return self._ask(needed, answer)

    def rejects(self, limit: int, before: int | None = None) -> list[Reject]:
        """The newest rejects first; `before` is the offset of the last one seen, for paging."""
        asked = [2**63 - 1 if before is None else before, limit]
        with self._reading() as (con, _):
            rows = con.execute(tables.REJECTS, asked)
            return [Reject(*row) for row in rows.fetchall()]

    def scan(self, start: int, end: int) -> Iterator[Readings]:
        """All raw readings with start <= time < end (epoch ns), in pieces; see Store."""
        days = sorted({*self._view.hot, *(day for tier, day in self._view.parts if tier == "raw")})
        for day in days:
            low, high = max(day * DAY, start), min((day + 1) * DAY, end)
            if low >= high:
                continue
            with self._reading() as (con, view), self._shelf.held(view.parts_in("raw", low, high)):
                for found in asking.pieces(con, view, low, high):
                    yield Readings(**{**found, "series": self._numbers()[found["series"]]})

    def usage(self) -> list[TierUsage]:
        """What is kept, by tier; the main file counts as raw."""
        with self._reading() as (con, view):
            return asking.usage(con, view, self._file.stat().st_size)

    def snapshot(self, folder: Path) -> None:
        """A copy of all that is committed, made into the empty `folder`; closed days are hard links."""
        with self._closing, self._reading() as (con, view):
            copying.copy(con, self._shelf, view, self._file, folder)

    def tidy(self, now: int) -> None:
        """Close the days that are due at `now` (epoch ns): commits and questions go on meanwhile."""
        while not self._leaving.is_set():
            with self._closing, self._telling(), self._borrowed(pinned=False) as (con, view):
                self._sweep(con)
                day = closing.due(con, view, now)
                if day is None:
                    return
                self._close_day(con, day)

    def shed(self, tier: Tier, before: int) -> int:
        """Delete whole partitions of the tier that end at or before `before`; gives the bytes freed."""
        with self._closing, self._telling(), self._borrowed(pinned=False) as (con, view):
            gone = [
                part
                for (kind, number), part in view.parts.items()
                if kind == tier and (number + 1) * SPAN[tier] <= before
            ]
            if not gone:
                return 0
            floor = max(view.floors.get(tier, ALWAYS), *((part.number + 1) * SPAN[tier] for part in gone))
            con.begin()
            for part in gone:
                manifest.drop(con, part)
            manifest.shed(con, tier, floor)
            self._publish(
                con,
                lambda view: replace(
                    manifest.without(view, [], gone, []), floors={**view.floors, tier: floor}
                ),
            )
            self._leave(gone)
            self._sweep(con)
        return sum(part.bytes for part in gone)

    def close(self) -> None:
        """Release the file. Nothing committed is lost by not calling it."""
        self._leaving.set()
        with self._writer:
            self._shut()

    def _close_day(self, con: duckdb.DuckDBPyConnection, day: int) -> None:
        with self._writer:  # no commit is in the middle of writing to them
            hot = list(self._view.hot.get(day, ()))
            self._sealed.update(hot)
        try:
            view = self._view
            new = closing.build(con, self._shelf, view, day, hot, self._leaving.is_set)
            old = [part for each in new if (part := view.parts.get((each.tier, each.number)))]
            con.begin()
            for part in new:
                manifest.put(con, part)
            for table in hot:
                manifest.renew(con, table)
                con.execute(f"drop table {table.name}")
            self._publish(con, lambda view: manifest.without(view, hot, old, new))
        finally:
            self._sealed.difference_update(hot)
        self._leave(old)
        self._sweep(con)

    def _leave(self, parts: list[Part]) -> None:
        self._leftover += [(self._view.version, part) for part in parts]

    def _sweep(self, con: duckdb.DuckDBPyConnection) -> None:
        """Delete old generations that nobody looks at, once the main file itself (not its log) says so."""
        with self._turn:
            oldest = min(self._looking, default=self._view.version)
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
        except closing.AbandonedError:
            return
        except (duckdb.Error, OSError) as error:
            raise StoreError(f"{self._file}: {str(error).splitlines()[0]}", permanent=False) from error

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
        made = [table.number for there in self._view.hot.values() for table in there]
        self._count = count(max(made, default=0) + 1)  # the numbers of the tables to come

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
                self._publish(con, lambda view: manifest.having(view, made))
            else:
                con.commit()
        self._rejects = kept
        self._next += len(fresh)

    def _insert(self, con: duckdb.DuckDBPyConnection, time: I64) -> list[Hot]:
        """Each row into a table of its day; gives the tables that were made for it."""
        made = []
        days = np.unique(asking.days_of(time)).tolist()
        for day in days:
            there = [table for table in self._view.hot.get(day, ()) if table not in self._sealed]
            table = there[-1] if there else Hot(day, next(self._count))
            if not there:
                con.execute(f"create table {table.name} ({tables.HOT})")
                made.append(table)
            inside = f" where time >= {day * DAY} and time < {(day + 1) * DAY}" if len(days) > 1 else ""
            con.execute(f"insert into {table.name} select * from rows{inside}")
        return made

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
