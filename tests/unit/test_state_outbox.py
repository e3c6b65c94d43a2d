"""Consumers read the outbox at their own pace; it is pruned, but not under them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.alarms.model import Alert, Transition
from collector.state import State

DAY = 86_400 * 10**9
NOW = 1_764_000_000 * 10**9


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    state = State(tmp_path / "state.db")
    yield state
    state.close()


def tell(state: State, how_many: int, at: int = NOW) -> None:
    start = state.cursor()
    alert = Alert("a", "r", "v", "s", "d", "m", "major", "active", at, 1.0, count=1)
    told = [Transition("raised", at, start + i, alert) for i in range(how_many)]
    state.commit(start + how_many, told, lambda _: {"en": "x"})


def test_rows_are_read_in_order_from_where_one_left_off(state: State) -> None:
    tell(state, 5)
    assert [row.seq for row in state.outbox(0)] == [1, 2, 3, 4, 5]
    assert [row.seq for row in state.outbox(2, limit=2)] == [3, 4]
    assert state.outbox(5) == []
    assert state.outbox_bounds() == (1, 5)


def test_a_new_consumer_begins_with_what_comes(state: State) -> None:
    tell(state, 3)
    assert state.consumer("webhook").seq == 3
    tell(state, 1)
    assert [row.seq for row in state.outbox(state.consumer("webhook").seq)] == [4]


def test_a_new_consumer_may_begin_where_it_likes(state: State) -> None:
    tell(state, 3)
    assert state.consumer("log", start=1).seq == 1
    assert state.consumer("log", start=0).seq == 1


def test_a_consumer_never_goes_back_and_outlives_a_restart(state: State, tmp_path: Path) -> None:
    tell(state, 5)
    state.consumed("log", 4)
    state.consumed("log", 2)
    state.close()
    assert State(tmp_path / "state.db").consumer("log").seq == 4


def test_pruning_leaves_what_a_consumer_has_not_read(state: State) -> None:
    tell(state, 10)
    state.consumed("log", 10)
    state.consumed("webhook", 4)
    assert state.prune_outbox(NOW, keep=0) == 4
    assert state.outbox_bounds() == (5, 10)
    state.keep_consumers(["log"])
    assert state.prune_outbox(NOW, keep=2) == 4
    assert state.outbox_bounds() == (9, 10)


def test_pruning_never_leaves_more_than_the_cap(state: State) -> None:
    tell(state, 10)
    state.consumer("dead", start=0)
    assert state.prune_outbox(NOW, keep=0, cap=3) == 7
    assert state.outbox_bounds() == (8, 10)


def test_pruning_goes_by_age_too(state: State) -> None:
    tell(state, 3, at=NOW - 8 * DAY)
    tell(state, 3, at=NOW)
    assert state.prune_outbox(NOW) == 3
    assert state.outbox_bounds() == (4, 6)


def test_a_number_is_never_given_twice_even_when_all_is_pruned(state: State, tmp_path: Path) -> None:
    tell(state, 3)
    state.prune_outbox(NOW, keep=0)
    assert state.outbox_bounds() == (4, 3)
    state.close()
    again = State(tmp_path / "state.db")
    tell(again, 1)
    assert [row.seq for row in again.outbox(0)] == [4]
    again.close()
