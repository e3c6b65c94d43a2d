"""A copy of the log's files while it is written: what the backup lays out, in two steps.

The closed files first, as links, so that none can be dropped meanwhile; at the end what came since.
"""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

from collector.ingest.files import base_of, segment_files

DurableFiles = list[tuple[Path, int]]
"""See `Log.durable_files`."""


def closed_files(folder: Path) -> DurableFiles:
    """The files of a log that nobody has open."""
    return [(path, path.stat().st_size) for path in segment_files(folder)]


def link_closed(files: DurableFiles, copy: Path) -> None:
    """Link all but the last, which may grow. Raises OSError."""
    for path, _ in files[:-1]:
        link(path, copy)


def finish(files: DurableFiles, copy: Path, floor: int) -> None:
    """Bring the copy up to the durable end; what lies before the offset `floor` goes. Raises OSError."""
    link_closed(files, copy)
    for path, size in files[-1:]:
        with path.open("rb") as source, (copy / path.name).open("xb") as target:
            left = size
            while left and (piece := source.read(min(left, 1 << 20))):
                target.write(piece)
                left -= len(piece)
    for file, following in pairwise(segment_files(copy)):
        if base_of(following) <= floor:
            file.unlink()


def link(file: Path, folder: Path) -> None:
    """Link a file that never changes any more. One that was dropped at this moment is not needed."""
    target = folder / file.name
    if not target.exists():
        try:
            os.link(file, target)
        except FileNotFoundError:
            return
