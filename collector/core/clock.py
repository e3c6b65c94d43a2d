"""The collector's clock: follows the wall, never turns back, never stands still."""

from __future__ import annotations

import time
from dataclasses import dataclass

JUMP = 5_000_000_000
"""A forward step of the wall clock beyond this (ns, against the monotonic one) is told as a jump."""


@dataclass(slots=True)
class Clock:
    """Strictly rising epoch nanoseconds.

    Where the wall clock has stepped back (or the journal's last stamp lies ahead of it) time goes on at half
    the monotonic pace until the wall has caught up: timers slow down, but never stall and never fire twice.
    """

    last: int = 0
    jumped: int = 0  # ns that the wall leapt ahead since `leap` was last asked
    ahead: int = 0  # ns that the last time given was ahead of the wall
    _mono: int | None = None

    def now(self) -> int:
        """The present."""
        return self.at(time.time_ns(), time.monotonic_ns())

    def at(self, wall: int, mono: int) -> int:
        """The present, given what the two clocks of the machine say."""
        passed = 0 if self._mono is None else max(0, mono - self._mono)
        if self._mono is not None and wall - self.last > passed + JUMP:
            self.jumped += wall - self.last - passed
        self._mono = mono
        self.last = max(wall, self.last + max(1, passed // 2))
        self.ahead = self.last - wall
        return self.last

    def leap(self) -> int:
        """How far (ns) the wall has leapt ahead since this was last asked."""
        leap, self.jumped = self.jumped, 0
        return leap
