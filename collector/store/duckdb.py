"""The embedded time-series store: one DuckDB file, one writer, readings and ledger in one transaction."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from shutil import copy2
from typing import Any, cast

import duckdb
import numpy as np

from collector.core.readings import F64, I32, I64, Bools, Readings, SeriesKey, SeriesTable, grown
from collector.store import opening, tables
from collector.store.base import COUNTS, KEPT_REJECTS, PRUNED_AT, Aggregate, Ledger, Reject, StoreError
from collector.store.tables import named, reject_columns, scalar, series_columns, series_numbers
from devices.problems import Problems

_HOUR = 3_600 * 10**9
_LOOK_BACK = (_HOUR, 24 * _HOUR, 168 * _HOUR)  # most series' last is near the end: do not read the whole past


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


class DuckStore:
    """A `Store` in one DuckDB file. `set_aside` has a sentence for each damaged file that was put by.

    commit, find, lasts and ledger are the writer's; points and rejects may run in other threads meanwhile.
    Every method raises StoreError when DuckDB does not do its part.
    """

    resolution, tolerance = 1, 0.0

    def __init__(self, file: Path, table: SeriesTable, memory: int) -> None:
        self._file, self._table, self._memory = file, table, memory
        self._writer = threading.RLock()
        self._turn = threading.Condition()  # guards _con and _readers
        self._readers = 0
        self._broken = False  # DuckDB refuses everything until it is opened anew
        self._doubt = False  # the last commit failed, and may have reached the disk all the same
        self._tried: int | None = None  # that commit's cursor
        self._ledger: Ledger | None = None
        self._con: duckdb.DuckDBPyConnection | None
        self._con, self.set_aside = opening.open_or_set_aside(file, memory, self._load)

    def ledger(self) -> Ledger | None:
        """What was last committed; None for a store that has never been written, or was set aside."""
        if self._doubt:
            with self._writing():
                pass
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
        with self._writing() as con:
            ids = self._ids(series)
            asked = np.flatnonzero(ids >= 0)
            if len(asked):
                found = _found(con, asked, ids[asked], time[asked])
                there[found["row"]] = True
                value[found["row"]] = found["value"]
        return there, value

    def lasts(self) -> tuple[I32, I64, F64]:
        """Of every series its newest time and the value there: (series, epoch ns, value)."""
        with self._writing() as con:
            parts = list(self._lasts(con))
        ids, time, value = (np.concatenate(column) for column in zip(*parts, strict=True))
        known = np.flatnonzero(self._map >= 0)
        order = known[np.argsort(self._map[known])]
        return order[np.searchsorted(self._map[order], ids)].astype(np.int32), time, value

    def points(
        self, key: SeriesKey, start: int, end: int, step: int | None, agg: Aggregate, limit: int
    ) -> list[tuple[int, float]]:
        """One series, start <= t < end (epoch ns), raw or one point per non-empty bucket; see Store."""
        number = self._table.find(key)
        series = -1 if number is None or number >= len(self._map) else int(self._map[number])
        if series < 0:
            return []
        with self._reading() as con:
            if step is None:
                found = con.execute(tables.RAW, [series, start, end, limit]).fetchnumpy()
                return list(zip(found["time"].tolist(), found["value"].tolist(), strict=True))
            asked = {"series": series, "start": start, "end": end, "step": step, "limit": limit}
            found = con.execute(tables.BUCKETS[agg], asked).fetchnumpy()
            return list(zip(found["time"].tolist(), found["value"].tolist(), strict=True))

    def rejects(self, limit: int, before: int | None = None) -> list[Reject]:
        """The newest rejects first; `before` is the offset of the last one seen, for paging."""
        asked = [2**63 - 1 if before is None else before, limit]
        with self._reading() as con:
            rows = con.execute(tables.REJECTS, asked)
            return [Reject(*row) for row in rows.fetchall()]

    def snapshot(self, folder: Path) -> None:
        """A copy of all that is committed, into the empty `folder`: the file and its write-ahead log."""
        wal = self._file.with_name(self._file.name + ".wal")
        with self._writing():  # nobody commits, so nobody checkpoints either
            copy2(self._file, folder)
            if wal.exists():
                copy2(wal, folder)

    def close(self) -> None:
        """Release the file. Nothing committed is lost by not calling it."""
        with self._writer:
            self._shut()

    def _load(self, con: duckdb.DuckDBPyConnection) -> None:
        ids, numbers = series_numbers(con, self._table)
        self._next = int(ids.max(initial=-1)) + 1
        self._map: I32 = np.full(len(self._table), -1, np.int32)  # this process's numbers -> the store's ids
        self._map[numbers] = ids
        ledgers = con.execute(tables.LEDGER).fetchall()
        self._ledger = _ledger(ledgers[0]) if ledgers else None
        self._rejects: int = scalar(con, "select count(*) from rejects")

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
            if len(new):
                con.execute("insert into readings select * from rows")
            kept = self._refuse(con, rejects) if rejects else self._rejects
            self._put(con, ledger)
            con.commit()
        self._rejects = kept
        self._next += len(fresh)

    def _refuse(self, con: duckdb.DuckDBPyConnection, rejects: list[Reject]) -> int:
        con.execute("insert into rejects select * from refused")
        count = self._rejects + len(rejects)
        if count <= PRUNED_AT:
            return count
        con.execute(tables.PRUNE, [KEPT_REJECTS])
        return KEPT_REJECTS

    def _put(self, con: duckdb.DuckDBPyConnection, ledger: Ledger) -> None:
        row = [getattr(ledger, name) for name in COUNTS]
        con.execute(tables.FIRST_LEDGER if self._ledger is None else tables.NEXT_LEDGER, row)

    def _lasts(self, con: duckdb.DuckDBPyConnection) -> Iterator[tuple[I32, I64, F64]]:
        missing = self._map[self._map >= 0]
        yield np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float64)
        newest = scalar(con, "select max(time) from readings")
        if newest is None:
            return
        until = newest + 1
        for since in [*(newest - span for span in _LOOK_BACK), -(2**63)]:
            if not len(missing):
                return
            with named(con, "missing", {"series": missing}):
                found = con.execute(tables.LASTS, [since, until]).fetchnumpy()
            yield found["series"], found["time"], found["value"]
            missing, until = np.setdiff1d(missing, found["series"]), since

    @contextmanager
    def _writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._writer:
            try:
                con = self._whole()
                if self._doubt:
                    self._load(con)
                    self._doubt = False
                yield con
            except duckdb.Error as error:
                self._roll_back()
                raise self._failed(error, suspicious=True) from error
            except BaseException:
                self._roll_back()
                raise

    @contextmanager
    def _reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        try:
            cursor = self._borrow()
            try:
                yield cursor
            finally:
                cursor.close()
                with self._turn:
                    self._readers -= 1
                    self._turn.notify_all()
        except duckdb.Error as error:
            raise self._failed(error, suspicious=False) from error

    def _borrow(self) -> duckdb.DuckDBPyConnection:
        with self._turn:
            if self._con is None:
                raise self._closed()
            cursor = self._con.cursor()
            self._readers += 1
            return cursor

    def _closed(self) -> StoreError:
        return StoreError(f"{self._file} is closed, or just being opened anew", permanent=False)

    def _roll_back(self) -> None:
        if self._con is not None:
            with suppress(duckdb.Error):  # there may be no transaction, or no DuckDB, left
                self._con.rollback()

    def _failed(self, error: duckdb.Error, *, suspicious: bool) -> StoreError:
        if isinstance(error, duckdb.FatalException | duckdb.InternalException):
            self._broken = True
        bad = opening.is_bad(error)
        if bad and suspicious:
            with suppress(OSError):
                opening.suspect(self._file).touch()
        return StoreError(f"{self._file}: {str(error).splitlines()[0]}", permanent=bad)

    def _whole(self) -> duckdb.DuckDBPyConnection:
        if self._broken:
            self._reopen()
        if self._con is None:
            raise self._closed()
        return self._con

    def _reopen(self) -> None:
        self._shut()
        try:
            con = opening.connect(self._file, self._memory)
        except Problems as problems:
            raise StoreError(str(problems), permanent=False) from problems
        with self._turn:
            self._con, self._broken = con, False

    def _shut(self) -> None:
        """Close once the last query is through: DuckDB forgets a broken file only when nobody holds it."""
        with self._turn:
            con, self._con = self._con, None
            self._turn.wait_for(lambda: self._readers == 0, timeout=30)
        if con is not None:
            con.close()


def _ledger(row: tuple[Any, ...]) -> Ledger:
    return Ledger(**dict(zip(COUNTS, row, strict=True)))


def _found(con: duckdb.DuckDBPyConnection, rows: I64, ids: I32, time: I64) -> dict[str, Any]:
    bounds = [int(ids.min()), int(ids.max()), int(time.min()), int(time.max())]
    with named(con, "asked", {"row": rows, "series": ids, "time": time}):
        return con.execute(tables.FIND, bounds).fetchnumpy()
