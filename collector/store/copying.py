"""A copy of the store while it runs: closed days as hard links, the main file as one transaction sees it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import duckdb

from collector.store.parts import Shelf, folder_of, sync
from collector.store.view import View


def copy(con: duckdb.DuckDBPyConnection, shelf: Shelf, view: View, main: Path, folder: Path) -> None:
    """Into the empty folder; `con` is in a transaction that sees what `view` says."""
    target = folder / main.name
    parts = folder_of(target)
    parts.mkdir()
    for part in view.parts.values():
        _link(shelf.path(part), parts / part.file)
    with shelf.other(target, "copied"):
        source = con.execute("select current_database()").fetchall()[0][0]
        con.execute(f'copy from database "{source}" to copied')
        con.commit()
    sync(target)
    if view.parts:
        sync(parts / next(iter(view.parts.values())).file)


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(file, target)
        sync(target)
