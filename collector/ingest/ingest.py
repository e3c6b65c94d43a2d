"""Ingest in a thread with a loop of its own: nothing else in the process holds up an acknowledgement."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import uvloop

from collector.core.clock import Clock
from collector.core.config import Mqtt
from collector.core.records import RecordKind
from collector.ingest.journal import Journal
from collector.ingest.pack import Pack
from collector.ingest.recorder import Journaled, Recorder
from collector.ingest.session import Session

log = logging.getLogger(__name__)
BEAT = 1.0
"""Seconds between two signs of life."""


class Ingest:
    """Session, recorder and clock, which its thread alone touches. The methods may be called from any."""

    def __init__(
        self,
        config: Mqtt,
        filters: Sequence[str],
        journal: Journal,
        *,
        unacked_bytes: int,
        mark: Path,
    ) -> None:
        """`mark` is the file that remembers that the broker has a session for us."""
        self._journal = journal
        self.clock = Clock(journal.stamp)
        """Its own; others may read how far it is ahead."""
        self._recorder = Recorder(journal, self._now, journal.stamp or self.clock.now())
        self.session = Session(
            config,
            filters,
            journal.append,
            self._recorder,
            self._now,
            unacked_bytes=unacked_bytes,
            mark=mark,
        )
        self._lock = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._jobs: deque[Callable[[], None]] = deque()
        self._stopping: asyncio.Event
        self._stopped = False
        self._asked = self._answered = 0
        self.beats = 0
        """Rises every second while the loop moves."""
        self.tried: Future[None] = Future()
        """Done when the first attempt to reach the broker has had its outcome, good or bad."""

    @property
    def gaps(self) -> int:
        """How often we could not listen."""
        return self._recorder.gaps

    @property
    def waiting(self) -> int:
        """Records of the collector's own that were handed over and are not on disk yet."""
        return self._asked - self._answered

    def record(self, kind: RecordKind, body: dict[str, object]) -> Journaled:
        """Append a record of the collector's own; its future gets (stamp, offset), or the OSError."""
        answer: Journaled = Future()
        answer.set_running_or_notify_cancel()  # whoever gives up waiting cannot trip the writer
        answer.add_done_callback(self._count)
        self._call(lambda: self._record(kind, body, answer))
        return answer

    def publish(self, topic: str, payload: bytes, expiry: float) -> Future[None]:
        """As `Session.publish`: the future is done on the PUBACK, or gets the ConnectionError."""
        with self._lock:
            if self._loop is not None:
                return asyncio.run_coroutine_threadsafe(
                    self.session.publish(topic, payload, expiry), self._loop
                )
        refused: Future[None] = Future()
        refused.set_exception(ConnectionError("not connected to the broker"))
        return refused

    def durable(self, packs: list[Pack]) -> None:
        """These packs are on disk: acknowledge them. On the journal's thread."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has closed meanwhile: nobody to acknowledge to
                loop.call_soon_threadsafe(self.session.durable, packs)

    def run(self) -> None:
        """Keep the session until stopped. Raises whatever ends it otherwise; it may be run again."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._main())

    def stop(self) -> None:
        """Have `run` return, in a while: what was read and not acknowledged comes again."""
        with self._lock:
            self._stopped = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._stopping.set)

    async def _main(self) -> None:
        self._stopping = asyncio.Event()
        if not self.session.tried.is_set():
            self.session.tried = asyncio.Event()  # an event belongs to the loop it was first waited for on
        with self._lock:
            self._loop = asyncio.get_running_loop()
            if self._stopped:
                self._stopping.set()
        try:
            self._drain()
            await _first_of(self.session.run(), self._stopping.wait(), self._beat(), self._tell_tried())
        finally:
            with self._lock:
                self._loop = None
                self._drain()

    async def _beat(self) -> None:
        while True:
            self.beats += 1
            await asyncio.sleep(BEAT)

    async def _tell_tried(self) -> None:
        await self.session.tried.wait()
        if not self.tried.done():
            self.tried.set_result(None)
        await self._stopping.wait()

    def _record(self, kind: RecordKind, body: dict[str, object], answer: Journaled) -> None:
        try:
            written = self._recorder.record(kind, body)
        except Exception as error:  # whoever waits gets it: nobody else is to fail of it
            answer.set_exception(error)
        else:
            written.add_done_callback(lambda _: _pass_on(written, answer))

    def _call(self, job: Callable[[], None]) -> None:
        """Do it on the loop; where none runs, here: then no other thread does anything."""
        with self._lock:
            self._asked += 1
            self._jobs.append(job)
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._drain)
            else:
                self._drain()

    def _drain(self) -> None:
        while self._jobs:
            self._jobs.popleft()()

    def _count(self, _: Journaled) -> None:
        with self._lock:
            self._answered += 1

    def _now(self) -> int:
        """The stamp of what is received now; after a leap of the clock the journal hears of the gap first."""
        now = self.clock.now()
        if leap := self.clock.leap():
            log.warning("the machine's clock leapt %.1f s ahead", leap / 1e9)
            self._recorder.leapt(leap, now)
        return now


async def _first_of(*work: Coroutine[Any, Any, Any]) -> None:
    """Returns or raises as the first of them does; the others are cancelled, and have ended."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


def _pass_on(written: Journaled, answer: Journaled) -> None:
    if error := written.exception():
        answer.set_exception(error)
    else:
        answer.set_result(written.result())
