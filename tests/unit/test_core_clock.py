"""The collector's clock never turns back and never stands still, whatever the machine's clocks do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.core.clock import JUMP, Clock

S = 10**9
WALL = 1_764_000_000 * S


@given(
    last=st.integers(0, 2 * WALL),
    steps=st.lists(st.tuples(st.integers(-WALL, WALL), st.integers(0, 100 * S)), min_size=1, max_size=30),
)
def test_time_rises_strictly_and_never_lags_the_wall(last: int, steps: list[tuple[int, int]]) -> None:
    clock, wall, mono, before = Clock(last), WALL, 0, last
    for step, passed in steps:
        wall, mono = max(0, wall + step), mono + passed
        now = clock.at(wall, mono)
        assert now > before
        assert now >= wall
        before = now


def test_it_follows_a_steady_wall() -> None:
    clock = Clock()
    assert [clock.at(WALL + n * S, n * S) for n in range(5)] == [WALL + n * S for n in range(5)]
    assert clock.jumped == 0


def test_after_a_step_back_time_goes_on_at_half_pace_until_the_wall_has_caught_up() -> None:
    clock = Clock()
    clock.at(WALL, 0)
    assert clock.at(WALL - 10 * S, 2 * S) == WALL + S
    assert clock.at(WALL, 12 * S) == WALL + 6 * S
    assert clock.at(WALL + 12 * S, 24 * S) == WALL + 12 * S
    assert clock.at(WALL + 13 * S, 25 * S) == WALL + 13 * S
    assert clock.jumped == 0


def test_it_begins_after_the_journals_last_stamp_though_the_wall_is_behind() -> None:
    clock = Clock(WALL + 3600 * S)
    first = clock.at(WALL, 0)
    assert first == WALL + 3600 * S + 1
    assert clock.at(WALL, 0) == first + 1


def test_a_leap_ahead_is_told_once() -> None:
    clock = Clock()
    clock.at(WALL, 0)
    clock.at(WALL + 100 * S, S)
    assert clock.jumped == 99 * S
    clock.jumped = 0
    clock.at(WALL + 101 * S, 2 * S)
    assert clock.jumped == 0


def test_a_small_step_ahead_and_a_first_look_are_no_leap() -> None:
    clock = Clock(1)
    clock.at(WALL, 0)
    clock.at(WALL + JUMP, 0)
    assert clock.jumped == 0


def test_the_machines_own_clocks_drive_it() -> None:
    clock = Clock()
    seen = [clock.now() for _ in range(1000)]
    assert seen == sorted(set(seen))
