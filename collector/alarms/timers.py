"""Timers: deadlines in order, soonest first. Whoever set one is called back with its key.

A timer is not taken back or put off when its reason changes: its owner is asked when it comes up.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import NamedTuple, Protocol

NEVER = 2**63 - 1
Key = tuple[str, ...]
"""What a timer is for, in its owner's words. Names, never numbers: the same in every process."""


class Due(NamedTuple):
    """A timer. Those of the same deadline (epoch ns) fall in the order of rank, key and owner."""

    deadline: int
    rank: int
    key: Key
    owner: str


class Owner(NamedTuple):
    """Who sets timers.

    `still(key, deadline)` gives the deadline of a timer as it is known now: the same, a later one, or None if
    it is void. `fire(key, deadline, offset)` lets it pass; `offset` is the record before which it falls.
    """

    still: Callable[[Key, int], int | None]
    fire: Callable[[Key, int, int], None]


class Lookout(Protocol):
    """Finds deadlines that are too many to have a timer each."""

    def soonest(self, until: int) -> int | None:
        """The first that falls up to `until`, as is known now."""

    def set_timers(self, until: int) -> None:
        """Set a timer for each that falls up to `until`."""


class TimerQueue:
    """All timers, and who owns them by name."""

    def __init__(self) -> None:
        self.owners: dict[str, Owner] = {}
        self.lookouts: list[Lookout] = []
        self.earliest = NEVER
        """The soonest deadline that came up since somebody last set this to NEVER."""
        self._heap: list[Due] = []

    def set(self, deadline: int, owner: str, key: Key, rank: int = 1) -> None:
        """Set a timer. Rank 0 is for what explains others of the same deadline."""
        heapq.heappush(self._heap, Due(deadline, rank, key, owner))
        self.earliest = min(self.earliest, deadline)

    def clear(self) -> None:
        """Forget all."""
        self._heap = []

    def soonest(self, until: int) -> int | None:
        """The soonest deadline up to `until`, as is known now."""
        first = self._first(until)
        for lookout in self.lookouts:
            found = lookout.soonest(until if first is None else first)
            first = first if found is None else found
        return first

    def fire(self, until: int, offset: int) -> None:
        """Let every deadline up to `until` pass, each at its own time."""
        self._look(until)
        while self._first(until) is not None:
            due = heapq.heappop(self._heap)
            self.owners[due.owner].fire(due.key, due.deadline, offset)
            self._look(until)

    def _look(self, until: int) -> None:
        for lookout in self.lookouts:
            lookout.set_timers(until)

    def _first(self, until: int) -> int | None:
        """The soonest in the heap; those that are void are dropped, others put off."""
        while self._heap and self._heap[0].deadline <= until:
            due = self._heap[0]
            deadline = self.owners[due.owner].still(due.key, due.deadline)
            if deadline == due.deadline:
                return deadline
            heapq.heappop(self._heap)
            if deadline is not None:
                heapq.heappush(self._heap, due._replace(deadline=deadline))
        return None
