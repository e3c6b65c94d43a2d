"""Whoever tries again waits longer each time, never for ever, and never in step with others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from devices.backoff import Backoff

BACKOFF = Backoff(0.5, 30.0)


@given(st.integers(min_value=0))
def test_a_wait_is_bounded_however_often_it_failed(failures: int) -> None:
    full = min(30.0, 0.5 * 2.0 ** min(max(failures - 1, 0), 30))
    assert full / 2 <= BACKOFF.wait(failures) <= full


def test_a_wait_doubles_with_each_failure() -> None:
    assert BACKOFF.wait(3) >= 1.0 >= BACKOFF.wait(2) >= 0.5 >= BACKOFF.wait(1)


def test_two_who_failed_together_do_not_come_back_together() -> None:
    assert len({BACKOFF.wait(20) for _ in range(20)}) > 1
