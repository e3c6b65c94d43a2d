"""A copy of state.db, for the backup, and what is done to a copy. Nobody has the copy open meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from collector.core.sqlitecopy import copy_database
from collector.state.errors import StateError

_COUNTED = ("alerts", "transitions", "audit", "tokens", "regions")


def copy_state(source: Path, target: Path) -> None:
    """Copy all that is committed, of one moment, into a new file. Raises OSError, StateError."""
    try:
        copy_database(source, target)
    except sqlite3.Error as error:
        raise StateError.of(error) from error


def end_token(copy: Path, token: int, now: int) -> None:
    """End a token in the copy. `now` in epoch ns. Raises StateError."""
    with _opened(copy) as con, con:
        con.execute("update tokens set revoked = ? where id = ?", [now, token])


def counts(copy: Path) -> dict[str, int]:
    """Rows by table. Raises StateError."""
    with _opened(copy) as con:
        there = {name for (name,) in con.execute("select name from sqlite_master where type = 'table'")}
        return {
            name: con.execute(f"select count(*) from {name}").fetchone()[0]  # noqa: S608 (our own names)
            for name in _COUNTED
            if name in there
        }


@contextmanager
def _opened(copy: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(copy)) as con:
            yield con
    except sqlite3.Error as error:
        raise StateError.of(error) from error
