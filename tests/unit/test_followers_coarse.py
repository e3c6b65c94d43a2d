"""A store of milliseconds: what falls into one millisecond of a series is one reading, and is asked for."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from collector.core.readings import Readings
from collector.followers.coarse import coarse
from collector.ingest.dating import Dated

MS = 1_000_000
NEVER = np.iinfo(np.int64).min


def dated(rows: list[tuple[int, int]], last: list[int]) -> Dated:
    """Rows of (series, time), with `newer` as Dating would say."""
    newest, newer = list(last), []
    for series, time in rows:
        newer.append(time > newest[series])
        newest[series] = max(time, newest[series])
    n = len(rows)
    readings = Readings(
        np.array([series for series, _ in rows], np.int32),
        np.array([time for _, time in rows], np.int64),
        np.zeros(n),
        np.zeros(n, np.uint8),
        np.zeros(n, np.int64),
    )
    return Dated(readings, np.arange(n), np.array(newer, np.bool_), np.zeros(n, np.bool_), [])


TIMES = st.integers(0, 5 * MS).map(lambda t: t + 1_764_000_000_000 * MS)


@given(
    rows=st.lists(st.tuples(st.integers(0, 2), TIMES), max_size=30),
    last=st.lists(st.one_of(st.just(NEVER), TIMES), min_size=3, max_size=3),
)
def test_newer_means_newer_than_all_before_at_that_resolution(
    rows: list[tuple[int, int]], last: list[int]
) -> None:
    given_rows = dated(rows, last)
    got = coarse(given_rows, np.array(last, np.int64), MS)
    want = dated([(s, t // MS * MS) for s, t in rows], [t if t == NEVER else t // MS * MS for t in last])
    assert got.newer.tolist() == want.newer.tolist()
    assert got.readings.time.tolist() == want.readings.time.tolist()


def test_a_store_of_nanoseconds_gets_the_very_same() -> None:
    batch = dated([(0, 5), (0, 6)], [NEVER])
    assert coarse(batch, np.array([NEVER]), 1) is batch
