"""The journal's segment files: opened, numbered, read back, dropped when they are too old."""

from __future__ import annotations

import logging
import os
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from collector.core.records import Batch
from collector.ingest.segment import HEADER_SIZE, RECORD_SIZE, Header, Scan, scan

log = logging.getLogger(__name__)
CHUNK = 4 << 20


@dataclass(slots=True)
class Segment:
    """One file. `size` counts its durable bytes; without a readable header its records are lost."""

    path: Path
    base: int
    size: int
    header: Header | None

    @property
    def end(self) -> int:
        """The offset just after it: the base of the next one."""
        return self.base + self.size


@dataclass(slots=True)
class Damage:
    """Bytes of a segment that held no whole record, found while reading."""

    path: Path
    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.path}: bytes {self.start} to {self.end} are damaged and were skipped"


def name(base: int) -> str:
    """A segment's file name, so that names sort as offsets do."""
    return f"{base:020d}.seg"


def sync_dir(folder: Path) -> None:
    """Make a folder's entries durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Write all of it, however little the disk takes at a time. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Files:
    """All segments of a journal, oldest first. Not thread-safe by itself; the journal guards it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.segments: list[Segment] = []
        self.damage: list[Damage] = []
        self.stamp = 0  # of the last whole record
        self.messages = 0  # ever journaled
        self._at_least = 0

    def open(self, at_least: int = 0) -> None:
        """Find the segments, and in the last one the end of what is whole; what is torn behind is cut off.

        The next segment begins no earlier than `at_least`. Raises VersionError where a newer version wrote.
        """
        self._at_least = at_least
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(self.folder.glob("*.seg")):
            with path.open("rb") as file:
                header = Header.read(file.read(HEADER_SIZE))
            segment = Segment(path, int(path.stem), path.stat().st_size, header)
            if header is None:
                self._note(Damage(path, 0, segment.size))
            self.segments.append(segment)
        for segment in reversed(self.segments):
            if self._survey(segment):
                break

    def _survey(self, segment: Segment) -> bool:
        """Learn the last stamp and the message count from the newest segment that can be read."""
        if segment.header is None:
            return False
        self.stamp, self.messages = segment.header.stamp, segment.header.messages
        end = position = min(HEADER_SIZE, segment.size)
        while position < segment.size:
            found, position = self._scan(segment, position, segment.size)
            if found.ordinal is not None:
                self.stamp, self.messages = found.stamps[-1], segment.header.messages + found.ordinal
                end = found.end
        if segment is self.segments[-1] and end < segment.size:
            self._note(Damage(segment.path, end, segment.size))
            os.truncate(segment.path, end)
            segment.size = end
        return True

    @property
    def end(self) -> int:
        """The offset at which the next segment begins."""
        return max(self._at_least, self.segments[-1].end if self.segments else 0)

    def begin(self) -> tuple[Segment, int]:
        """Begin a new segment at the end; gives it and its open file descriptor, header durable."""
        if self.segments and self.segments[-1].size <= HEADER_SIZE:
            self.segments[-1].path.unlink()
            self.segments = self.segments[:-1]
        header = Header.new(self.end, self.messages, self.stamp)
        path = self.folder / name(self.end)
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            write_all(fd, header.write())
            os.fsync(fd)
            sync_dir(self.folder)
        except OSError:
            os.close(fd)
            path.unlink()
            raise
        self.segments = [*self.segments, Segment(path, header.base, HEADER_SIZE, header)]
        return self.segments[-1], fd

    def drop_oldest(self) -> Segment:
        """Delete the oldest segment."""
        oldest, *self.segments = self.segments
        oldest.path.unlink(missing_ok=True)
        return oldest

    def _messages(self, later: list[Segment]) -> int:
        """Messages ever journaled before these segments, by the first of them that knows."""
        return next((segment.header.messages for segment in later if segment.header), self.messages)

    def read(self, cursor: int, until: int, limit: int = CHUNK) -> Batch:
        """The records from `cursor` on, up to about `limit` bytes and at most `until` (a record's edge).

        Never empty-handed unless there is nothing: skips to where there is something to read.
        """
        segments = self.segments  # the writer replaces the list, it does not change it
        index = bisect_right([segment.base for segment in segments], cursor) - 1
        if index < 0:
            return self._nothing(cursor, min(segments[0].base, until), segments)
        segment, later = segments[index], segments[index + 1 :]
        stop = min(until - segment.base, segment.size)
        position = max(cursor - segment.base, HEADER_SIZE)
        if segment.header is None or position >= stop:
            end = until if not later or until < segment.end else later[0].base
            return self._nothing(cursor, end, later)
        found, reached = self._scan(segment, position, stop, limit)
        messages = segment.header.messages + (found.ordinal or 0) if found.ordinal is not None else None
        if reached >= stop and later and stop == segment.size:
            reached, messages = later[0].base - segment.base, self._messages(later)
        return _batch(found, cursor, segment, reached, messages)

    def _nothing(self, cursor: int, end: int, later: list[Segment]) -> Batch:
        """What is lost up to `end`; how many messages that were is known where a later segment begins."""
        known = not later or end >= later[0].base
        return Batch.empty(cursor, end, self._messages(later) if known else -1)

    def _scan(self, segment: Segment, position: int, stop: int, limit: int = CHUNK) -> tuple[Scan, int]:
        """What lies at `position`, and the position after it: always further on."""
        assert segment.header is not None
        with segment.path.open("rb") as file:
            while True:
                file.seek(position)
                data = file.read(min(limit, stop - position))
                final = position + len(data) >= stop or not data
                found = scan(data, position, segment.header.salt, final=final)
                if found.end > position or final:
                    break
                limit *= 2
        for start, end in found.damaged:
            self._note(Damage(segment.path, start, end))
        return found, stop if final else found.end

    def _note(self, damage: Damage) -> None:
        if damage not in self.damage:
            self.damage.append(damage)
            log.error("journal: %s", damage)


def _batch(found: Scan, cursor: int, segment: Segment, reached: int, messages: int | None) -> Batch:
    size = sum(map(len, found.payloads)) + len(found.kinds) * RECORD_SIZE
    return Batch(
        cursor,
        segment.base + reached,
        found.kinds,
        found.flags,
        found.topics,
        found.payloads,
        np.array(found.stamps, np.int64),
        np.array(found.at, np.int64) + segment.base,
        messages if messages is not None else -1,
        size,
    )
