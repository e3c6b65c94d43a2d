"""Where the stream's clients hear of new outbox rows: one shared ring, and a cursor per client.

A client holds no queue of its own, only the number of the last row it was given. As long as the ring reaches
back that far it reads from the ring, otherwise from the outbox. So there can be no gap and no double between
replay and live, and two hundred slow clients cost no more memory than one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice

from collector.state import OutboxRow


class Hub:
    """Outbox rows as they are committed. All calls on the event loop; rows must come in rising order."""

    def __init__(self, keep: int = 2000, most_clients: int = 200) -> None:
        self.closed = False
        self.last: int | None = None  # the newest row published so far
        self._rows: deque[OutboxRow] = deque()
        self._keep = keep
        self._floor: int | None = None  # every published row after it is in the ring
        self._most_clients = most_clients
        self._clients: set[Listener] = set()

    @property
    def clients(self) -> int:
        """How many listen now."""
        return len(self._clients)

    def publish(self, rows: Sequence[OutboxRow]) -> None:
        """Rows that were just committed: wakes every listener."""
        if not rows:
            return
        if self._floor is None:
            self._floor = rows[0].seq - 1
        self._rows.extend(rows)
        while len(self._rows) > self._keep:
            self._floor = self._rows.popleft().seq
        self.last = rows[-1].seq
        self._wake()

    def after(self, seq: int, limit: int) -> list[OutboxRow] | None:
        """The rows after `seq`, oldest first; None if the ring does not reach back that far."""
        if self._floor is None or seq < self._floor:
            return None
        behind = next((n for n, row in enumerate(reversed(self._rows)) if row.seq <= seq), len(self._rows))
        first = len(self._rows) - behind
        return list(islice(self._rows, first, first + limit))

    def listen(self) -> Listener | None:
        """A new client's place; None if there are too many, or the collector is stopping."""
        if self.closed or len(self._clients) >= self._most_clients:
            return None
        listener = Listener(self)
        self._clients.add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """The client is gone."""
        self._clients.discard(listener)

    def close(self) -> None:
        """End every stream: the collector is stopping."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        for listener in self._clients:
            listener.news.set()


class Listener:
    """One client's place in the hub. Use as a context manager: leaving it frees the place."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.news = asyncio.Event()

    def __enter__(self) -> Listener:
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
