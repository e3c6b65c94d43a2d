"""One SQLite file: a writer behind a lock, a reader for each thread, other processes welcome."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from collector.state.schema import migrate
from devices.problems import Faults

_PATIENCE_S = 10.0  # how long a write waits for another process's


class _Connection(sqlite3.Connection):
    """Weakly referable, so that a thread that ends takes its connection along."""


class Database:
    """Opens (makes, migrates) the file; raises Problems. What `write` left without error survives SIGKILL."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock = threading.RLock()
        self._local = threading.local()
        self._open: weakref.WeakSet[_Connection] = weakref.WeakSet()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))  # it holds who may do what
            self._writer = self._connect()
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
        """Release the file; no other thread may be using it."""
        with self._lock:
            for con in list(self._open):
                con.close()

    def _connect(self) -> _Connection:
        con = sqlite3.connect(
            self.file, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False, factory=_Connection
        )
        con.row_factory = sqlite3.Row
        con.execute("pragma journal_mode = wal")
        con.execute("pragma synchronous = full")
        con.execute("pragma foreign_keys = on")
        self._open.add(con)
        return con
