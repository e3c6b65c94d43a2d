"""Moving a store's readings: nothing is missing, nothing is twice, whatever ends it on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core.config import StoreConfig
from collector.core.readings import Readings, SeriesKey, SeriesTable
from collector.moving import copying
from collector.moving.copying import Copied, Copy, Step
from collector.moving.distinct import distinct
from collector.store.base import Ledger, Reject, Store, StoreError
from collector.store.halfway import Halfway
from collector.store.stores import open_store
from devices.backoff import Backoff
from devices.problems import Problems
from tests.servers import VictoriaMetrics

S, MS = 10**9, 10**6
DAY = 1_764_000_000 * S
KEYS = [SeriesKey(f"s{n}", f"d{n}", metric) for n in range(5) for metric in ("rx_dbm", "loss_pct")]
LEDGER = Ledger(12_345, 900, 700, 100, 60, 40, 5_000, 3, 2)
REJECTS = [Reject(offset, DAY, "nagari/v1/a/b/tele", "no", b"{", 1) for offset in (3, 8)]


@pytest.fixture(autouse=True)
def in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_RETRY", Backoff(0.02, 0.02))


def filled(store: Store, table: SeriesTable, count: int = 6_000) -> Readings:
    """A store as a collector leaves it: three days, ten series, some readings flagged."""
    n = np.arange(count)
    numbers = np.array([table.number(key) for key in KEYS], np.int32)
    rows = Readings(
        numbers[n % 10],
        DAY + n // 10 * (3 * 86_400 * S // (count // 10) // S * S),
        np.round(np.sin(n) * 100, 3),
        np.where(n % 7 == 0, 1, 0).astype(np.uint8),
        DAY + n * MS,
    )
    store.commit(rows, REJECTS, LEDGER)
    return rows


@contextmanager
def opened(url: str, folder: Path, table: SeriesTable) -> Iterator[Store]:
    store = open_store(StoreConfig(url=url, memory=64_000_000), folder, table, half=True)
    try:
        yield store
    finally:
        store.close()


def kept(url: str, folder: Path) -> list[tuple[SeriesKey, int, float, int]]:
    table = SeriesTable()
    with opened(url, folder, table) as store:
        found = Readings.concat(list(store.scan(0, 2**62)))
        keys = [table.keys[number] for number in found.series.tolist()]
        columns = found.time.tolist(), found.value.tolist(), found.quality.tolist()
        return sorted(zip(keys, *columns, strict=True))


def copied(
    folder: Path, source: str, target: str, tell: Callable[[Step], None] = lambda step: None
) -> Copied:
    table = SeriesTable()
    with opened(source, folder, table) as first, opened(target, folder, table) as second:
        return Copy(first, second, source, tell).run()


@pytest.fixture
def source(tmp_path: Path) -> str:
    table = SeriesTable()
    with opened("duckdb:", tmp_path, table) as store:
        filled(store, table)
    return "duckdb:"


def test_what_went_to_victoriametrics_and_back_is_equal_row_for_row(
    source: str, tmp_path: Path, victoria: VictoriaMetrics
) -> None:
    there = copied(tmp_path, source, victoria.url)
    assert (there.written, there.merged, there.refused, there.rejects) == (6_000, 0, 0, 2)
    assert not there.apart
    assert len(there.days) == 4
    back = copied(tmp_path, victoria.url, "duckdb:back.duckdb")
    assert back.written == 6_000
    assert kept("duckdb:back.duckdb", tmp_path) == kept(source, tmp_path)
    with opened("duckdb:back.duckdb", tmp_path, SeriesTable()) as store:
        assert store.ledger() == LEDGER
        assert store.rejects(10) == REJECTS[::-1]


def test_the_time_of_receipt_goes_along_where_both_keep_it(source: str, tmp_path: Path) -> None:
    copied(tmp_path, source, "duckdb:other.duckdb")
    table = SeriesTable()
    with opened(source, tmp_path, table) as first, opened("duckdb:other.duckdb", tmp_path, table) as second:
        a, b = (Readings.concat(list(each.scan(0, 2**62))) for each in (first, second))
    assert a.received.sum() == b.received.sum()
    assert b.received.min() == DAY


def test_a_second_copy_writes_nothing_and_says_that_every_day_agrees(source: str, tmp_path: Path) -> None:
    copied(tmp_path, source, "duckdb:other.duckdb")
    again = copied(tmp_path, source, "duckdb:other.duckdb")
    assert again.written == 0
    assert not again.apart
    assert sum(day.target for day in again.days) == 6_000


def test_an_empty_source_takes_its_ledger_along(tmp_path: Path) -> None:
    with opened("duckdb:", tmp_path, SeriesTable()) as store:
        store.commit(Readings.concat([]), [], LEDGER)
    assert copied(tmp_path, "duckdb:", "duckdb:other.duckdb").days == []
    with opened("duckdb:other.duckdb", tmp_path, SeriesTable()) as store:
        assert store.ledger() == LEDGER


def test_of_two_readings_within_a_millisecond_the_first_journaled_goes_to_victoriametrics(
    tmp_path: Path, victoria: VictoriaMetrics
) -> None:
    table = SeriesTable()
    series = np.array([table.number(KEYS[0])] * 2, np.int32)
    with opened("duckdb:", tmp_path, table) as store:
        received = np.array([DAY + 9, DAY + 5])
        twice = Readings(
            series, np.array([DAY + 1, DAY + 2]), np.array([1.0, 2.0]), np.zeros(2, np.uint8), received
        )
        store.commit(twice, [], LEDGER)
    found = copied(tmp_path, "duckdb:", victoria.url)
    assert (found.written, found.merged) == (1, 1)
    assert kept(victoria.url, tmp_path) == [(KEYS[0], DAY, 2.0, 0)]


def test_a_store_that_a_collector_uses_is_no_target(source: str, tmp_path: Path) -> None:
    with opened("duckdb:used.duckdb", tmp_path, SeriesTable()) as store:
        store.commit(Readings.concat([]), [], Ledger(1, 1))
    with pytest.raises(Problems, match="a collector has stored there already"):
        copied(tmp_path, source, "duckdb:used.duckdb")


def test_a_store_that_nobody_filled_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(Problems, match="nothing here says what was stored"):
        copied(tmp_path, "duckdb:", "duckdb:other.duckdb")


class EndedError(Exception):
    pass


def ended_after(times: int) -> Callable[[Step], None]:
    """Ends the copy after so many steps."""
    steps: list[Step] = []

    def tell(step: Step) -> None:
        steps.append(step)
        if len(steps) == times:
            raise EndedError

    return tell


@pytest.mark.parametrize("target", ["duckdb:other.duckdb", "victoria"])
def test_a_copy_that_was_ended_again_and_again_goes_on_and_nothing_is_twice(
    source: str, tmp_path: Path, target: str, victoria: VictoriaMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = victoria.url if target == "victoria" else target
    turns, written = 0, [0]
    while True:
        turns += 1
        try:
            done = copied(tmp_path, source, target, ended_after(4 * turns))
            break
        except EndedError:
            with opened(target, tmp_path, SeriesTable()) as store:
                half = Halfway.of(store.ledger())
            assert half is not None
            assert half.rows >= written[-1]
            written.append(half.rows)
    assert turns > 2
    assert not done.apart
    assert kept(target, tmp_path) == kept(source, tmp_path)


def test_a_collector_does_not_start_on_a_store_that_is_half_copied(source: str, tmp_path: Path) -> None:
    with pytest.raises(EndedError):
        copied(tmp_path, source, "duckdb:other.duckdb", ended_after(1))
    with pytest.raises(Problems, match=r"only half copied; run its `nagari storage copy` again"):
        open_store(StoreConfig(url="duckdb:other.duckdb"), tmp_path, SeriesTable())


def test_a_source_that_went_on_after_the_copy_had_begun_is_gone_through_again(
    source: str, tmp_path: Path
) -> None:
    with pytest.raises(EndedError):
        copied(tmp_path, source, "duckdb:other.duckdb", ended_after(2))
    table = SeriesTable()
    with opened(source, tmp_path, table) as store:  # the collector ran, and late data came
        late = Readings(
            np.array([table.number(KEYS[3])], np.int32),
            np.array([DAY + 7]),
            np.array([7.0]),
            np.array([2], np.uint8),
            np.array([DAY]),
        )
        store.commit(late, [], Ledger(20_000, 901))
    assert not copied(tmp_path, source, "duckdb:other.duckdb").apart
    assert kept("duckdb:other.duckdb", tmp_path) == kept(source, tmp_path)


def test_a_server_that_has_the_readings_already_is_asked_and_keeps_its_own(
    source: str, tmp_path: Path, victoria: VictoriaMetrics
) -> None:
    copied(tmp_path, source, victoria.url)
    for file in tmp_path.glob("accounts-*"):
        file.unlink()  # as with a new data.dir
    again = copied(tmp_path, source, victoria.url)
    assert again.written == 0
    assert not again.apart


def test_a_server_that_goes_away_meanwhile_is_waited_for(
    source: str, tmp_path: Path, victoria: VictoriaMetrics
) -> None:
    time.sleep(1.1)  # two starts within a second look alike: the server tells whole seconds
    away: list[str] = []

    def tell(step: Step) -> None:
        if step.phase == "copy" and not away and step.rows > 500:
            victoria.kill()
            away.append("killed")
        elif step.away and len(away) < 3:
            away.append(step.away)
            if len(away) == 3:
                victoria.start()

    assert not copied(tmp_path, source, victoria.url, tell).apart
    assert "does not answer" in away[1]
    assert kept(victoria.url, tmp_path) == kept(source, tmp_path)


class Failing:
    """A store whose answers fail now and then, after or before they were carried out."""

    def __init__(self, store: Store, turns: Iterator[int]) -> None:
        self._store, self._turns = store, turns

    def commit(self, *asked: object) -> Ledger:
        turn = next(self._turns)
        if turn == 1:
            raise StoreError("away", permanent=False)
        return self._store.commit(*asked)  # type: ignore[arg-type]

    def scan(self, start: int, end: int) -> Iterator[Readings]:
        for piece in self._store.scan(start, end):
            if next(self._turns) == 2:
                raise StoreError("broke off", permanent=False)
            yield piece

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


@settings(max_examples=4, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=4, max_size=40))
def test_stores_that_fail_now_and_then_lose_nothing(
    tmp_path_factory: pytest.TempPathFactory, turns: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("failing")
    table = SeriesTable()
    trouble = iter([*turns, *([0] * 100_000)])
    with opened("duckdb:", folder, table) as first, opened("duckdb:b", folder, table) as second:
        filled(first, table, 2_000)
        found = Copy(Failing(first, trouble), Failing(second, trouble), "duckdb:").run()  # type: ignore[arg-type]
        assert not found.apart
    assert kept("duckdb:b", folder) == kept("duckdb:", folder)


def test_a_store_that_stays_away_ends_the_copy_with_a_sentence(source: str, tmp_path: Path) -> None:
    table = SeriesTable()
    with opened(source, tmp_path, table) as first, opened("duckdb:b", tmp_path, table) as second:
        failing = Failing(second, iter([1] * 1_000))
        with pytest.raises(Problems, match="it goes on where it stood"):
            Copy(first, failing, source, patience=0.2).run()  # type: ignore[arg-type]


ROWS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12), st.integers(0, 5)), max_size=30)


@given(ROWS, st.integers(1, 5), st.integers(1, 7))
def test_each_series_comes_once_at_each_coarse_time_in_order_and_the_first_received_stays(
    rows: list[tuple[int, int, int]], resolution: int, size: int
) -> None:
    rows.sort(key=lambda row: row[1])
    given_rows = Readings(
        np.array([s for s, _, _ in rows], np.int32),
        np.array([t for _, t, _ in rows], np.int64),
        np.arange(len(rows)).astype(float),
        np.zeros(len(rows), np.uint8),
        np.array([r for _, _, r in rows], np.int64),
    )
    pieces = [given_rows.take(np.arange(at, min(at + size, len(rows)))) for at in range(0, len(rows), size)]
    out, bound = [], -1
    for piece, until in distinct(pieces, resolution):
        assert piece.time.min() >= bound
        assert piece.time.max() < until
        bound = until
        out += list(zip(piece.series.tolist(), piece.time.tolist(), piece.received.tolist(), strict=True))
    best: dict[tuple[int, int], int] = {}
    for series, when, received in rows:
        key = series, when // resolution * resolution
        best[key] = min(best.get(key, received), received)
    assert sorted(out) == sorted((s, t, r) for (s, t), r in best.items())


def run_copy(folder: Path, *more: str) -> list[str]:
    config = folder / "nagari.toml"
    config.write_text('[data]\ndir = "."\n[http]\nlisten = "127.0.0.1:9"\n')
    return [sys.executable, "-m", "collector.cli", "storage", "copy", "--config", str(config), *more]


def test_a_copy_that_is_killed_at_any_moment_goes_on(
    source: str, tmp_path: Path, victoria: VictoriaMetrics
) -> None:
    command = run_copy(tmp_path, "--to", victoria.url, "--json")
    for wait in (0.9, 1.2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(wait)
        process.kill()
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert sum(day["target"] for day in said["days"]) == 6_000
    assert said["apart"] == []
    assert kept(victoria.url, tmp_path) == kept(source, tmp_path)


def test_mistakes_are_told_in_a_sentence(source: str, tmp_path: Path) -> None:
    for more, said in (
        (["--to", "duckdb:readings.duckdb"], "is where the readings are already"),
        (["--to", "postgres://x"], "is no store this version knows"),
        (["--to", "victoria://127.0.0.1:9"], "does not answer"),
    ):
        env = {**os.environ, "NO_COLOR": "1"}
        done = subprocess.run(run_copy(tmp_path, *more), capture_output=True, text=True, check=False, env=env)
        assert done.returncode == 2
        assert said in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_copy_of_a_hundred_days_leaves_few_of_them_open(tmp_path: Path) -> None:
    table = SeriesTable()
    with opened("duckdb:", tmp_path, table) as first, opened("duckdb:new.duckdb", tmp_path, table) as second:
        number = table.number(KEYS[0])
        for day in range(100):
            when = (20_400 + day) * 86_400 * 10**9 + np.arange(20, dtype=np.int64)
            rows = Readings(np.full(20, number, np.int32), when, when / 7, np.zeros(20, np.uint8), when)
            first.commit(rows, [], Ledger(day + 1, day + 1, day + 1, values=20 * day + 20))
        assert Copy(first, second, "duckdb:").run().written == 2_000
        assert len(second._layout.hot) <= 20  # type: ignore[attr-defined]
