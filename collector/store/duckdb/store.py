"""The embedded time-series store: one DuckDB file, one writer, readings and ledger in one transaction.

Its hot rows are in a table a UTC day. A day that is over becomes immutable parts, a file each, in `parts/`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np

from collector.core.readings import F64, I32, I64, Bools, Readings, SeriesKey, SeriesTable
from collector.store.base import (
    Aggregate,
    Points,
    Reject,
    StoreError,
    Tier,
    TierUsage,
)
from collector.store.duckdb import asking, closing, copying, manifest, rollups, tables
from collector.store.duckdb.layout import HotTable, Layout, PartFile
from collector.store.duckdb.writing import Writer
from collector.store.tiers import ALWAYS, DAY, SHARED, TIERS, plan
from devices.problems import Problems


def open_store(
    url: str, folder: Path, table: SeriesTable, memory: int, *, few: int = closing.FEW
) -> DuckStore:
    """The store of `[store] url` (`duckdb:` or `duckdb:FILE`), its file in `folder`; `memory` in bytes.

    Days with fewer rows than `few` share their files with other such days.

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
    return DuckStore(folder / (name or "readings.duckdb"), table, memory, few)


FILES_AT_ONCE = 64
"""So many days are asked at most in one question: each may have a file of its own."""


class DuckStore(Writer):
    """A `Store` in a DuckDB file and a folder of closed days beside it.

    commit, find, lasts and ledger are the writer's; all else may run in other threads meanwhile.
    Every method raises StoreError when DuckDB does not do its part.
    """

    resolution, tolerance = 1, 0.0

    def __init__(self, file: Path, table: SeriesTable, memory: int, few: int = closing.FEW) -> None:
        super().__init__(file, table, memory)
        self._few = few
        self._busy: duckdb.DuckDBPyConnection | None = None  # what closes a day
        self._leftover: list[tuple[int, PartFile]] = []  # with the version without them

    def tend(self) -> None:
        """Nothing: what is committed is kept."""

    def find(self, series: I32, time: I64) -> tuple[Bools, F64]:
        """For each (series, time): is it there, and its value (NaN where it is not)."""
        there, value = np.zeros(len(series), np.bool_), np.full(len(series), np.nan)
        self._settle()
        ids = self._ids(series)
        rows = np.flatnonzero(ids >= 0)
        for some in _by_days(rows, time):
            days = asking.days_of(time[some])
            found = self._ask(
                lambda view, days=days: view.raw_of(days),  # type: ignore[misc]
                lambda con, view, some=some: list(asking.find(con, view, some, ids[some], time[some])),  # type: ignore[misc]
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
        return self.charts([key], start, end, step, agg, limit).get(key, Points())

    def charts(
        self, keys: list[SeriesKey], start: int, end: int, step: int | None, agg: Aggregate, limit: int
    ) -> dict[SeriesKey, Points]:
        """The points of several series, in one question; see Store."""
        known = {id_: key for key in keys if (id_ := self._id(key)) >= 0}
        if not known:
            return {}

        def needed(view: Layout) -> list[PartFile]:
            segments = plan(start, end, step, view.floors)
            return [part for segment in segments for part in view.parts_in(*segment)]

        def answer(con: duckdb.DuckDBPyConnection, view: Layout) -> dict[SeriesKey, Points]:
            segments = plan(start, end, step, view.floors)
            tier: Tier = max((segment.tier for segment in segments), key=TIERS.index, default="raw")
            found = {key: Points((), tier) for key in known.values()}
            if query := rollups.points(view, segments, sorted(known), step, agg, limit):
                series, times, values = con.execute(query).fetchnumpy().values()
                edges = np.flatnonzero(np.diff(series)) + 1
                for first, last in pairwise([0, *edges.tolist(), len(series)] if len(series) else []):
                    rows = zip(times[first:last].tolist(), values[first:last].tolist(), strict=True)
                    found[known[int(series[first])]].extend(rows)
            return found

        return self._ask(needed, answer)

    def _id(self, key: SeriesKey) -> int:
        """The file's number of a series; -1 if nothing of it was ever committed."""
        number = self._table.find(key)
        return -1 if number is None or number >= len(self._map) else int(self._map[number])

    def rejects(self, limit: int, before: int | None = None) -> list[Reject]:
        """The newest rejects first; `before` is the offset of the last one seen, for paging."""
        asked = [2**63 - 1 if before is None else before, limit]
        with self._reading() as (con, _):
            rows = con.execute(tables.REJECTS, asked)
            return [Reject(*row) for row in rows.fetchall()]

    def scan(self, start: int, end: int) -> Generator[Readings, None, None]:
        """All raw readings with start <= time < end (epoch ns), in pieces; see Store."""
        with self._reading() as (con, view):
            stretches = list(asking.stretches(con, view))
        for first, last in stretches:
            low, high = max(first, start), min(last, end)
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
        """A copy of all that is committed, made into the empty `folder`; closed days are hard links.

        Commits wait while the open days' file is copied; the journal keeps what comes.
        """
        with self._closing, self._writing():
            copying.copy(self._shelf, self._view, self._file, folder)

    def tidy(self, now: int) -> None:
        """Close the days that are due at `now` (epoch ns): commits and questions go on meanwhile."""
        while not self._leaving.is_set():
            with self._closing, self._telling(), self._borrowed(pinned=False) as (con, view):
                self._sweep(con)
                self._busy = con
                try:
                    if not self._tidy_once(con, view, now):
                        return
                finally:
                    self._busy = None

    def _tidy_once(self, con: duckdb.DuckDBPyConnection, view: Layout, now: int) -> bool:
        """Put in order the oldest of what is due; False if there is nothing."""
        if due := closing.due(con, view, now):
            [(days, rows)] = {(table.days, sum(due.rows.values())) for table in due.tables}
            if days == 1 and rows < self._few:
                self._move_to_the_past(con, due.tables)
            else:
                self._close_days(con, due)
            return True
        number = closing.due_of_the_past(con, view, now, self._few)
        if number is not None:
            self._take_from_the_past(con, number)
        return number is not None

    def shed(self, tier: Tier, before: int) -> int:
        """Delete whole partitions of the tier that end at or before `before`; gives the bytes freed.

        Older rows that have no partition of their own are seen no more, and go with the next closing.
        """
        with self._closing, self._telling(), self._borrowed(pinned=False) as (con, view):
            gone = [part for part in view.parts.values() if part.tier == tier and part.end <= before]
            floor = max(view.floor(tier), *(part.end for part in gone), self._few_before(con, tier, before))
            if floor == view.floor(tier):
                return 0
            con.begin()
            for part in gone:
                manifest.drop(con, part)
            manifest.shed(con, tier, floor)
            self._publish(
                con,
                lambda view: replace(manifest.changed(view, old=gone), floors={**view.floors, tier: floor}),
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
        view, day = self._view, before // DAY * DAY
        oldest = [part.oldest for part in view.parts.values() if part.tier == tier and part.shared]
        if tier == "raw":
            oldest += asking.oldest(con, view.past())
        return day if min(oldest, default=day) < day else ALWAYS

    def _move_to_the_past(self, con: duckdb.DuckDBPyConnection, few: list[HotTable]) -> None:
        """Days of few rows: their tables are given up, the rows go to where those of other such days are."""
        with self._writer:  # no commit is in the middle of writing to them
            past = next(iter(self._view.past()), None) or HotTable(0, 0, next(self._count))
            made = [] if past in self._view.hot else [past]
            con.begin()
            for table in made:
                con.execute(f"create table {table.name} ({tables.HOT})")
            for table in few:
                con.execute(f"insert into {past.name} select * from {table.name}")
                con.execute(f"drop table {table.name}")
            self._publish(con, lambda view: manifest.changed(view, gone=few, made=made))

    def _take_from_the_past(self, con: duckdb.DuckDBPyConnection, number: int) -> None:
        """The rows of SHARED, so many since the epoch, get a table of their own, which is closed next."""
        days = SHARED // DAY
        fresh = HotTable(number * days, days, next(self._count))
        inside = f"time >= {number * SHARED} and time < {(number + 1) * SHARED}"
        con.begin()
        con.execute(f"create table {fresh.name} ({tables.HOT})")
        for table in self._view.past():
            con.execute(f"insert into {fresh.name} select * from {table.name} where {inside}")
            con.execute(f"delete from {table.name} where {inside}")
        self._publish(con, lambda view: manifest.changed(view, made=[fresh]))

    def _close_days(self, con: duckdb.DuckDBPyConnection, due: closing.Due) -> None:
        with self._writer:  # no commit is in the middle of writing to them
            hot = [table for table in self._view.hot if table[:2] == due.tables[0][:2]]
            self._sealed.update(hot)
        try:
            view = self._view
            due = closing.Due(hot, closing.rows_a_day(con, hot))
            try:
                new = closing.build(con, self._shelf, view, due, self._few, self._leaving.is_set)
            except duckdb.Error:
                parts = [part for tier in TIERS for part in view.parts_in(tier, *due.span)]
                if bad := [part for part in parts if self._shelf.fault(con, part)]:
                    self._lose(bad)  # it is gone, with or without these days: the next round goes on without
                    return
                raise
            old = [view.parts[part.key] for part in new if part.key in view.parts]
            con.begin()
            for part in new:
                manifest.put(con, part)
            for table in hot:
                manifest.renew(con, table)
                con.execute(f"drop table {table.name}")
            self._publish(con, lambda view: manifest.changed(view, gone=hot, old=old, new=new))
        finally:
            self._sealed.difference_update(hot)
        self._leave(old)
        self._sweep(con)

    def _leave(self, parts: list[PartFile]) -> None:
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
        except (closing.AbandonedError, duckdb.InterruptException):
            return
        except (duckdb.Error, OSError) as error:
            raise StoreError(f"{self._file}: {str(error).splitlines()[0]}", permanent=False) from error


def _by_days(rows: I64, time: I64) -> Iterator[I64]:
    """The rows (places in `time`), those of a few days together."""
    if not len(rows):
        return
    days = np.unique(time[rows] // DAY)
    if len(days) <= FILES_AT_ONCE:
        yield rows
        return
    turn = np.searchsorted(days, time[rows] // DAY) // FILES_AT_ONCE
    for number in range(int(turn.max()) + 1):
        yield rows[turn == number]
