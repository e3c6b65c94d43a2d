"""A copy of the store while it runs: closed days as hard links, the main file and its log byte for byte.

Byte for byte, because the next backup then finds in it what it has sent already.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from collector.store.duckdb.layout import Layout
from collector.store.duckdb.parts import Shelf, folder_of, sync


def copy(shelf: Shelf, layout: Layout, main: Path, folder: Path) -> None:
    """Into the empty folder. Meanwhile nobody may commit: so nobody checkpoints either."""
    target = folder / main.name
    parts = folder_of(target)
    parts.mkdir()
    for part in layout.parts.values():
        _link(shelf.path(part), parts / part.file)
    for file in (main, main.with_name(main.name + ".wal")):
        if file.exists():
            shutil.copyfile(file, folder / file.name)
            sync(folder / file.name)
    if layout.parts:
        sync(parts / next(iter(layout.parts.values())).file)


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(file, target)
        sync(target)
