"""One SQLite file: a writer behind a lock, a reader for each thread, other processes welcome."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from collector.state.errors import StateError
from collector.state.schema import migrate
from devices.problems import Faults

_log = logging.getLogger(__name__)
_PATIENCE_S = 10.0  # how long a write waits for another process's


class _StateConnection(sqlite3.Connection):
    """Weakly referable, so that a thread that ends takes its connection along."""


class StateFile:
    """Opens (makes, migrates) the file; raises Problems. What `write` left without error survives SIGKILL.

    `fresh`: there was nothing in it. `damage`: what was found wrong with it, in a sentence, or nothing.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.damage = ""
        self._looking = threading.Lock()
        self._lock = threading.RLock()
        self._local = threading.local()
        self._open: weakref.WeakSet[_StateConnection] = weakref.WeakSet()
        try:
            file.parent.mkdir(0o700, parents=True, exist_ok=True)
            os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))  # it holds who may do what
            self._writer = self._connect()
            self.fresh = self._writer.execute("pragma user_version").fetchone()[0] == 0
            migrate(self._writer, file)
        except (OSError, sqlite3.Error) as error:
            mend = "mend the disk or its rights, or choose another data.dir"
            raise Faults.one(str(file), f"cannot be opened ({error})", mend) from error

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is durable when the block is left, none of it when it raises."""
        with self._lock:
            self._writer.execute("begin immediate")
            try:
                yield self._writer
                self._writer.execute("commit")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("rollback")
                raise

    def read(self) -> sqlite3.Connection:
        """This thread's own connection, for queries only."""
        con: sqlite3.Connection | None = getattr(self._local, "con", None)
        if con is None:
            con = self._connect()
            con.execute("pragma query_only = on")
            self._local.con = con
        return con

    def close(self) -> None:
        """Release the file; no other thread may be using it, but for `check`, which is broken off."""
        while not self._looking.acquire(timeout=0.02):
            for con in list(self._open):
                con.interrupt()
        self._looking.release()
        with self._lock:
            for con in list(self._open):
                con.close()

    def told(self, error: sqlite3.Error) -> StateError:
        """What to raise instead of it. That the file is damaged is said once."""
        found = StateError.of(error)
        if found.damaged:
            self._damaged(str(error))
        return found

    def check(self) -> str:
        """Look through the whole file, as long as that takes; what is wrong with it, or nothing."""
        try:
            with self._looking:
                [found] = self.read().execute("pragma quick_check(1)").fetchone()
            if found != "ok":
                self._damaged(found)
        except sqlite3.OperationalError as error:
            _log.info("state.db could not be looked through: %s", error)
        except sqlite3.DatabaseError as error:
            if not self.told(error).damaged:
                raise
        return self.damage

    def _damaged(self, what: str) -> None:
        if not self.damage:
            self.damage = f"{self.file} is damaged ({' '.join(what.split())})"
            _log.critical("%s; put it back from a backup: docs/backup.md", self.damage)

    def _connect(self) -> _StateConnection:
        con = sqlite3.connect(
            self.file,
            timeout=_PATIENCE_S,
            isolation_level=None,
            check_same_thread=False,
            factory=_StateConnection,
        )
        con.row_factory = sqlite3.Row
        con.execute("pragma journal_mode = wal")
        con.execute("pragma synchronous = full")
        con.execute("pragma foreign_keys = on")
        self._open.add(con)
        return con
