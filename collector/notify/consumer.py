"""A channel's consumer: follows the outbox with a durable cursor; what fails is set aside and tried again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter

from collector.notify.channel import Channel, Note, NotSent
from collector.notify.notesource import NoteSource, TellableRow
from collector.notify.waiting import Owed, Waiting
from devices.backoff import Backoff

_log = logging.getLogger(__name__)

TOLD = frozenset({"raised", "cleared", "acked"})
"""What people are told about; other transitions only show on the page."""
RETRY = Backoff(1.0, 300.0)
"""Between two tries of one note."""
PAUSE = Backoff(1.0, 60.0)
"""Between two tries of anything, once FAILING in a row were in vain: then it is the receiver that is down."""
FAILING = 3
MOST_WAITING = 5_000
"""Notes set aside at most; beyond it the oldest is given up."""
MOST_TRIES = 2_000
"""Then a note is given up: about a week, at five minutes each."""
REMEMBER = 600.0
"""Seconds for which a note that was given up shows in `trouble` and `losing`."""


def note_of(row: TellableRow) -> Note | None:
    """What an outbox row tells people; None if nothing.

    An alert that is held (shelved, suppressed, out of service) is told to nobody. When it is let go, people
    are told how it is by then.
    """
    if row.body.get("holds"):
        return None
    kind = row.change
    if kind == "unshelved":
        kind = {"active": "raised"}.get(row.body["condition"], row.body["condition"])
    if kind not in TOLD:
        return None
    summary = {str(language): str(text) for language, text in row.body.get("summary", {}).items()}
    return Note(row.seq, kind, row.at // 1_000_000, row.body, summary, row.by, row.comment)


class ChannelConsumer:
    """Sends what the outbox holds through one channel: at least once, and in order for each alert.

    A note that fails is set aside (durably) and tried again with back-off, while other alerts' notes go on.
    `counts` has sent, failed (tries), retries, skipped (given up), untold (nobody is told of these), missed
    (gone from the outbox unread) and faults (of our own).
    """

    def __init__(
        self,
        channel: Channel,
        outbox: NoteSource,
        *,
        batch: int = 100,
        retry: Backoff = RETRY,
        pause: Backoff = PAUSE,
        poll: float = 5.0,
        most_waiting: int = MOST_WAITING,
        most_tries: int = MOST_TRIES,
    ) -> None:
        self.channel = channel
        self.counts: Counter[str] = Counter(
            sent=0, failed=0, retries=0, skipped=0, untold=0, missed=0, faults=0
        )
        self._outbox = outbox
        self._batch = batch
        self._retry = retry
        self._pause = pause
        self._poll = poll
        self._most_waiting = most_waiting
        self._most_tries = most_tries
        self._waiting = Waiting()
        self._failures = 0  # in a row
        self._why = ""  # the last failure
        self._lost = ""  # what was given up last, and
        self._lost_at = -REMEMBER  # when
        self._wake = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many notes failed and are to be tried again."""
        return len(self._waiting)

    @property
    def stuck(self) -> bool:
        """Whether notes wait to be tried again."""
        return self.waiting > 0

    @property
    def losing(self) -> bool:
        """Whether a note was given up in the last ten minutes."""
        return time.monotonic() - self._lost_at < REMEMBER

    @property
    def trouble(self) -> str:
        """What is wrong now, in a sentence; "" if nothing is."""
        said = [f"{self._why}; {self.waiting} notes wait"] if self.stuck else []
        return "; ".join(said + [self._lost] * self.losing)

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
                    await asyncio.sleep(self._pause.most)
        finally:
            await self.channel.close()

    async def _follow(self) -> None:
        """The cursor is written once a batch, when a note is set aside, and at the end: each is an fsync."""
        name = self.channel.name
        done = saved = (await asyncio.to_thread(self._outbox.consumer, name)).seq
        await self._recall()
        try:
            while True:
                self._wake.clear()
                rows = await asyncio.to_thread(self._outbox.outbox, done, self._batch)
                for row in rows:
                    if missed := row.seq - done - 1:
                        self._missed(missed)
                    await self._tell(row)
                    done = row.seq
                    await self._try_again()  # in turn, so that neither kind waits for the other
                if done > saved:
                    await asyncio.to_thread(self._outbox.consumed, name, done)
                    saved = done
                if not rows and not await self._try_again():
                    await self._idle()
        finally:
            if done > saved:  # in a thread: somebody may hold the file, and a loop must not wait for them
                await asyncio.to_thread(self._outbox.consumed, name, done)

    async def _recall(self) -> None:
        """What the last run set aside is due at once."""
        self._waiting = Waiting()
        for owed in await asyncio.to_thread(self._outbox.owed, self.channel.name):
            if note := note_of(owed.row):
                self._waiting.put(Owed(note, owed.tries))
                self._why = owed.why

    async def _tell(self, row: TellableRow) -> None:
        note = note_of(row)
        if note is None:
            self.counts["untold"] += 1
        elif self._waiting.has(note.alert_id):
            await self._set_aside(Owed(note))
        else:
            await self._deliver(Owed(note))

    async def _try_again(self) -> bool:
        """Try the note that is due, if one is."""
        owed = self._waiting.next()
        if owed is None or owed.due > time.monotonic():
            return False
        self.counts["retries"] += 1
        await self._deliver(owed)
        return True

    async def _deliver(self, owed: Owed) -> None:
        error = await self._send(owed.note)
        if error is None:
            self.counts["sent"] += 1
            self._accepted()
            if self._waiting.has(owed.note.alert_id):
                await self._settle(owed)
            return
        self.counts["failed"] += 1
        owed.tries += 1
        if error.permanent or owed.tries >= self._most_tries:
            await self._give_up(owed, str(error))
        else:
            await self._postpone(owed, error)

    async def _send(self, note: Note) -> NotSent | None:
        """Why it did not get through; a fault of the channel itself is a reason like any."""
        try:
            await self.channel.send(note)
        except NotSent as error:
            return error
        except Exception as error:
            self.counts["faults"] += 1
            _log.exception("%s: note %d", self.channel.name, note.seq)
            return NotSent(f"{self.channel.name} failed by a fault of its own ({type(error).__name__})")
        return None

    def _accepted(self) -> None:
        if self._failures >= FAILING:
            self._waiting.hurry()
        self._failures = 0

    async def _postpone(self, owed: Owed, error: NotSent) -> None:
        if not self.stuck:
            _log.warning("%s; note %d is set aside and tried again", error, owed.note.seq)
        asked = error.retry_after or 0.0
        owed.due = time.monotonic() + max(self._retry.wait(owed.tries), asked)
        self._why = str(error)
        await self._set_aside(owed)
        self._failures += 1
        if self._failures >= FAILING:
            pause = self._pause.wait(self._failures - FAILING + 1)
            await asyncio.sleep(min(max(pause, asked), self._pause.most))

    async def _set_aside(self, owed: Owed) -> None:
        await asyncio.to_thread(self._outbox.owe, self.channel.name, owed.note.seq, owed.tries, self._why)
        self._waiting.put(owed)
        oldest = self._waiting.oldest()
        if oldest and len(self._waiting) > self._most_waiting:
            await self._give_up(oldest, "too many notes wait")

    async def _give_up(self, owed: Owed, why: str) -> None:
        await self._settle(owed)
        note = owed.note
        self.counts["skipped"] += 1
        _log.error("%s; note %d (%s %s) is given up", why, note.seq, note.kind, note.alert_id)
        self._loses(f"{why}; {self.counts['skipped']} notes were given up")

    async def _settle(self, owed: Owed) -> None:
        await asyncio.to_thread(self._outbox.settle, self.channel.name, owed.note.seq)
        self._waiting.remove(owed)

    def _missed(self, count: int) -> None:
        self.counts["missed"] += count
        self._loses(f"{self.counts['missed']} notes left the outbox before they could be sent")

    def _loses(self, what: str) -> None:
        self._lost, self._lost_at = what, time.monotonic()

    async def _idle(self) -> None:
        """Return when there is something new, when a note set aside is due, or after `poll` seconds."""
        owed = self._waiting.next()
        due = owed.due - time.monotonic() if owed else self._poll
        try:
            async with asyncio.timeout(max(0.0, min(due, self._poll))):
                await self._wake.wait()
        except TimeoutError:
            return
