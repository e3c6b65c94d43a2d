"""Whose silence is too long, of the devices that are in no alarm: looked for in columns, a span at a time.

Nothing is kept per device. A deadline only ever moves away as its device is heard; so a look through the
columns finds all that can fall within the next seconds, and only those are looked at one by one.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np

from collector.alarms.field import Field

SPAN = 5 * 10**9
"""How far a look reaches, ns."""


class Due(NamedTuple):
    """A silence that may be too long at a time (epoch ns): of a device, by its rule in a row of the field."""

    deadline: int
    unit: int
    row: int


class Vigil:
    """The silences that end soonest. `floor` is from when on any silence counts."""

    def __init__(self) -> None:
        self._near: list[Due] = []  # a heap; each may have moved away since
        self._horizon = 0  # all that fall before it are in the heap

    def soonest(self, field: Field, floor: int, until: int) -> Due | None:
        """The first that holds by what is known now, if it falls up to `until`."""
        while True:
            while self._near and self._near[0].deadline <= until:
                due = self._near[0]
                deadline = field.deadline(due.row, due.unit, floor)
                if deadline == due.deadline:
                    return due
                heapq.heappop(self._near)
                if deadline is not None and deadline < self._horizon:
                    heapq.heappush(self._near, due._replace(deadline=deadline))
            if until < self._horizon:
                return None
            self._look(field, floor, until + SPAN)

    def beyond(self, deadline: int) -> bool:
        """Whether a silence that ends then is found by a later look: nothing need be added for it."""
        return deadline >= self._horizon

    def add(self, field: Field, floor: int, unit: int) -> int | None:
        """Wait for one more device from now on; returns its soonest deadline."""
        found = None
        for row in range(len(field.stale)):
            deadline = field.deadline(row, unit, floor)
            if deadline is None:
                continue
            found = deadline if found is None else min(found, deadline)
            if deadline < self._horizon:
                heapq.heappush(self._near, Due(deadline, unit, row))
        return found

    def _look(self, field: Field, floor: int, horizon: int) -> None:
        self._horizon, self._near = horizon, []
        for row in range(len(field.stale)):
            deadlines = field.deadlines(row, floor)
            units = np.flatnonzero(deadlines < horizon)
            found = zip(deadlines[units].tolist(), units.tolist(), strict=True)
            self._near += [Due(deadline, unit, row) for deadline, unit in found]
        heapq.heapify(self._near)
