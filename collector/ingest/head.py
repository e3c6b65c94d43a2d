"""The journal's newest batches, in memory, for all followers that keep up."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

from collector.core.records import Batch

NOWHERE = 2**63 - 1


class Head:
    """Batches in a row, the oldest dropped beyond `most` bytes. The journal guards it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._batches: deque[Batch] = deque()

    def push(self, batch: Batch) -> None:
        """Add the newest."""
        self._batches.append(batch)
        self._size += batch.size
        while self._size > self._most and len(self._batches) > 1:
            self._size -= self._batches.popleft().size

    def at(self, cursor: int) -> Batch | None:
        """The batch that begins there."""
        index = bisect_right(self._batches, cursor, key=_start) - 1
        found = self._batches[index] if index >= 0 else None
        return found if found is not None and found.start == cursor else None

    def next_start(self, cursor: int) -> int:
        """Where the first batch after that offset begins; NOWHERE if there is none."""
        index = bisect_right(self._batches, cursor, key=_start)
        return self._batches[index].start if index < len(self._batches) else NOWHERE


def _start(batch: Batch) -> int:
    return batch.start
