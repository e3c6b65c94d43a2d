"""Where the stream's clients hear of new outbox rows: one shared ring of frames, and a cursor per client.

A client holds no queue of its own, only the number of the last row it was given. As long as the ring reaches
back that far it reads from the ring, otherwise from the outbox. So there can be no gap and no double between
replay and live, and two hundred slow clients cost no more memory than one.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from collector.state import OutboxRow

_CHUNKS = 64
"""So many different stretches of the ring are kept joined between two commits."""


@dataclass(frozen=True, slots=True)
class StreamCaps:
    """How many streams there may be at once: in all, with one token, from one address."""

    streams: int = 200
    per_token: int = 20
    per_address: int = 100


class Hub:
    """Outbox rows as they are committed. All calls on the event loop; rows must come in rising order."""

    def __init__(self, keep: int = 2000) -> None:
        self.closed = False
        self.last: int | None = None  # the newest row published so far
        self._rows: list[OutboxRow] = []
        self._frames: dict[int, bytes] = {}
        self._chunks: dict[int, tuple[int, bytes]] = {}
        self._keep = keep
        self._floor: int | None = None  # every published row after it is in the ring
        self._subscribers: set[Subscriber] = set()

    @property
    def clients(self) -> int:
        """How many listen now."""
        return len(self._subscribers)

    def publish(self, rows: Sequence[OutboxRow]) -> None:
        """Rows that were just committed: wakes every subscriber."""
        if not rows:
            return
        if self._floor is None:
            self._floor = rows[0].seq - 1
        self._rows.extend(rows)
        self._chunks.clear()
        if len(self._rows) > self._keep + self._keep // 4:
            self._forget(len(self._rows) - self._keep)
        self.last = rows[-1].seq
        self._wake()

    def _forget(self, count: int) -> None:
        for row in self._rows[:count]:
            self._frames.pop(row.seq, None)
        self._floor = self._rows[count - 1].seq
        del self._rows[:count]

    def after(self, seq: int, limit: int) -> list[OutboxRow] | None:
        """The rows after `seq`, oldest first; None if the ring does not reach back that far."""
        if self._floor is None or seq < self._floor:
            return None
        first = bisect_right(self._rows, seq, key=attrgetter("seq"))
        return self._rows[first : first + limit]

    def chunk(self, seq: int, limit: int, frame: Callable[[OutboxRow], bytes]) -> tuple[int, bytes] | None:
        """The frames of the rows after `seq` in one piece, and the number of the last; None as in `after`.

        A row's frame is made once, and so is the piece, however many clients stand at the same row.
        """
        if found := self._chunks.get(seq):
            return found
        rows = self.after(seq, limit)
        if rows is None:
            return None
        if len(self._chunks) >= _CHUNKS:
            self._chunks.clear()
        frames = [self._frames.get(row.seq) or self._framed(row, frame) for row in rows]
        found = self._chunks[seq] = (rows[-1].seq if rows else seq, b"".join(frames))
        return found

    def _framed(self, row: OutboxRow, frame: Callable[[OutboxRow], bytes]) -> bytes:
        made = self._frames[row.seq] = frame(row)
        return made

    def listen(self, token: int = 0, address: str = "", caps: StreamCaps | None = None) -> Subscriber | str:
        """A new client's place; or, in words, what there is too much of."""
        caps = caps or StreamCaps()
        if self.closed:
            return "the collector is stopping"
        if len(self._subscribers) >= caps.streams:
            return "too many streams are open"
        if Counter(each.token for each in self._subscribers)[token] >= caps.per_token:
            return "too many streams are open with this token"
        if Counter(each.address for each in self._subscribers)[address] >= caps.per_address:
            return "too many streams are open from this address"
        subscriber = Subscriber(self, token, address)
        self._subscribers.add(subscriber)
        return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        """The client is gone."""
        self._subscribers.discard(subscriber)

    def close(self) -> None:
        """End every stream: the collector is stopping."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        for subscriber in self._subscribers:
            subscriber.news.set()


class Subscriber:
    """One client's place in the hub. Use as a context manager: leaving it frees the place."""

    def __init__(self, hub: Hub, token: int, address: str) -> None:
        self.hub = hub
        self.token = token
        self.address = address
        self.news = asyncio.Event()

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *_: object) -> None:
        self.hub.leave(self)

    async def wait(self, seconds: float) -> None:
        """Until something was published, the hub closes, or the time is over."""
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                await self.news.wait()
        except TimeoutError:
            return
        self.news.clear()
