"""The follower that alarms: the course, and its decisions committed with their cursor in one transaction."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from collector.alarms.model import Alert, Transition
from collector.core.bundle import BundleError, unpack
from collector.core.decision import Decision
from collector.core.readings import SeriesTable
from collector.core.records import Batch
from collector.core.roster import Part
from collector.course.course import Course
from collector.followers.saving import Saver
from collector.followers.versions import Versions
from collector.ingest.decode import Decoder
from collector.ingest.journal import Journal
from collector.state import State, StateError
from collector.state.outbox import OutboxRow
from collector.state.snapshots import Snapshots
from devices.problems import Problems

log = logging.getLogger(__name__)
NAME = "alarming"
COMMIT_SECONDS = 10.0
"""Without transitions the cursor is committed this often: what lies behind it is read again, silently."""
SNAPSHOT_MESSAGES = 200_000
LONG_WAY = 20_000
"""After so many messages read again at a start its outcome is kept: killed soon, the next start is short."""
RETRY = 0.5
FORM = "nagari-alarming-3"
"""What the snapshots hold, and its version."""

Answer = Future[Transition]


class Alarming:
    """Runs in a thread of its own. `committed` is called on it with the outbox rows of each commit."""

    def __init__(
        self,
        journal: Journal,
        state: State,
        decoder: Decoder,
        table: SeriesTable,
        snapshots: Snapshots,
        versions: Versions,
        committed: Callable[[list[OutboxRow]], None],
        *,
        snapshot_messages: int = SNAPSHOT_MESSAGES,
    ) -> None:
        self._journal = journal
        self._state = state
        self._decoder = decoder
        self._table = table
        self._snapshots = snapshots
        self._saver = Saver(snapshots, NAME, snapshot_messages)
        self._versions = versions
        self._committed = committed
        self._stop = threading.Event()
        self._answers: dict[str, Answer] = {}
        self.course = Course(table, decoder, versions.get, versions.current)
        self._committed_cursor = 0
        self.cursor = 0
        self.stamp = 0
        self.transitions = 0
        self.status = "ok"
        self.failed: str | None = None
        self.thread = threading.Thread(target=self._run, name=NAME, daemon=True)

    def expect(self, action: str) -> Answer:
        """The transition that an action will cause, committed; ask before the action is journaled."""
        answer: Answer = Future()
        answer.set_running_or_notify_cancel()  # whoever gives up waiting cannot trip this thread
        self._answers[action] = answer
        return answer

    def forget(self, action: str) -> None:
        """Nobody waits for that action any more."""
        self._answers.pop(action, None)

    def start(self) -> None:
        """Recover: load the newest snapshot, read on silently up to the committed cursor; then follow."""
        self.recover()
        self.thread.start()

    def stop(self) -> None:
        """Commit what was read, then stop."""
        self._stop.set()
        if self.thread.is_alive():
            self.thread.join()

    def recover(self) -> None:
        """Decided as it was when the cursor was committed."""
        goal = self._state.cursor()
        self.cursor = self._restore(goal)
        if self.cursor < self._journal.first:
            log.error("alarming: the journal begins after what was remembered; what lay between is lost")
        while self.cursor < goal and (batch := self._journal.read(self.cursor, goal)) is not None:
            self.course.take(batch)
            self.cursor = batch.end
        self.cursor = self._committed_cursor = max(self.cursor, goal)
        self._saver.begin(self.course.messages)
        if self.course.messages >= LONG_WAY:
            self._save()

    def _restore(self, goal: int) -> int:
        found = self._snapshots.newest(NAME, goal)
        if found is not None:
            try:
                part = Part(*unpack(FORM, found[1]))
                self.course = Course.load(self._table, self._decoder, self._versions.get, part)
                return found[0]
            except (BundleError, KeyError, ValueError, Problems) as error:
                log.warning("alarming: a snapshot is not used: %s", error)
        return min(self._journal.first, goal)

    def _run(self) -> None:
        try:
            self.run()
        except Exception as error:  # the outermost loop: a fault must show, not vanish with its thread
            log.exception("alarming: stopped by a fault")
            self.failed = f"{type(error).__name__}: {error}"

    def run(self) -> None:
        """Follow the journal until stopped. Raises what no waiting mends: then a new one recovers."""
        committed = time.monotonic()
        while not self._stop.is_set():
            batch = self._journal.read(self.cursor)
            decided = [] if batch is None else self._take(batch)
            if decided or (self._behind() and time.monotonic() - committed >= COMMIT_SECONDS):
                if not self._commit(decided):
                    return  # stopped meanwhile: the cursor must not pass what was not committed
                committed = time.monotonic()
            if batch is None:
                self._journal.wait(self.cursor, 0.5)
        if self._commit([]):
            self._save()
            self._saver.finish()

    def _take(self, batch: Batch) -> list[Decision]:
        decided = self.course.take(batch)
        self.cursor, self.stamp = batch.end, self.course.stamp
        return decided

    def _behind(self) -> bool:
        return self._committed_cursor < self.cursor

    def _commit(self, decided: list[Decision]) -> bool:
        """One transaction; while the disk refuses, again. Says whether it was committed."""
        while True:
            try:
                rows = self._state.commit(self.cursor, decided, self._summary)
                break
            except StateError as error:
                if error.permanent:
                    raise
                self._held_up(error)
                if self._stop.wait(RETRY):
                    return False
        self.status = "ok"
        self._committed_cursor = self.cursor
        self.transitions += sum(decision.kind == Transition.kind for decision in decided)
        if rows:
            self._committed(rows)
        for decision in decided:
            answer = self._answers.pop(decision.action, None) if decision.action else None
            if answer and isinstance(decision, Transition):
                answer.set_result(decision)
        if self._saver.due(self.course.messages):
            self._save()
        return True

    def _held_up(self, why: StateError) -> None:
        if self.status == "ok":
            log.error("alarming: state.db: %s; it is tried again until it works", why)
        self.status = f"state.db: {why}"
        if why.full:
            self._journal.disk_full()

    def _summary(self, alert: Alert) -> dict[str, str]:
        return self._versions.summary(self.course.region.hash, alert)

    @property
    def region(self) -> str:
        """The hash of the version that holds, as far as the journal was read."""
        return self.course.region.hash

    def _save(self) -> None:
        self._saver.save(self._committed_cursor, FORM, self.course.save(), self.course.messages)
