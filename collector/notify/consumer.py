"""A channel's consumer: follows the outbox with a durable cursor of its own, in order, at least once."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from collector.notify.channel import Channel, Note, NotSent
from devices.backoff import backoff

_log = logging.getLogger(__name__)

TOLD = frozenset({"raised", "cleared", "acked"})
"""What people are told about; other transitions only show on the page."""


class Row(Protocol):
    """An outbox row: something that happened to an alert."""

    @property
    def seq(self) -> int:
        """Its number; rises."""

    @property
    def change(self) -> str:
        """raised, cleared, acked …"""

    @property
    def at(self) -> int:
        """Epoch ns."""

    @property
    def by(self) -> str:
        """Who, for actions."""

    @property
    def comment(self) -> str:
        """What they said."""

    @property
    def body(self) -> Mapping[str, Any]:
        """The alert as the API shows it, with `summary` by language."""


class Cursor(Protocol):
    """How far a consumer has come."""

    @property
    def seq(self) -> int:
        """Its number; rises."""


class Outbox(Protocol):
    """The outbox as a channel sees it. Its calls may block: they are made in a thread."""

    def outbox(self, after: int, limit: int) -> Sequence[Row]:
        """The rows after that seq, oldest first, at most `limit`, of every kind."""

    def consumer(self, name: str) -> Cursor:
        """How far that consumer has come; a new one begins with what comes from now on."""

    def consumed(self, name: str, seq: int) -> None:
        """That consumer is done with everything up to `seq`: durable on return."""


def note_of(row: Row) -> Note:
    """What an outbox row tells."""
    summary = {str(language): str(text) for language, text in row.body.get("summary", {}).items()}
    return Note(row.seq, row.change, row.at // 1_000_000, row.body, summary, row.by, row.comment)


class Consumer:
    """Sends what the outbox holds through one channel until it is cancelled.

    A failing channel holds up only itself: the notes wait in the outbox, not in memory. `counts` has sent,
    failed (attempts), retries, skipped (refused for good), untold (kinds nobody is told about), missed (gone
    from the outbox unread) and faults (of our own); `trouble` says why it is stuck now, if it is.
    """

    def __init__(
        self,
        channel: Channel,
        outbox: Outbox,
        *,
        batch: int = 100,
        first_wait: float = 1.0,
        most_wait: float = 300.0,
        poll: float = 5.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.channel = channel
        self.counts: Counter[str] = Counter(
            sent=0, failed=0, retries=0, skipped=0, untold=0, missed=0, faults=0
        )
        self.trouble = ""
        self._outbox = outbox
        self._batch = batch
        self._first_wait = first_wait
        self._most_wait = most_wait
        self._poll = poll
        self._sleep = sleep
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There may be something new: to be called on the event loop after a commit."""
        self._wake.set()

    async def run(self) -> None:
        """Follow the outbox for ever. Returns only by cancellation."""
        try:
            while True:
                try:
                    await self._follow()
                except Exception:
                    self.counts["faults"] += 1
                    _log.exception("%s stopped and starts again from its cursor", self.channel.name)
                    await self._sleep(self._wait(6))
        finally:
            await self.channel.close()

    async def _follow(self) -> None:
        """The cursor is written once a batch, before a long wait, and at the end: each write is an fsync."""
        name = self.channel.name
        done = saved = (await asyncio.to_thread(self._outbox.consumer, name)).seq
        try:
            while True:
                self._wake.clear()
                rows = await asyncio.to_thread(self._outbox.outbox, done, self._batch)
                for row in rows:
                    self.counts["missed"] += row.seq - done - 1  # the outbox had to drop them
                    await self._deliver(note_of(row))
                    done = row.seq
                if done > saved:
                    await asyncio.to_thread(self._outbox.consumed, name, done)
                    saved = done
                if not rows:
                    await self._idle()
        finally:
            if done > saved:  # in a thread: somebody may hold the file, and a loop must not wait for them
                await asyncio.to_thread(self._outbox.consumed, name, done)

    async def _deliver(self, note: Note) -> None:
        if note.kind in TOLD:
            await self._send(note)
        else:
            self.counts["untold"] += 1

    async def _send(self, note: Note) -> None:
        attempt = 0
        while True:
            try:
                await self.channel.send(note)
            except NotSent as error:
                self.counts["failed"] += 1
                if error.permanent:
                    self.counts["skipped"] += 1
                    _log.error("%s; note %d is skipped", error, note.seq)
                    return
                await self._back_off(error, attempt, note.seq)
                attempt += 1
            else:
                self.counts["sent"] += 1
                self.trouble = ""
                return

    async def _back_off(self, error: NotSent, attempt: int, seq: int) -> None:
        wait = error.retry_after if error.retry_after is not None else self._wait(attempt)
        if not self.trouble:
            _log.warning("%s; note %d is tried again, for as long as it takes", error, seq)
            await asyncio.to_thread(self._outbox.consumed, self.channel.name, seq - 1)
        self.trouble = str(error)
        await self._sleep(wait)
        self.counts["retries"] += 1

    def _wait(self, attempt: int) -> float:
        return backoff(attempt, self._first_wait, self._most_wait)

    async def _idle(self) -> None:
        try:
            async with asyncio.timeout(self._poll):
                await self._wake.wait()
        except TimeoutError:
            return
