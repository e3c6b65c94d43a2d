"""Folding raw readings into buckets: however the stretches are cut, as if they were one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.store.base import Aggregate
from collector.store.server.folding import fold

READINGS = st.dictionaries(st.integers(0, 300), st.floats(-1e6, 1e6).map(lambda x: x + 0.0), max_size=80)


@given(
    readings=READINGS,
    cuts=st.lists(st.integers(0, 80), max_size=5),
    step=st.integers(1, 120),
    limit=st.integers(1, 40),
    agg=st.sampled_from(["mean", "min", "max", "last", "count"]),
)
def test_the_cuts_do_not_show(
    readings: dict[int, float], cuts: list[int], step: int, limit: int, agg: Aggregate
) -> None:
    rows = sorted(readings.items())
    time, value = np.array([t for t, _ in rows], np.int64), np.array([v for _, v in rows], np.float64)
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    parts = [(time[a:b], value[a:b]) for a, b in itertools.pairwise(edges)]
    buckets: dict[int, list[float]] = {}
    for t, v in rows:
        buckets.setdefault(t // step * step, []).append(v)
    reduce = {
        "mean": lambda vs: math.fsum(vs) / len(vs),
        "min": min,
        "max": max,
        "last": lambda vs: vs[-1],
        "count": len,
    }[agg]
    want = [(t, reduce(vs)) for t, vs in buckets.items()][:limit]
    got = fold(parts, step, agg, limit)
    assert [t for t, _ in got] == [t for t, _ in want]
    assert [v for _, v in got] == pytest.approx([v for _, v in want], rel=1e-9, abs=1e-6)


def test_huge_values_have_a_mean_and_reading_stops_where_it_may() -> None:
    def parts():
        yield np.array([0, 1], np.int64), np.array([1.5e308, 1.5e308])
        yield np.array([2, 10], np.int64), np.array([1.5e308, 1.0])
        pytest.fail("it read on")

    assert fold(parts(), 10, "mean", 1) == [(0, pytest.approx(1.5e308))]
