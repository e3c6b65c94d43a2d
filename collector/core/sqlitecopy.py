"""A copy of an SQLite file of one moment, while others read and write it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

_PATIENCE_S = 30.0


def copy_database(source: Path, target: Path) -> None:
    """Copy all that is committed into a new file, for its owner alone, with no log beside it.

    Raises OSError, sqlite3.Error.
    """
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", _PATIENCE_S, uri=True)) as there,
        closing(sqlite3.connect(target)) as here,
    ):
        there.backup(here)
        here.execute("pragma journal_mode = delete")  # else whoever opens it makes files beside it
