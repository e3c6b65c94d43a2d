"""Two simulated months on a real store against a quota: never over, nothing lost, forecast about right.

Three years of it are in `python -m tests.bench quota`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.core.readings import SeriesTable
from collector.store.base import Store
from collector.store.duckdb import open_store
from tests.bench.bench_quota import simulate

A_DAY = 43_200


@pytest.fixture
def table() -> SeriesTable:
    return SeriesTable()


@pytest.fixture
def store(tmp_path: Path, table: SeriesTable) -> Iterator[Store]:
    store = open_store("duckdb:", tmp_path, table, 64_000_000)
    yield store
    store.close()


def test_two_months_against_a_quota(tmp_path: Path, store: Store, table: SeriesTable) -> None:
    found = simulate(tmp_path, store, table, days=65, a_day=A_DAY, capacity=24_000_000, earliest=14)
    assert found.first_shed is not None
    assert found.first_shed < 60, "the quota was reached in time to matter"
    assert found.most_held <= found.capacity
    assert found.most_on_disk <= found.capacity
    assert found.holes == 0, "what is kept is kept without a gap"
    assert found.kept_days > 25
    assert found.protected_lost == 0
    assert found.errors
    assert found.worst_error <= 25, "after two weeks; with more to go by it is nearer, see the bench"
