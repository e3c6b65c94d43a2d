"""What a collector keeps itself when its readings are on a server: one small SQLite file.

Ledger, rejects, the series' names, and the commits that the server has not yet surely kept.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import cast

import numpy as np

from collector.core.bundle import BundleError, pack, unpack
from collector.core.readings import I32, SeriesKey, SeriesTable, grown
from collector.core.sqlitecopy import copy_database
from collector.store.base import KEPT_REJECTS, PRUNED_AT, Ledger, Reject, StoreError, plain
from collector.store.server.sent import Sent
from devices.problems import Problem, Problems

log = logging.getLogger(__name__)
SCHEMA = 1
_FORM = "nagari-sent-1"
_COLUMNS = ("series", "time", "value", "quality", "message")
_CREATE = """
begin;
create table meta (version integer not null, incarnation text not null, newest integer);
insert into meta values (1, '', null);
create table series (id integer primary key, site text not null, device text not null,
                     metric text not null);
create table rejects ("offset" integer not null, received integer not null, topic text not null,
                      reason text not null, head blob not null, size integer not null);
create index rejects_by_offset on rejects ("offset");
create table ledger (one integer primary key, cursor integer not null, messages integer not null,
                     stored integer not null, duplicate integer not null, quarantined integer not null,
                     dropped integer not null, "values" integer not null, conflicts integer not null,
                     qos0 integer not null);
create table sent (seq integer primary key autoincrement, rows blob not null);
commit;
"""
_PUT_LEDGER = "insert or replace into ledger values (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PRUNE = """
delete from rejects where "offset" <
    (select min("offset") from (select "offset" from rejects order by "offset" desc limit ?))
"""


class Accounts:
    """The file, opened (made) at once. One writer; `rejects` and the names may be read in other threads.

    Raises Problems if the file cannot be had; a damaged one is set aside, `set_aside` says so, and what it
    knew comes again from the journal. Later every method raises StoreError when SQLite does not do its part.
    """

    def __init__(self, file: Path, table: SeriesTable) -> None:
        self._file, self._table = file, table
        self._lock = threading.RLock()
        self.set_aside: list[str] = []
        self._id_of: I32 = np.empty(0, np.int32)
        self._number_of: I32 = np.empty(0, np.int32)
        try:
            self._con = self._open()
        except sqlite3.OperationalError as error:
            raise Problems.one(
                str(file), f"cannot be opened ({error})", "mend the disk or its rights"
            ) from None
        except sqlite3.DatabaseError as error:
            self._put_aside(error)
            try:
                self._con = self._open()
            except sqlite3.Error as again:
                raise Problems.one(
                    str(file), f"a fresh one cannot be begun ({again})", "mend the disk"
                ) from None

    def snapshot(self, folder: Path) -> None:
        """A copy of the file, of one moment, into `folder`."""
        with self._guarded():
            copy_database(self._file, folder / self._file.name)

    def ledger(self) -> Ledger | None:
        """What was last committed."""
        with self._guarded() as con:
            row = con.execute("select * from ledger").fetchone()
        return None if row is None else Ledger(*row[1:])

    def waiting(self) -> list[int]:
        """The commits that are still kept, oldest first."""
        with self._guarded() as con:
            return [seq for (seq,) in con.execute("select seq from sent order by seq")]

    def begin(self, sent: Sent | None, rejects: list[Reject], ledger: Ledger, kept_to: int) -> int:
        """Note a commit before it goes out; forget those up to `kept_to`. Gives its number, 0 for no rows."""
        with self._writing() as con:
            con.execute("delete from sent where seq <= ?", [kept_to])
            seq = self._note(con, sent) if sent is not None else 0
            self._refuse(con, rejects)
            con.execute(_PUT_LEDGER, astuple(ledger))
        return seq

    def sent(self, seq: int) -> Sent:
        """The rows of a commit."""
        with self._guarded() as con:
            (data,) = con.execute("select rows from sent where seq = ?", [seq]).fetchone()
        try:
            _, columns = unpack(_FORM, zlib.decompress(data))
            return Sent(**{name: columns[name] for name in _COLUMNS})
        except (BundleError, KeyError, zlib.error) as error:
            raise StoreError(f"{self._file}: a commit is damaged ({error})", permanent=True) from None

    def amend(self, seq: int, sent: Sent, rejects: list[Reject], ledger: Ledger) -> None:
        """The server refused some rows of a commit for good: these are left, and so the ledger stands."""
        with self._writing() as con:
            con.execute("update sent set rows = ? where seq = ?", [_packed(sent), seq])
            self._refuse(con, rejects)
            con.execute(_PUT_LEDGER, astuple(ledger))

    @property
    def incarnation(self) -> str:
        """Which run of the server has all the commits that are kept; "" for none."""
        with self._guarded() as con:
            return str(con.execute("select incarnation from meta").fetchone()[0])

    @incarnation.setter
    def incarnation(self, name: str) -> None:
        with self._writing() as con:
            con.execute("update meta set incarnation = ?", [name])

    def newest(self) -> int | None:
        """The newest time that was ever committed, epoch ns."""
        with self._guarded() as con:
            return cast(int | None, con.execute("select newest from meta").fetchone()[0])

    def rejects(self, limit: int, before: int | None = None) -> list[Reject]:
        """The newest first, from before an offset on."""
        asked = [2**63 - 1 if before is None else before, limit]
        with self._guarded() as con:
            rows = con.execute(
                'select * from rejects where "offset" < ? order by "offset" desc limit ?', asked
            )
            return [Reject(*row) for row in rows]

    def ids(self, numbers: I32) -> I32:
        """The file's numbers of series; -1 for those that were never committed."""
        self._id_of = cast(I32, grown(self._id_of, len(self._table), -1))
        return self._id_of[numbers]

    def number(self, series: int) -> int:
        """This process's number of one of the file's series."""
        return int(self._number_of[series])

    def known(self) -> I32:
        """This process's numbers of all series that were ever committed."""
        return self._number_of[: self._next].copy()

    def learn(self, numbers: I32) -> None:
        """Give ids to those series that have none, durably."""
        fresh = np.unique(numbers[self.ids(numbers) < 0])
        if not len(fresh):
            return
        ids = self._next + np.arange(len(fresh))
        with self._writing() as con:
            rows = zip(ids.tolist(), *self._table.names_of(fresh), strict=True)
            con.executemany("insert into series values (?, ?, ?, ?)", rows)
        self._join(fresh, ids.astype(np.int32))

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._con.close()

    def _open(self) -> sqlite3.Connection:
        con = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False)
        try:
            con.execute("pragma journal_mode = wal")
            con.execute("pragma synchronous = full")
            if not con.execute("select count(*) from sqlite_master").fetchone()[0]:
                con.executescript(_CREATE)
            self._check(con)
            self._load(con)
        except BaseException:
            con.close()
            raise
        return con

    def _check(self, con: sqlite3.Connection) -> None:
        (version,) = con.execute("select version from meta").fetchone() or (None,)
        if version is None:
            raise sqlite3.DatabaseError("it does not say what version it is")
        if version > SCHEMA:
            what = f"was written by a newer collector (schema {version}, this one knows {SCHEMA})"
            raise Problems.one(str(self._file), what, "install that version, or choose another data.dir")

    def _load(self, con: sqlite3.Connection) -> None:
        rows = con.execute("select site, device, metric from series order by id").fetchall()
        numbers = np.array([self._table.number(SeriesKey(*row)) for row in rows], np.int32)
        self._id_of = self._number_of = np.empty(0, np.int32)
        self._next = 0
        self._join(numbers, np.arange(len(numbers), dtype=np.int32))
        self._count = int(con.execute("select count(*) from rejects").fetchone()[0])

    def _join(self, numbers: I32, ids: I32) -> None:
        self._id_of = cast(I32, grown(self._id_of, len(self._table), -1))
        self._number_of = cast(I32, grown(self._number_of, self._next + len(ids), -1))
        self._id_of[numbers], self._number_of[ids] = ids, numbers
        self._next += len(ids)

    def _note(self, con: sqlite3.Connection, sent: Sent) -> int:
        seq = con.execute("insert into sent (rows) values (?)", [_packed(sent)]).lastrowid
        con.execute("update meta set newest = max(ifnull(newest, ?1), ?1)", [int(sent.time.max())])
        return int(seq or 0)

    def _refuse(self, con: sqlite3.Connection, rejects: list[Reject]) -> None:
        rows = [(r.offset, r.received, plain(r.topic), plain(r.reason), r.head, r.size) for r in rejects]
        con.executemany("insert into rejects values (?, ?, ?, ?, ?, ?)", rows)
        self._count += len(rows)
        if self._count > PRUNED_AT:
            con.execute(_PRUNE, [KEPT_REJECTS])
            self._count = KEPT_REJECTS

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._guarded() as con:
            con.execute("begin immediate")
            try:
                yield con
                con.execute("commit")
            except BaseException:
                if con.in_transaction:
                    con.execute("rollback")
                raise

    @contextmanager
    def _guarded(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._con
            except sqlite3.OperationalError as error:  # the disk is full, or fails: it may come right
                raise StoreError(f"{self._file}: {error}", permanent=False) from error
            except sqlite3.ProgrammingError as error:
                raise StoreError(f"{self._file} is closed", permanent=False) from error
            except sqlite3.Error as error:
                raise StoreError(f"{self._file}: {error}", permanent=True) from error

    def _put_aside(self, error: sqlite3.Error) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%S")
        for end in ("", "-wal", "-shm"):
            file = self._file.with_name(self._file.name + end)
            if file.exists():
                file.rename(file.with_name(f"{file.name}.bad-{stamp}"))
        mend = f"it was set aside as .bad-{stamp}, and the journal tells what it knew again"
        self.set_aside.append(str(Problem(str(self._file), f"is damaged ({error})", mend)))
        log.error(self.set_aside[-1])


def _packed(sent: Sent) -> bytes:
    return zlib.compress(pack(_FORM, {}, {name: getattr(sent, name) for name in _COLUMNS}), 1)
