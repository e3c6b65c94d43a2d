"""When it will be full: a robust slope of what was measured, and the retention that will stop the growth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

DAY_NS = 86_400 * 10**9
_LEAST_NS = DAY_NS // 4
_MOST = 400  # points that a slope is taken of


@dataclass(frozen=True, slots=True)
class Growing:
    """Something that grows by `a_day` bytes, until `stops` days from now; None: for ever."""

    a_day: float
    stops: float | None = None


def slope(times: Sequence[int], sizes: Sequence[float]) -> float | None:
    """Bytes a day: the median of the slopes between all pairs (Theil and Sen), of times in epoch ns.

    Three of ten points may be wild without harm. None until a quarter of a day has been measured.
    """
    if len(times) < 3 or times[-1] - times[0] < _LEAST_NS:
        return None
    step = -(-len(times) // _MOST)
    when = (np.array(times[::-step], np.float64) - times[0]) / DAY_NS
    size = np.array(sizes[::-step], np.float64)
    a, b = np.triu_indices(len(when), 1)
    apart = when[a] - when[b]
    fair = apart > 0
    return float(np.median((size[a] - size[b])[fair] / apart[fair])) if fair.any() else None


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
