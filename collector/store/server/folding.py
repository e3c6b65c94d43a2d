"""Raw readings of one series, in time's order, folded into buckets: for what a server cannot fold itself."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from collector.core.readings import F64, I64
from collector.store.base import Aggregate

_SMALL = 2.0**-64
"""The sum of large finite values may overflow where their mean does not: then it is taken at this scale."""


def fold(parts: Iterable[tuple[I64, F64]], step: int, agg: Aggregate, limit: int) -> list[tuple[int, float]]:
    """The first `limit` non-empty buckets (start, value); they begin at multiples of `step` since the epoch.

    `parts` are stretches of (times, values), rising throughout; they are read no further than needed.
    """
    out: list[tuple[int, float]] = []
    starts: I64 = np.empty(0, np.int64)
    held: list[F64] = []  # by bucket: count, sum, small sum, least, most, last
    for time, value in parts:
        if not len(time):
            continue
        bucket = time // step * step
        first = np.flatnonzero(np.append(True, bucket[1:] != bucket[:-1]))
        fresh = _sums(value, first)
        if len(starts) and starts[-1] == bucket[0]:
            fresh = _merged(held, fresh)
        elif len(starts):
            out += _points(starts[-1:], [column[-1:] for column in held], agg)
        starts, held = bucket[first], fresh
        out += _points(starts[:-1], [column[:-1] for column in held], agg)
        if len(out) >= limit:
            return out[:limit]
    if len(starts):
        out += _points(starts[-1:], [column[-1:] for column in held], agg)
    return out[:limit]


def _sums(value: F64, first: np.ndarray[tuple[int], np.dtype[np.intp]]) -> list[F64]:
    ends = np.append(first[1:], len(value))
    with np.errstate(over="ignore"):
        return [
            (ends - first).astype(np.float64),
            np.add.reduceat(value, first),
            np.add.reduceat(value * _SMALL, first),
            np.minimum.reduceat(value, first),
            np.maximum.reduceat(value, first),
            value[ends - 1],
        ]


def _merged(held: list[F64], fresh: list[F64]) -> list[F64]:
    """The first fresh bucket goes on with the last one held."""
    count, total, small, least, most, last = fresh
    with np.errstate(over="ignore"):
        for column, before in ((count, held[0]), (total, held[1]), (small, held[2])):
            column[0] += before[-1]
    least[0], most[0] = min(least[0], held[3][-1]), max(most[0], held[4][-1])
    return [count, total, small, least, most, last]


def _points(starts: I64, columns: list[F64], agg: Aggregate) -> list[tuple[int, float]]:
    count, total, small, least, most, last = columns
    mean = np.where(np.isfinite(total), total / count, small / count / _SMALL)
    value = {"mean": mean, "min": least, "max": most, "last": last, "count": count}[agg]
    return list(zip(starts.tolist(), value.tolist(), strict=True))
