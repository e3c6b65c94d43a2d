"""Every store gives back all that it keeps, in pieces and in order of time."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from collector.core.readings import Readings, SeriesKey, SeriesTable
from collector.store.base import Ledger, Store
from collector.store.server import scanning
from tests.contract.test_store import DAY, KEY, OTHER, Opener, S, opener, rows, store, table

__all__ = ["opener", "store", "table"]  # fixtures


def scanned(store: Store, start: int = 0, end: int = 2**62) -> Readings:
    pieces = list(store.scan(start, end))
    for before, after in pairwise(pieces):
        assert before.time.max() <= after.time.min()
    found = Readings.concat(pieces)
    return found.take(np.lexsort((found.series, found.time)))


def test_an_empty_store_has_nothing_to_scan(store: Store) -> None:
    assert list(store.scan(0, 2**62)) == []


def test_a_scan_gives_what_was_committed_with_its_quality_from_the_start_up_to_the_end(
    store: Store, table: SeriesTable
) -> None:
    given = rows(table, (KEY, DAY, 1.5), (OTHER, DAY + S, 2.5), (KEY, DAY + 90 * 86_400 * S, -3.25))
    given.quality[:] = (1, 0, 18)
    store.commit(given, [], Ledger(1, 1))
    found = scanned(store)
    assert found.time.tolist() == given.time.tolist()
    assert found.series.tolist() == given.series.tolist()
    assert found.value == pytest.approx(given.value, rel=max(store.tolerance, 1e-15))
    assert found.quality.tolist() == [1, 0, 18]
    assert scanned(store, DAY, DAY + S).time.tolist() == [DAY]
    assert scanned(store, DAY + 1, DAY + S + 1).time.tolist() == [DAY + S]


def test_a_scan_by_a_fresh_process_names_the_same_series(opener: Opener, tmp_path: Path) -> None:
    first = SeriesTable()
    store = opener(tmp_path, first)
    odd = SeriesKey("s", "d", "x_quality")
    store.commit(rows(first, (odd, DAY, 1.0), (SeriesKey("s", "d", "x_value"), DAY, 2.0)), [], Ledger(1, 1))
    store.close()
    other = SeriesTable()
    other.number(OTHER)
    store = opener(tmp_path, other)
    found = scanned(store)
    names = {
        other.keys[n].metric: v for n, v in zip(found.series.tolist(), found.value.tolist(), strict=True)
    }
    assert names == {"x_quality": 1.0, "x_value": 2.0}
    store.close()


def test_what_is_more_than_a_piece_holds_comes_in_several_and_whole(
    store: Store, table: SeriesTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "MOST", 700)
    several = [((KEY, OTHER)[n % 2], DAY + n // 2 * S, float(n)) for n in range(3_000) if n % 5]
    given = rows(table, *several)
    store.commit(given, [], Ledger(1, 1))
    pieces = list(store.scan(0, 2**62))
    assert sum(map(len, pieces)) == len(given)
    found = scanned(store)
    assert sorted(found.value.tolist()) == pytest.approx(sorted(given.value.tolist()), rel=1e-6)
