"""The journal: every message and every decision's ground, appended and fsynced before it is acknowledged.

One thread writes. Whatever was handed over while it waited for the disk goes into the next write (group
commit). Followers read behind it: at the head they share the batches as they were written, further back they
read the files. A full disk stops messages, not the control records: for those a reserve is let go.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from collector.core.config import JournalSettings as Caps
from collector.core.records import Batch, RecordKind
from collector.ingest.files import Files, Segment, write_all
from collector.ingest.head import Head
from collector.ingest.pack import Pack, control_pack, gather, weight
from collector.ingest.reserve import Reserve
from collector.ingest.segment import encode

log = logging.getLogger(__name__)
FULL = {errno.ENOSPC, errno.EDQUOT}
RETRY = 0.5
"""Seconds between looks at a full disk."""
_OVERTAKING = object()


@dataclass(slots=True)
class Retention:
    """What the journal must keep, told by those who need it. Offsets; None: nothing known yet, keep all."""

    needed: Callable[[], int | None] = lambda: None  # alarming's: never dropped
    read: Callable[[], int | None] = lambda: None  # storing's: dropped only at the size cap


class Journal:
    """An append-only log of records. `append` and `control` may be called from any thread; the rest too."""

    def __init__(
        self,
        folder: Path,
        caps: Caps,
        reserve: Reserve,
        durable: Callable[[list[Pack]], None],
        *,
        head_bytes: int = 64 << 20,
        retention: Retention | None = None,
        fsync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        self._files = Files(folder)
        self._caps = caps
        self._reserve = reserve
        self._durable = durable
        self._retention = retention or Retention()
        self._fsync = fsync
        self._head = Head(head_bytes)
        self._queue: list[Pack] = []
        self._wake = threading.Condition()
        self._grown = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._stopping = False
        self._segment: Segment | None = None
        self._fd = -1
        self._ordinal = 0
        self.stamp = 0
        self.messages = 0
        self.end = 0
        self.full = False
        self.failed: OSError | None = None
        self.dropped_segments = 0
        self.fsyncs = 0

    def open(self, at_least: int = 0, messages: int = 0) -> None:
        """Open the files and begin to write. Raises OSError, VersionError.

        What followers have committed (an offset `at_least`, a count of `messages`) is never written again,
        even where the files that held it are gone.
        """
        self._files.open(at_least)
        self.stamp, self.messages = self._files.stamp, max(self._files.messages, messages)
        self.full = not self._reserve.hold()
        try:
            self._begin()
        except OSError as error:
            if error.errno not in FULL:
                raise
            self._reserve.release()
            self._begin()
        self.end = self._files.end
        self._thread.start()

    def close(self) -> None:
        """Write what is queued, then stop. A full disk cannot hold it up."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._reserve.release()
        with self._grown:
            self._grown.notify_all()

    def disk_full(self) -> None:
        """Somebody else on this disk found it full: the reserve is let go for the alarm, messages wait."""
        with self._wake:
            if not self.full:
                log.error(
                    "journal: the disk is full; messages are no longer acknowledged until there is room"
                )
            self.full = True
            self._reserve.release()
            self._wake.notify()

    @property
    def first(self) -> int:
        """The offset of the oldest record kept."""
        return self._files.segments[0].base

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(segment.size for segment in self._files.segments)

    def durable_files(self) -> list[tuple[Path, int]]:
        """Each segment's file and how many of its bytes are durable, oldest first; the last one grows."""
        with self._grown:
            return [(segment.path, segment.size) for segment in self._files.segments]

    @property
    def damage(self) -> list[str]:
        """What was found damaged, in sentences."""
        return [str(damage) for damage in self._files.damage]

    def append(self, pack: Pack) -> None:
        """Hand over records; `durable` gets the pack, on the writer's thread, once they are on disk."""
        with self._wake:
            self._queue.append(pack)
            if len(self._queue) == 1:
                self._wake.notify()

    def control(self, kind: RecordKind, body: dict[str, object], received: int) -> Future[tuple[int, int]]:
        """Append a record of the collector's own; the future gets its (stamp, offset), or the OSError."""
        pack, written = control_pack(kind, body, received)
        with self._wake:
            failed = self.failed
            if failed is None:
                self._queue.append(pack)
                self._wake.notify()
        if failed:
            written.set_exception(failed)
        return written

    def read(self, cursor: int, until: int | None = None) -> Batch | None:
        """The next batch at `cursor` (up to `until`, a record's edge); None at the end."""
        with self._grown:
            stop = self.end if until is None else min(until, self.end)
            if cursor >= stop:
                return None
            found = self._head.at(cursor)
            if found is not None and found.end <= stop:
                return found
            stop = min(stop, self._head.next_start(cursor))
        while True:
            try:
                return self._files.read(cursor, stop)
            except FileNotFoundError:  # dropped at this moment
                continue

    def wait(self, cursor: int, seconds: float) -> bool:
        """Wait until there is something at `cursor`; says whether there is."""
        with self._grown:
            return self._grown.wait_for(lambda: self.end > cursor, seconds)

    def _begin(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._files.stamp, self._files.messages = self.stamp, self.messages
        self._segment, self._fd = self._files.begin()
        self._ordinal = 0

    def _run(self) -> None:
        while packs := self._next():
            try:
                self._write(packs)
            except OSError as error:
                if not self._recovered(error, packs):
                    return
            except Exception as error:  # the outermost loop: a fault must show, not vanish with its thread
                log.exception("journal: stopped by a fault")
                self._fail(OSError(f"{type(error).__name__}: {error}"), packs)
                return

    def _recovered(self, error: OSError, packs: list[Pack]) -> bool:
        """After a failed write: a full disk is waited out, anything else is the end."""
        if error.errno in FULL:
            try:
                self._filled(packs)
            except OSError as worse:
                error = worse
            else:
                return True
        self._fail(error, packs)
        return False

    def _next(self) -> list[Pack]:
        """What is to be written now; on a full disk the control records alone. Empty: stop."""
        while True:
            with self._wake:
                while not (self._queue or self._stopping or self.full):
                    self._wake.wait()
                if self.full and self._reserve.hold(weight(self._queue)):
                    self.full = False
                    log.warning("journal: the disk has room again; messages are taken in again")
                packs, self._queue = self._queue, []
                if self.full:
                    self._queue = [pack for pack in packs if not pack.control]
                    packs = self._overtaking([pack for pack in packs if pack.control])
                if packs or self._stopping:
                    return packs
            time.sleep(RETRY)

    def _overtaking(self, packs: list[Pack]) -> list[Pack]:
        """Control records that pass waiting messages: time must not move past those without a gap."""
        packs = [pack for pack in packs if pack.token is not _OVERTAKING]
        if not (packs and self._queue):
            return packs
        body: dict[str, object] = {"from": self.stamp, "why": "the disk is full"}
        gap, _ = control_pack(RecordKind.GAP, body, packs[0].received)
        gap.token = _OVERTAKING
        return [gap, *packs]

    def _filled(self, packs: list[Pack]) -> None:
        """The disk is full: undo the torn write, let the reserve go, keep the packs for later."""
        if not self.full:
            log.error("journal: the disk is full; messages are no longer acknowledged until there is room")
        else:
            time.sleep(RETRY)
        self.full = True
        self._reserve.release()
        segment = self._segment
        if segment is not None and self._fd >= 0:
            os.ftruncate(self._fd, segment.size)
            os.lseek(self._fd, segment.size, os.SEEK_SET)
        with self._wake:
            self._queue = packs + self._queue
            if self._stopping:
                self._abandon(self._queue, OSError(errno.ENOSPC, "the disk is full"))
                self._queue = []

    def _fail(self, error: OSError, packs: list[Pack]) -> None:
        """The disk cannot be trusted any more: acknowledge nothing from here on."""
        log.critical("journal: writing failed (%s); nothing is acknowledged any more", error)
        with self._wake:
            self.failed = error
            packs, self._queue = packs + self._queue, []
        self._abandon(packs, error)

    @staticmethod
    def _abandon(packs: list[Pack], error: OSError) -> None:
        for pack in packs:
            if pack.written:
                pack.written.set_exception(error)

    def _write(self, packs: list[Pack]) -> int:
        if self._segment is None or self._segment.size >= self._caps.segment_bytes:
            self._begin()
            self._retain()
        batch, data, ordinal = self._encode(packs)
        write_all(self._fd, data)
        self._fsync(self._fd)
        self.fsyncs += 1
        self._ordinal = ordinal
        self._publish(batch, len(data))
        self._settle(packs, batch)
        return len(batch)

    def _encode(self, packs: list[Pack]) -> tuple[Batch, bytes, int]:
        columns = gather(packs, self.stamp)
        segment = self._segment
        assert segment is not None
        assert segment.header is not None
        data, begins, ordinal = encode(segment.header.salt, *columns, self._ordinal)
        begins += segment.end
        messages = segment.header.messages + ordinal
        end = segment.end + len(data)
        batch = Batch(self.end, end, *columns, begins, messages, size=2 * len(data))
        return batch, data, ordinal

    def _publish(self, batch: Batch, written: int) -> None:
        segment = self._segment
        assert segment is not None
        with self._grown:
            segment.size += written
            self.stamp, self.messages, self.end = int(batch.stamps[-1]), batch.messages, batch.end
            self._head.push(batch)
            self._grown.notify_all()

    def _settle(self, packs: list[Pack], batch: Batch) -> None:
        at = 0
        for pack in packs:
            if pack.written:
                pack.written.set_result((int(batch.stamps[at]), int(batch.offsets[at])))
            at += len(pack.kinds)
        if messages := [pack for pack in packs if not pack.written]:
            self._durable(messages)

    def _retain(self) -> None:
        """Drop the oldest segments past the caps: never what alarming needs, nor, by age, the unread."""
        needed, read = self._retention.needed(), self._retention.read()
        while len(self._files.segments) > 2:
            oldest, second = self._files.segments[:2]
            if needed is None or needed < oldest.end:
                return
            age = self.stamp - second.header.stamp if second.header else 0
            unread = read is None or read < oldest.end
            if self.size <= self._caps.max_bytes and (unread or age <= self._caps.max_age * 1e9):
                return
            self._files.drop_oldest()
            self.dropped_segments += unread
            if unread:
                log.critical("journal: %s dropped at the size cap before it was stored", oldest.path.name)
