"""Signals that devices measure: noise, and the rhythms of day and week. Pure functions of time, seeded."""

from __future__ import annotations

import math
from random import Random

from devices.hours import DAY, Hours


class Drift:
    """Slow noise between -1 and 1: random knots every `period` seconds, a smooth curve between them."""

    def __init__(self, key: str, period: float) -> None:
        self._key = key
        self._period = period
        self._knots: dict[int, float] = {}

    def __call__(self, second: float) -> float:
        """Its value at a second from the start."""
        place = second / self._period
        left = math.floor(place)
        share = place - left
        share = share * share * (3 - 2 * share)
        return self._knot(left) * (1 - share) + self._knot(left + 1) * share

    def _knot(self, number: int) -> float:
        found = self._knots.get(number)
        if found is None:
            if len(self._knots) > 64:
                self._knots.clear()
            found = self._knots[number] = Random(f"{self._key}/{number}").uniform(-1.0, 1.0)  # noqa: S311
        return found


def bump(hour: float, centre: float, width: float) -> float:
    """A hill of height 1 around `centre` o'clock, `width` hours to either side, across midnight."""
    away = abs((hour - centre + 12.0) % 24.0 - 12.0)
    return 0.5 + 0.5 * math.cos(math.pi * away / width) if away < width else 0.0


def sunshine(second_of_week: float) -> float:
    """From 0 at night to 1 in the early afternoon: near the equator every day is alike."""
    return bump(second_of_week % DAY / 3600.0, 13.5, 8.0)


def office(second_of_week: float, hours: Hours) -> float:
    """How busy an office is, 0 to 1: two humps within its hours, a lull at noon."""
    hour = second_of_week % DAY / 3600.0
    if hours.always:
        return 0.45 + 0.35 * bump(hour, 10.5, 5.0) + 0.2 * bump(hour, 19.5, 4.0)
    if not hours.open(second_of_week):
        return 0.05
    return 0.35 + 0.6 * max(bump(hour, 10.0, 2.5), bump(hour, 14.2, 2.2))


def village(second_of_week: float) -> float:
    """How busy a village's network is, 0 to 1: children after school, everybody after evening prayers."""
    hour = second_of_week % DAY / 3600.0
    weekend = 0.12 if second_of_week >= 5 * DAY else 0.0
    return min(1.0, 0.08 + weekend + 0.3 * bump(hour, 15.0, 4.0) + 0.62 * bump(hour, 20.5, 3.5))
