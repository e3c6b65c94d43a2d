"""Readings counted by day: two stores agree when each day of theirs does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from collector.core.readings import Readings

DAY_NS = 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class Day:
    """A day in UTC: how many readings each of two stores has of it."""

    day: str  # 2026-11-24
    source: int
    target: int


def count(counts: Counter[int], rows: Readings) -> None:
    """Add the readings to the counts by day (days since 1970)."""
    days, many = np.unique(rows.time // DAY_NS, return_counts=True)
    for day, number in zip(days.tolist(), many.tolist(), strict=True):
        counts[day] += number


def compared(source: Mapping[int, int], target: Mapping[int, int]) -> list[Day]:
    """Every day that one of them has, in order."""
    days = sorted({*source, *target})
    return [Day(name(day * DAY_NS), source.get(day, 0), target.get(day, 0)) for day in days]


def apart(days: Iterable[Day], *, more: bool) -> list[Day]:
    """The days that do not agree. `more`: the target may have readings that the source has not."""
    return [day for day in days if day.target < day.source or (day.target > day.source and not more)]


def name(when: int) -> str:
    """The day of a time (epoch ns), in UTC."""
    return datetime.fromtimestamp(when // 10**9, UTC).strftime("%Y-%m-%d")
