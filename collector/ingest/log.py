"""The log below the journal: records in one order, durable, at positions that only the log understands.

Positions ("offsets", "cursors") are int64 from 0 on and rise from record to record. Nothing else holds: they
need not be dense, and they are no bytes. A record's end is the cursor of the next one.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from collector.core.readings import I64
from collector.core.records import Batch

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""The disk has no room."""
CROWDED = frozenset({errno.EMFILE, errno.ENFILE})
"""The process, or the machine, has no file descriptor left."""
CHUNK = 4 << 20
"""A laggard reads about so many bytes at once."""


class RecordColumns(NamedTuple):
    """Records to be written, in columns of equal length."""

    kinds: list[int]
    flags: list[int]
    topics: list[str]
    payloads: list[bytes]
    stamps: I64  # epoch ns, strictly rising


@dataclass(slots=True)
class Retention:
    """What the log must keep, told by those who need it. Offsets; None: nothing known yet, keep all."""

    needed: Callable[[], int | None] = lambda: None  # alarming's: never dropped
    read: Callable[[], int | None] = lambda: None  # storing's: dropped only at the size cap


class Log(Protocol):
    """One writer calls `open`, `write`, `trim`, `close`; the rest may be called by any thread meanwhile."""

    end: int  # the cursor behind the last durable record: the next one lies there or later
    stamp: int  # of the last durable record, epoch ns; 0: none
    messages: int  # ever written

    def open(self, at_least: int = 0, messages: int = 0) -> None:
        """Find what is there and make ready to write. Raises OSError, VersionError.

        No record will lie before `at_least`, nor will less than `messages` count as written ever: others have
        committed that, even where the records themselves are gone.
        """

    def write(self, columns: RecordColumns) -> Batch:
        """Append at least one record; durable on return. `start` of the batch is what `end` was before.

        Raises OSError. One of FULL or CROWDED passes: nothing of the records is kept, and they may be given
        again. After any other the log is not to be used any more.
        """

    def read(self, cursor: int, stop: int) -> Batch:
        """The next records from `cursor` on, some MiB at most, none at or after `stop` (a record's edge).

        Where they are lost, a batch without records that leads to where there are some again. Raises OSError.
        """

    def trim(self, retention: Retention) -> int:
        """Drop what is past the log's caps, oldest first; how many stretches of it were not yet read.

        Cheap where nothing can be dropped: it may be called before each write. Raises OSError.
        """

    def close(self) -> None:
        """Release what is open. What was written stays."""

    @property
    def first(self) -> int:
        """The cursor of the oldest record kept."""

    @property
    def size(self) -> int:
        """Bytes that it takes."""

    @property
    def damage(self) -> list[str]:
        """What was found damaged or missing, in sentences."""

    def durable_files(self) -> list[tuple[Path, int]]:
        """For the backup: its files and how many bytes of each are durable, oldest first; the last grows."""
