"""When it will be full: a robust slope of what was measured, and the retention that will stop the growth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

DAY_NS = 86_400 * 10**9
_APART = 1 / 3
_MOST = 400  # points that a slope is taken of


@dataclass(frozen=True, slots=True)
class Growing:
    """Something that grows by `a_day` bytes, until `stops` days from now; None: for ever."""

    a_day: float
    stops: float | None = None


def slope(along: Sequence[float], sizes: Sequence[float]) -> float | None:
    """How `sizes` rise with `along`: the median slope between pairs of points (Theil and Sen) well apart.

    Of pairs close to each other the steps in which files grow would be seen, not their growth. A few wild
    points do no harm. None for fewer than three points, or without any way between them.
    """
    if len(along) < 3:
        return None
    step = -(-len(along) // _MOST)
    when, size = (np.array(column[::-step], np.float64) for column in (along, sizes))
    a, b = np.triu_indices(len(when), 1)
    apart = when[a] - when[b]
    far = np.abs(apart).max()
    fair = np.abs(apart) >= _APART * far
    return float(np.median((size[a] - size[b])[fair] / apart[fair])) if far > 0 else None


def days_until(room: float, growing: Iterable[Growing]) -> float | None:
    """Days until `room` bytes are used up; 0 if none is left, None if it never comes to that."""
    if room <= 0:
        return 0.0
    parts = list(growing)
    at = 0.0
    for stop in sorted({part.stops for part in parts if part.stops is not None and part.stops > 0}):
        speed = _speed(parts, at)
        if speed > 0 and room <= speed * (stop - at):
            return at + room / speed
        room -= speed * (stop - at)
        at = stop
    speed = _speed(parts, at)
    return at + room / speed if speed > 0 else None


def _speed(parts: Iterable[Growing], at: float) -> float:
    return sum(part.a_day for part in parts if part.stops is None or part.stops > at)
