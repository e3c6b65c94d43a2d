"""The deadlines, soonest first. Entries are not removed: who pops one asks its target if it still holds."""

from __future__ import annotations

import heapq
from enum import IntEnum
from typing import NamedTuple


class Timer(IntEnum):
    """What a deadline is of, in the order in which ties fall."""

    SILENCE = 0
    STEP = 1  # `for` or `keep` is over
    SHELF = 2  # a shelving is over


class Entry(NamedTuple):
    """A deadline; compares by names only, never by numbers that differ between processes.

    `rank` 0 puts a publisher's silence before that of the devices behind it, which it explains.
    """

    deadline: int  # epoch ns
    rank: int
    rule: str
    site: str
    device: str
    metric: str
    timer: Timer


class Timers:
    """A heap of entries."""

    def __init__(self) -> None:
        self._heap: list[Entry] = []

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, entry: Entry) -> None:
        """Add one."""
        heapq.heappush(self._heap, entry)

    def first(self) -> Entry | None:
        """The soonest, left where it is."""
        return self._heap[0] if self._heap else None

    def pop(self) -> Entry:
        """Take the soonest."""
        return heapq.heappop(self._heap)
