"""A first import of history: thousands of days by a few readings each; the readings of others go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from collector.core.readings import Readings, SeriesKey, SeriesTable
from collector.store.base import Ledger, StoreError
from collector.store.duckdb import DuckStore, open_store
from collector.store.tiers import DAY, NS

TODAY = 20_770
NOW = TODAY * DAY + 12 * 3_600 * NS
OLD = SeriesKey("1305012001", "river-1", "level_cm")
NEIGHBOURS = [SeriesKey("1305012002", f"rtr-{n}", "latency_ms") for n in range(40)]
MEMORY = 64_000_000
"""Half of what a machine of 2 GB gives the store."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DuckStore]:
    store = open_store("duckdb:", tmp_path, SeriesTable(), MEMORY)
    yield store
    store.close()


class Sending:
    """Commits readings, and keeps the account of them."""

    def __init__(self, store: DuckStore) -> None:
        self.store, self.ledger = store, Ledger()
        self.kept: dict[SeriesKey, dict[int, float]] = {}

    def commit(self, *readings: tuple[SeriesKey, int, float], received: int = NOW) -> None:
        number = self.store._table.number
        rows = Readings(
            np.array([number(key) for key, _, _ in readings], np.int32),
            np.array([when for _, when, _ in readings], np.int64),
            np.array([value for _, _, value in readings]),
            np.zeros(len(readings), np.uint8),
            np.full(len(readings), received),
        )
        n = len(readings)
        next_ = Ledger(self.ledger.cursor + 1, self.ledger.messages + 1, self.ledger.stored + 1)
        next_.values = self.ledger.values + n
        self.ledger = self.store.commit(rows, [], next_)
        for key, when, value in readings:
            self.kept.setdefault(key, {})[when] = value

    def neighbours(self, second: int) -> None:
        self.commit(*((key, NOW + second * NS, float(second)) for key in NEIGHBOURS))

    def history(self, first: int, days: int) -> list[tuple[SeriesKey, int, float]]:
        """One reading a day, so many days up to yesterday less `first`."""
        return [(OLD, (TODAY - 1 - first - n) * DAY + 7 * 3_600 * NS, n / 4) for n in range(days)]


def all_there(sending: Sending, store: DuckStore) -> bool:
    for key, kept in sending.kept.items():
        if store.points(key, 0, 2**62, None, "mean", 10**6) != sorted(kept.items()):
            return False
        days = store.points(key, 0, 2**62, DAY, "count", 10**6)
        if sum(count for _, count in days) != len(kept):
            return False
    return store.ledger() == sending.ledger and sending.ledger.values == sum(map(len, sending.kept.values()))


def on_disk(folder: Path) -> tuple[int, int]:
    """Files and bytes."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return len(files), sum(file.stat().st_size for file in files)


def test_thousands_of_old_days_by_one_reading_hold_up_nobody(store: DuckStore, tmp_path: Path) -> None:
    sending = Sending(store)
    sending.neighbours(0)
    sending.commit(*sending.history(0, 2_500))
    sending.neighbours(1)
    sending.commit(*sending.history(2_500, 500))
    for second in range(2, 30):
        sending.neighbours(second)
        sending.commit(*sending.history(3_000 + second, 1))  # one day more in each
    tidying = threading.Thread(target=store.tidy, args=(NOW + 2 * 3_600 * NS,))
    tidying.start()
    second = 30
    while tidying.is_alive() or second < 40:
        sending.neighbours(second)
        second += 1
        time.sleep(0.01)
    assert all_there(sending, store)
    files, size = on_disk(tmp_path)
    print(f"{files} files, {size / 1e6:.1f} MB")
    assert files <= 40
    assert size <= 8_000_000


def test_what_comes_again_is_found_in_all_its_days(store: DuckStore) -> None:
    sending = Sending(store)
    rows = sending.history(0, 2_500)
    sending.commit(*rows)
    store.tidy(NOW + 2 * 3_600 * NS)
    number = store._table.number(OLD)
    when = np.array([when for _, when, _ in rows] * 2)
    when[2_500:] += 1
    there, value = store.find(np.full(len(when), number, np.int32), when)
    assert there.tolist() == [True] * 2_500 + [False] * 2_500
    assert value[:2_500].tolist() == [value for _, _, value in rows]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[DuckStore]:
    """Ten readings are enough for a file."""
    store = open_store("duckdb:", tmp_path, SeriesTable(), MEMORY, few=10)
    yield store
    store.close()


def test_of_thirty_two_days_those_with_few_readings_share_their_files(
    small: DuckStore, tmp_path: Path
) -> None:
    sending = Sending(small)
    sending.neighbours(0)
    sending.commit(*sending.history(0, 200))
    busy = [(OLD, (TODAY - 40) * DAY + n * NS, n / 8) for n in range(30)]
    sending.commit(*busy)
    small.tidy(NOW + 2 * 3_600 * NS)
    names = sorted(file.name for file in (tmp_path / "parts").iterdir())
    shared = [name for name in names if name.startswith("raw-shared-")]
    own = [name for name in names if name.startswith("raw-") and name not in shared]
    assert own == [f"raw-{TODAY - 40}-1.duckdb"]
    assert 6 <= len(shared) <= 7
    assert all_there(sending, small)
    sending.commit(*((OLD, when + 1, value) for _, when, value in sending.history(0, 200)))
    small.tidy(NOW + 4 * 3_600 * NS)
    assert len(list((tmp_path / "parts").iterdir())) <= len(names) + 3, "of 32 days more that had too few"
    assert all_there(sending, small)
    assert sum(len(piece) for piece in small.scan(0, 2**62)) == 470


def test_what_is_older_than_its_retention_goes_day_by_day_and_its_roll_ups_stay(store: DuckStore) -> None:
    sending = Sending(store)
    sending.neighbours(0)
    sending.commit(*sending.history(0, 300))
    before = (TODAY - 100) * DAY
    store.shed("raw", before)
    raw = store.points(OLD, before, 2**62, None, "mean", 999)
    assert (len(raw), raw.tier) == (100, "raw")
    assert store.usage()[0].oldest == before + 7 * 3_600 * NS
    for _ in range(2):
        assert store.points(OLD, 0, before, 3_600 * NS, "count", 999) == [
            (when, 1.0) for _, when, _ in sorted(sending.history(100, 200))
        ]
        store.tidy(NOW + 2 * 3_600 * NS)
    assert store.usage()[2].rows >= 160, "the roll-ups have files of their own now"
    store.shed("minute", before)
    assert len(store.points(OLD, 0, before, None, "mean", 999)) == 200


def test_a_killed_collector_has_all_of_it_again(tmp_path: Path) -> None:
    first = open_store("duckdb:", tmp_path, SeriesTable(), MEMORY, few=10)
    sending = Sending(first)
    sending.commit(*sending.history(0, 200))
    sending.store.tidy(NOW + 2 * 3_600 * NS)
    sending.commit(*sending.history(200, 5), *sending.history(300, 20))
    first.close()
    again = open_store("duckdb:", tmp_path, SeriesTable(), MEMORY, few=10)
    assert again.set_aside == []
    assert all_there(sending, again)
    assert again.lasts()[1].tolist() == [max(sending.kept[OLD])]
    again.close()


def test_memory_that_does_not_suffice_is_emptied_before_the_next_try(store: DuckStore) -> None:
    sending = Sending(store)
    sending.neighbours(0)
    with store._borrowed(pinned=False) as (con, _):
        con.execute("set memory_limit = '300kB'")
    with pytest.raises(StoreError) as said:
        sending.commit(*((OLD, NOW + n, float(n)) for n in range(200_000)))
    assert not said.value.permanent
    sending.neighbours(1)
    assert all_there(sending, store)


def test_old_readings_keep_coming_while_those_before_them_are_put_away(small: DuckStore) -> None:
    sending = Sending(small)
    sending.neighbours(0)
    sending.commit(*sending.history(0, 90))
    wrong: list[BaseException] = []

    def tidy() -> None:
        try:
            for hour in range(2, 4):
                small.tidy(NOW + hour * 3_600 * NS)
        except BaseException as error:
            wrong.append(error)

    tidying = threading.Thread(target=tidy)
    tidying.start()
    round_ = 0
    while tidying.is_alive() or round_ < 5:
        round_ += 1
        more = ((OLD, when + round_, value) for _, when, value in sending.history(0, 90)[::7])
        sending.commit(*more, received=NOW + 5 * 3_600 * NS)
        sending.neighbours(round_)
        time.sleep(0.01)
    assert not wrong
    assert all_there(sending, small)
    number = small._table.number(OLD)
    there, _ = small.find(
        np.full(len(sending.kept[OLD]), number, np.int32), np.array([*sending.kept[OLD]], np.int64)
    )
    assert there.all()
