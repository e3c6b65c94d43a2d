"""The journal: every message and every decision's ground, in the log before it is acknowledged.

One thread writes. Whatever was handed over while it waited for the disk goes into the next write (group
commit). Followers read behind it: at the head they share the batches as they were written, further back they
read the log. A full disk stops messages, not the control records: for those a reserve is let go. While the
process has no file descriptor left all wait.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from collector.core.records import Batch, RecordKind
from collector.ingest.head import Head
from collector.ingest.log import CROWDED, FULL, Log, Retention
from collector.ingest.pack import Pack, control_pack, gather, weight
from collector.ingest.reserve import Reserve

log = logging.getLogger(__name__)
RETRY = 0.5
"""Seconds between looks at a full disk, or for a free descriptor."""
_OVERTAKING = object()


class Journal:
    """An append-only log of records. `append` and `control` may be called from any thread; the rest too."""

    def __init__(
        self,
        records: Log,
        reserve: Reserve,
        durable: Callable[[list[Pack]], None],
        *,
        head_bytes: int = 64 << 20,
        retention: Retention | None = None,
    ) -> None:
        self._log = records
        self._reserve = reserve
        self._durable = durable
        self._retention = retention or Retention()
        self._head = Head(head_bytes)
        self._queue: list[Pack] = []
        self._wake = threading.Condition()
        self._grown = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._stopping = False
        self.stamp = 0
        self.messages = 0
        self.end = 0
        self.full = False
        self.crowded = False  # no file descriptor is left
        self.failed: OSError | None = None
        self.dropped_segments = 0
        self.fsyncs = 0

    def open(self, at_least: int = 0, messages: int = 0) -> None:
        """Open the log and begin to write. Raises OSError, VersionError.

        What followers have committed (an offset `at_least`, a count of `messages`) is never written again,
        even where the records themselves are gone.
        """
        self.full = not self._reserve.hold()
        try:
            self._log.open(at_least, messages)
        except OSError as error:
            if error.errno not in FULL:
                raise
            self._reserve.release()
            self._log.open(at_least, messages)
        self.stamp, self.messages, self.end = self._log.stamp, self._log.messages, self._log.end
        self._thread.start()

    def close(self) -> None:
        """Write what is queued, then stop. A full disk cannot hold it up."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()
        self._log.close()
        with contextlib.suppress(OSError):
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
            with contextlib.suppress(OSError):  # the writer will meet it
                self._reserve.release()
            self._wake.notify()

    @property
    def first(self) -> int:
        """The offset of the oldest record kept."""
        return self._log.first

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self._log.size

    def durable_files(self) -> list[tuple[Path, int]]:
        """The log's files and how many bytes of each are durable, oldest first; the last one grows."""
        return self._log.durable_files()

    @property
    def damage(self) -> list[str]:
        """What was found damaged or missing, in sentences."""
        return self._log.damage

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
                batch = self._log.read(cursor, stop)
            except OSError as error:
                if error.errno not in CROWDED or self._stopping:
                    raise
                self._wait_for_descriptor()
            else:
                self._uncrowded()
                return batch

    def wait(self, cursor: int, seconds: float) -> bool:
        """Wait until there is something at `cursor`; says whether there is."""
        with self._grown:
            return self._grown.wait_for(lambda: self.end > cursor, seconds)

    def _run(self) -> None:
        packs: list[Pack] = []
        while True:
            try:
                packs = self._next()
                if not packs:
                    return
                self._write(packs)
            except OSError as error:
                if not self._recovered(error, packs):
                    return
            except Exception as error:  # the outermost loop: a fault must show, not vanish with its thread
                log.exception("journal: stopped by a fault")
                self._fail(OSError(f"{type(error).__name__}: {error}"), packs)
                return
            packs = []

    def _recovered(self, error: OSError, packs: list[Pack]) -> bool:
        """After a failed write: a full disk, or no descriptor left, is waited out; all else is the end."""
        try:
            if error.errno in FULL:
                self._filled()
            elif error.errno in CROWDED:
                self._wait_for_descriptor()
            else:
                self._fail(error, packs)
                return False
        except OSError as worse:
            self._fail(worse, packs)
            return False
        self._put_back(packs)
        return True

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

    def _filled(self) -> None:
        """The disk is full: let the reserve go, messages wait. Raises OSError."""
        if not self.full:
            log.error("journal: the disk is full; messages are no longer acknowledged until there is room")
        else:
            time.sleep(RETRY)
        self.full = True
        self._reserve.release()

    def _wait_for_descriptor(self) -> None:
        if not self.crowded:
            log.error("journal: no file descriptor is left; all waits until others close some")
        self.crowded = True
        time.sleep(RETRY)

    def _uncrowded(self) -> None:
        if self.crowded:
            self.crowded = False
            log.warning("journal: there are file descriptors again; it goes on")

    def _put_back(self, packs: list[Pack]) -> None:
        """They go into a later write; if there is none, their futures hear of it."""
        with self._wake:
            self._queue = packs + self._queue
            if self._stopping:
                why = "the disk is full" if self.full else "no file descriptor is left"
                self._abandon(self._queue, OSError(errno.ENOSPC if self.full else errno.EMFILE, why))
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

    def _write(self, packs: list[Pack]) -> None:
        self.dropped_segments += self._log.trim(self._retention)
        batch = self._log.write(gather(packs, self.stamp))
        self.fsyncs += 1
        self._uncrowded()
        with self._grown:
            self.stamp, self.messages, self.end = int(batch.stamps[-1]), batch.messages, batch.end
            self._head.push(batch)
            self._grown.notify_all()
        self._settle(packs, batch)

    def _settle(self, packs: list[Pack], batch: Batch) -> None:
        at = 0
        for pack in packs:
            if pack.written:
                pack.written.set_result((int(batch.stamps[at]), int(batch.offsets[at])))
            at += len(pack.kinds)
        if messages := [pack for pack in packs if not pack.written]:
            self._durable(messages)
