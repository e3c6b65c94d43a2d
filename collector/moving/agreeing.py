"""Whether a collector has all that was sent: asked series by series, day by day."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from collector.moving.survey import DAY_MS, Series

Count = Callable[[Series, int, int], Mapping[int, int]]
"""Of a series, from and to (epoch ms): how many readings are stored, by day since 1970."""


@dataclass(frozen=True, slots=True)
class Short:
    """A day (since 1970) of a series of which the collector has fewer readings than were sent."""

    series: Series
    day: int
    sent: int
    stored: int


def short(sent: Mapping[Series, Counter[int]], count: Count) -> list[Short]:
    """What is missing. (More may be stored than was sent: a device speaks for itself, too.)"""
    found = []
    for series, days in sent.items():
        stored = count(series, min(days) * DAY_MS, (max(days) + 1) * DAY_MS)
        found += [
            Short(series, day, wanted, stored.get(day, 0))
            for day, wanted in sorted(days.items())
            if stored.get(day, 0) < wanted
        ]
    return found


def wait(
    stats: Callable[[], Mapping[str, int]],
    received: int,
    tell: Callable[[str], None],
    patience: float,
    pause: float = 0.25,
) -> Mapping[str, int]:
    """The accounts, once the collector has received so many messages and stored them, or stands still.

    It stands still when for `patience` seconds neither changes.
    """
    seen, since = (-1, -1), time.monotonic()
    while True:
        now = stats()
        left = max(received - now["received"], 0), now["in_flight"]
        if left == (0, 0) or (left == seen and time.monotonic() - since > patience):
            return now
        if left != seen:
            seen, since = left, time.monotonic()
        tell(f"waiting for the collector: {left[0] + left[1]:,} messages")
        time.sleep(pause)
