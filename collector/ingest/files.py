"""The log as files: segments, opened, numbered, written, read back, dropped when they are too old."""

from __future__ import annotations

import logging
import os
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from collector.core.config import JournalSettings as Caps
from collector.core.records import Batch
from collector.ingest.descriptors import Descriptors
from collector.ingest.log import CHUNK, CROWDED, RecordColumns, Retention
from collector.ingest.segment import HEADER_SIZE, RECORD_SIZE, Header, Scan, encode, scan

log = logging.getLogger(__name__)
MOST_SAID = 100
"""So many damages are kept to be shown; the log tells of all."""


@dataclass(slots=True, eq=False)
class SegmentFile:
    """One file. `size` counts its durable bytes; without a readable header its records are lost."""

    path: Path
    base: int
    size: int
    header: Header | None
    gone: bool = False  # removed by somebody else

    @property
    def end(self) -> int:
        """The offset just after it: the base of the next one."""
        return self.base + self.size


def segment_files(folder: Path) -> list[Path]:
    """The segments of a folder, oldest first."""
    return sorted(folder.glob("*.seg"))


def base_of(path: Path) -> int:
    """Where the segment begins: its name."""
    return int(path.stem)


def write_all(fd: int, data: bytes) -> None:
    """Write all of it, however little the disk takes at a time. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class FileLog:
    """A `Log` over a folder. An offset is the record's byte, counted over all segments there ever were."""

    def __init__(self, folder: Path, caps: Caps, *, fsync: Callable[[int], None] = os.fdatasync) -> None:
        self.folder = folder
        self._caps = caps
        self._fsync = fsync
        self._descriptors = Descriptors()
        self._segments: list[SegmentFile] = []  # the writer replaces it, readers keep the one they have
        self._fd = -1
        self._ordinal = 0  # messages in the segment that is written
        self._before = 0  # messages before that segment
        self._closed = True  # a segment, since it was last looked whether one can be dropped
        self.damage: list[str] = []
        self.end = self.stamp = self.messages = 0

    def open(self, at_least: int = 0, messages: int = 0) -> None:
        """Find the segments; what is torn at the end of the last one is cut off; begin a new one.

        It begins no earlier than `at_least`. Raises OSError; VersionError where a newer version wrote.
        """
        self.folder.mkdir(0o700, parents=True, exist_ok=True)
        torn = self.look()
        if torn is not None:
            os.truncate(torn.path, torn.size)
        if self.end < at_least:
            self._note(f"{self.folder}: the newest records are missing, {at_least - self.end} bytes or more")
        self.end, self.messages = max(self.end, at_least), max(self.messages, messages)
        self._begin()

    def look(self) -> SegmentFile | None:
        """Find the segments, for reading alone; the last one if it is torn at its end. Raises as `open`."""
        self._descriptors.hold(self.folder)
        self._segments = [self._found(path) for path in segment_files(self.folder)]
        for one, following in pairwise(self._segments):
            if one.end < following.base:
                lost = f"{following.base - one.end} bytes between {one.path.name} and {following.path.name}"
                self._note(f"{self.folder}: {lost} are missing")
        for segment in reversed(self._segments):
            if segment.header is not None:
                return self._survey(segment, segment.header)
        self.end = self._behind_all()
        return None

    def _behind_all(self) -> int:
        last = self._segments[-1] if self._segments else None
        return 0 if last is None else last.base if last.size <= HEADER_SIZE else last.end

    def _found(self, path: Path) -> SegmentFile:
        with self._descriptors.reading(path) as file:
            data, size = file.read(HEADER_SIZE), os.fstat(file.fileno()).st_size
        copies = Header.copies(data)
        header = next(filter(None, copies), None)
        if header is None:
            self._note_bytes(path, 0, size)
        elif None in copies and size >= HEADER_SIZE:
            self._note(f"{path}: one of its two headers is damaged; the other serves")
        return SegmentFile(path, base_of(path), size, header)

    def _survey(self, segment: SegmentFile, header: Header) -> SegmentFile | None:
        """Learn the last stamp and the message count from the newest segment that can be read."""
        self.stamp, self.messages = header.stamp, header.messages
        last = segment is self._segments[-1]
        whole = position = min(HEADER_SIZE, segment.size)
        while position < segment.size:
            found, position = self._scan(segment, header, position, segment.size)
            if found.ordinal is not None:
                self.stamp, self.messages = found.stamps[-1], header.messages + found.ordinal
                whole = found.end
        torn = last and whole < segment.size
        if torn:
            self._note_bytes(segment.path, whole, segment.size)
            segment.size = whole
        self.end, self._before = self._behind_all(), self.messages
        return segment if torn else None

    def write(self, columns: RecordColumns) -> Batch:
        """See `Log`. One write and one fsync."""
        segment = self._segments[-1]
        if segment.size >= self._caps.segment_bytes or segment.gone:
            segment = self._begin()
        assert segment.header is not None
        data, begins, ordinal = encode(segment.header.salt, columns, self._ordinal)
        try:
            write_all(self._fd, data)
            self._fsync(self._fd)
        except OSError:
            self._undo(segment)
            raise
        begins += segment.end
        start, segment.size, self._ordinal = self.end, segment.size + len(data), ordinal
        self.end, self.stamp = segment.end, int(columns.stamps[-1])
        self.messages = segment.header.messages + ordinal
        return Batch(start, self.end, *columns, begins, self.messages, size=2 * len(data))

    def _undo(self, segment: SegmentFile) -> None:
        """Nothing stays of a write that failed. Raises OSError where that fails too."""
        os.ftruncate(self._fd, segment.size)
        os.lseek(self._fd, segment.size, os.SEEK_SET)

    def _begin(self) -> SegmentFile:
        """Begin a new segment at the end, header durable."""
        if self._fd < 0 and self._segments and self._segments[-1].size <= HEADER_SIZE:
            self._segments[-1].path.unlink()  # of an earlier start, without a record
            self._segments = self._segments[:-1]
        header = Header.new(self.end, self.messages, self.stamp)
        path = self.folder / f"{self.end:020d}.seg"
        fd = self._descriptors.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        try:
            write_all(fd, header.write())
            os.fsync(fd)
            self._descriptors.sync()
        except OSError:
            self._descriptors.close(fd)
            path.unlink()
            raise
        if self._fd >= 0:
            self._descriptors.close(self._fd)
        self._fd, self._ordinal, self._before, self._closed = fd, 0, self.messages, True
        self._segments = [*self._segments, SegmentFile(path, header.base, HEADER_SIZE, header)]
        return self._segments[-1]

    def trim(self, retention: Retention) -> int:
        """Drop the oldest segments past the caps: never what alarming needs, nor, by age, the unread."""
        if not self._closed:
            return 0
        try:
            needed, read = retention.needed(), retention.read()
        except OSError as error:
            if error.errno in CROWDED:
                return 0  # who needs what cannot be looked up now: it is dropped later
            raise
        self._closed, lost = False, 0
        while len(self._segments) > 2:
            oldest, second = self._segments[:2]
            if needed is None or needed < oldest.end:
                break
            age = self.stamp - second.header.stamp if second.header else 0
            unread = read is None or read < oldest.end
            if self.size <= self._caps.max_bytes and (unread or age <= self._caps.max_age * 1e9):
                break
            self._segments = self._segments[1:]
            oldest.path.unlink(missing_ok=True)
            lost += unread
            if unread:
                log.critical("journal: %s dropped at the size cap before it was stored", oldest.path.name)
        return lost

    def close(self) -> None:
        """See `Log`. Its files may still be read."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._descriptors.release()

    @property
    def first(self) -> int:
        """See `Log`."""
        return self._segments[0].base if self._segments else self.end

    @property
    def size(self) -> int:
        """See `Log`."""
        return sum(segment.size for segment in self._segments)

    def durable_files(self) -> list[tuple[Path, int]]:
        """See `Log`."""
        return [(segment.path, segment.size) for segment in self._segments]

    def read(self, cursor: int, stop: int) -> Batch:
        """See `Log`."""
        segments = self._segments
        index = bisect_right([segment.base for segment in segments], cursor) - 1
        if index < 0:
            return self._nothing(cursor, min(segments[0].base, stop), segments)
        segment, later = segments[index], segments[index + 1 :]
        until = min(stop - segment.base, segment.size)
        position = max(cursor - segment.base, HEADER_SIZE)
        if segment.header is None or segment.gone or position >= until:
            end = stop if not later or stop < segment.end else later[0].base
            return self._nothing(cursor, end, later)
        try:
            found, reached = self._scan(segment, segment.header, position, until)
        except FileNotFoundError:
            if segment in self._segments:  # else it was dropped at this moment
                self._note(f"{segment.path}: the file is gone")
                segment.gone = True
            return self.read(cursor, stop)
        messages = segment.header.messages + found.ordinal if found.ordinal is not None else -1
        if reached >= until and later and until == segment.size:
            reached, messages = later[0].base - segment.base, self._messages(later)
        return _batch(found, cursor, segment, reached, messages)

    def _messages(self, later: list[SegmentFile]) -> int:
        """Messages written before these segments, by the first of them that knows."""
        return next((segment.header.messages for segment in later if segment.header), self._before)

    def _nothing(self, cursor: int, end: int, later: list[SegmentFile]) -> Batch:
        """What is lost up to `end`; how many messages that were is known where a later segment begins."""
        known = not later or end >= later[0].base
        return Batch.empty(cursor, end, self._messages(later) if known else -1)

    def _scan(self, segment: SegmentFile, header: Header, position: int, stop: int) -> tuple[Scan, int]:
        """What lies at `position`, and the position after it: always further on."""
        limit = CHUNK
        with self._descriptors.reading(segment.path) as file:
            while True:
                file.seek(position)
                wanted = min(limit, stop - position)
                data = file.read(wanted)
                final = position + wanted >= stop or len(data) < wanted
                found = scan(data, position, header.salt, final=final)
                if found.end > position or final:
                    break
                limit *= 2
        if len(data) < wanted:
            found.damaged.append((position + len(data), stop))
        for start, end in found.damaged:
            self._note_bytes(segment.path, start, end)
        return found, stop if final else found.end

    def _note_bytes(self, path: Path, start: int, end: int) -> None:
        self._note(f"{path}: bytes {start} to {end} are damaged and were skipped")

    def _note(self, what: str) -> None:
        if what not in self.damage:
            log.error("journal: %s", what)
            self.damage = [*self.damage, what][-MOST_SAID:]


def _batch(found: Scan, cursor: int, segment: SegmentFile, reached: int, messages: int) -> Batch:
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
        messages,
        size,
    )
