"""Every store says what it keeps, or nothing; and what is shed is what is old, whole days of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collector.core.config import StoreConfig
from collector.core.readings import Readings, SeriesKey, SeriesTable
from collector.store.base import Ledger, Store, TierUsage
from collector.store.stores import open_store

DAY = 86_400 * 10**9
T0 = 20_400 * DAY
A_DAY = 12_000
KEY = SeriesKey("1305012001", "lubuk-alung-ont", "rx_dbm")


@pytest.fixture
def table() -> SeriesTable:
    return SeriesTable()


@pytest.fixture
def store(tmp_path: Path, table: SeriesTable) -> Iterator[Store]:
    store = open_store(StoreConfig(memory=64_000_000), tmp_path, table)
    yield store
    store.close()


@pytest.fixture
def victoria(request: pytest.FixtureRequest, tmp_path: Path, table: SeriesTable) -> Iterator[Any]:
    server = request.getfixturevalue("one_victoria")
    server.empty()
    store = open_store(StoreConfig(url=server.url), tmp_path, table)
    yield store, server
    store.close()


def raw(store: Store) -> TierUsage:
    return next(tier for tier in store.usage() if tier.tier == "raw")


def fill(store: Store, table: SeriesTable, days: int) -> None:
    for day in range(days):
        when = T0 + day * DAY + np.arange(A_DAY, dtype=np.int64) * (DAY // A_DAY) // 10**6 * 10**6
        rows = Readings(
            np.full(A_DAY, table.number(KEY), np.int32),
            when,
            np.random.default_rng(day).normal(-21, 1, A_DAY),
            np.zeros(A_DAY, np.uint8),
            when,
        )
        store.commit(rows, [], Ledger(day + 1, day + 1, day + 1))
    store.tidy(T0 + (days + 1) * DAY)


def test_an_empty_store_keeps_nothing_and_sheds_nothing(store: Store) -> None:
    for tier in store.usage():
        assert (tier.rows, tier.oldest, tier.newest) == (0, None, None)
    assert store.shed("raw", T0) == 0


def test_it_says_how_much_it_keeps_and_from_when(store: Store, table: SeriesTable) -> None:
    fill(store, table, 3)
    found = raw(store)
    assert (found.rows, found.oldest) == (3 * A_DAY, T0)
    assert found.newest is not None
    assert T0 + 2 * DAY < found.newest < T0 + 3 * DAY
    assert found.bytes > found.rows


def test_only_days_that_have_ended_before_are_shed(store: Store, table: SeriesTable) -> None:
    fill(store, table, 3)
    store.shed("raw", T0 + DAY - 1)
    assert raw(store).rows == 3 * A_DAY
    store.shed("raw", T0 + 2 * DAY - 1)
    assert raw(store).rows == 2 * A_DAY
    assert len(store.points(KEY, T0 + DAY, T0 + 3 * DAY, None, "mean", 10**6)) == 2 * A_DAY
    assert store.ledger() == Ledger(3, 3, 3)


def test_what_is_shed_makes_room(store: Store, table: SeriesTable) -> None:
    fill(store, table, 40)
    store.shed("raw", T0)
    before = raw(store).bytes
    freed = store.shed("raw", T0 + 39 * DAY)
    assert freed > before / 4
    assert raw(store).bytes == before - freed


def test_victoria_says_what_it_holds_and_keeps_it(victoria: Any, table: SeriesTable) -> None:
    store, server = victoria
    fill(store, table, 1)
    server.flush()
    deadline = time.monotonic() + 15  # its own figures follow within seconds
    while raw(store).rows < A_DAY:
        assert time.monotonic() < deadline, raw(store)
        time.sleep(0.2)
    assert raw(store).bytes > 0
    assert store.shed("raw", T0 + 5 * DAY) == 0
