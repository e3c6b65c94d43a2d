"""The embedded time-series store: one DuckDB file, one writer, readings and ledger in one transaction.

Its hot rows are in a table a UTC day. A day that is over becomes immutable parts, a file each, in `parts/`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np

from collector.core.readings import F64, I32, I64, Bools, Readings, SeriesKey, SeriesTable
from collector.store.base import (
    Aggregate,
    Points,
    Reject,
    Tier,
    TierUsage,
)
from collector.store.duckdb import asking, closing, rollups, tables
from collector.store.duckdb.layout import Layout, PartFile
from collector.store.duckdb.upkeep import Upkeep
from collector.store.tiers import DAY, TIERS, plan
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


class DuckStore(Upkeep):
    """A `Store` in a DuckDB file and a folder of closed days beside it.

    commit, find, lasts and ledger are the writer's; all else may run in other threads meanwhile.
    Every method raises StoreError when DuckDB does not do its part.
    """

    resolution, tolerance = 1, 0.0

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
                lambda layout, days=days: layout.raw_of(days),  # type: ignore[misc]
                lambda con, layout, some=some: list(asking.find(con, layout, some, ids[some], time[some])),  # type: ignore[misc]
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
        with self._reading(suspicious=True) as (con, layout):
            ids, time, value = asking.lasts(con, layout, known)
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

        def needed(layout: Layout) -> list[PartFile]:
            segments = plan(start, end, step, layout.floors)
            return [part for segment in segments for part in layout.parts_in(*segment)]

        def answer(con: duckdb.DuckDBPyConnection, layout: Layout) -> dict[SeriesKey, Points]:
            segments = plan(start, end, step, layout.floors)
            tier: Tier = max((segment.tier for segment in segments), key=TIERS.index, default="raw")
            found = {key: Points((), tier) for key in known.values()}
            if query := rollups.points(layout, segments, sorted(known), step, agg, limit):
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
        with self._reading() as (con, layout):
            stretches = list(asking.stretches(con, layout))
        for first, last in stretches:
            low, high = max(first, start), min(last, end)
            if low >= high:
                continue
            with self._reading() as (con, layout), self._shelf.held(layout.parts_in("raw", low, high)):
                for found in asking.pieces(con, layout, low, high):
                    yield Readings(**{**found, "series": self._numbers()[found["series"]]})

    def usage(self) -> list[TierUsage]:
        """What is kept, by tier; the main file counts as raw."""
        with self._reading() as (con, layout):
            return asking.usage(con, layout, self._file.stat().st_size)


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
