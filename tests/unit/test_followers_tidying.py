"""The thread that lets the store put itself in order."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from collector.core.readings import Readings, SeriesKey, SeriesTable
from collector.followers.tidying import Tidying
from collector.store.base import Ledger, StoreError
from collector.store.duckdb import open_store


def test_a_day_that_is_over_is_closed_while_the_collector_runs(tmp_path: Path) -> None:
    table = SeriesTable()
    store = open_store("duckdb:", tmp_path, table, 64_000_000, few=1)
    when = np.array([1_764_000_000 * 10**9])
    number = np.array([table.number(SeriesKey("s", "d", "m"))], np.int32)
    store.commit(Readings(number, when, np.ones(1), np.zeros(1, np.uint8), when), [], Ledger(1))
    tidying = Tidying(store, every=0.01)
    threading.Thread(target=tidying.run, daemon=True).start()
    until = time.monotonic() + 20
    while not store.usage()[-1].rows and time.monotonic() < until:
        time.sleep(0.01)
    tidying.stop()
    store.close()
    assert len(list(tmp_path.glob("parts/*.duckdb"))) == 3


class Failing:
    """A store whose disk is full."""

    def __init__(self) -> None:
        self.asked = 0
        self.enough = threading.Event()

    def tidy(self, now: int) -> None:
        self.asked += 1
        if self.asked > 3:
            self.enough.set()
        raise StoreError("no space", permanent=False)


def test_what_fails_is_told_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    store = Failing()
    tidying = Tidying(store, every=0.01)  # type: ignore[arg-type]
    with caplog.at_level(logging.ERROR):
        threading.Thread(target=tidying.run, daemon=True).start()
        assert store.enough.wait(10)
        tidying.stop()
    assert [record.getMessage() for record in caplog.records] == [
        "store: what is over cannot be closed (no space); it is tried again"
    ]
