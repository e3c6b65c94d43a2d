"""What every time-series store must do. A new one joins by a line in KINDS."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.core.config import StoreConfig
from collector.core.readings import Readings, SeriesKey, SeriesTable
from collector.store.base import Aggregate, Ledger, Points, Reject, Store
from collector.store.stores import open_store

KINDS = ("duckdb", "victoria", "influx")

S = 10**9
MS = 10**6
DAY = 1_764_000_000 * S
KEY = SeriesKey("1305012001", "ont-1305012001", "rx_dbm")
OTHER = SeriesKey("1305012001", "rtr-1305012001", "latency_ms")


class Opener:
    """Opens stores of one kind, all on the same data. `unit` is the finest step of time that it keeps, ns."""

    def __init__(
        self, config: StoreConfig, unit: int = 1, settled: Callable[[], None] = lambda: None
    ) -> None:
        self.config, self.unit = config, unit
        self._settled = settled

    def __call__(self, folder: Path, table: SeriesTable) -> Store:
        return Prompt(open_store(self.config, folder, table), self._settled)


class Prompt:
    """A store whose readings are found as soon as they are committed: servers may take a moment."""

    def __init__(self, store: Store, settled: Callable[[], None]) -> None:
        self._store, self._settled = store, settled

    def points(self, *asked: Any) -> list[tuple[int, float]]:
        self._settled()
        return self._store.points(*asked)

    def charts(self, *asked: Any) -> dict[SeriesKey, Points]:
        self._settled()
        return self._store.charts(*asked)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture(params=KINDS)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    match request.param:
        case "victoria":
            server = request.getfixturevalue("one_victoria")
            server.empty()
            yield Opener(StoreConfig(url=server.url), MS, server.flush)
        case "influx":
            server = request.getfixturevalue("one_influx")
            bucket = server.bucket()
            token = tmp_path / "token"
            token.touch(mode=0o600)
            token.write_text(server.token)
            yield Opener(StoreConfig(url=server.url(bucket), token_file=token))
            server.remove(bucket)
        case _:
            yield Opener(StoreConfig(memory=64_000_000))


@pytest.fixture
def unit(opener: Opener) -> int:
    return opener.unit


@pytest.fixture
def table() -> SeriesTable:
    return SeriesTable()


@pytest.fixture
def store(opener: Opener, table: SeriesTable, tmp_path: Path) -> Iterator[Store]:
    store = opener(tmp_path, table)
    yield store
    store.close()


def rows(table: SeriesTable, *readings: tuple[SeriesKey, int, float]) -> Readings:
    time = np.array([t for _, t, _ in readings], np.int64)
    return Readings(
        np.array([table.number(key) for key, _, _ in readings], np.int32),
        time,
        np.array([value for _, _, value in readings], np.float64),
        np.zeros(len(readings), np.uint8),
        time + 5,
    )


def asked(table: SeriesTable, *questions: tuple[SeriesKey, int]) -> tuple[np.ndarray, np.ndarray]:
    series = np.array([table.number(key) for key, _ in questions], np.int32)
    return series, np.array([t for _, t in questions], np.int64)


def reject(offset: int, **changes: object) -> Reject:
    fields: dict[str, object] = {"received": DAY, "topic": "nagari/v1/x/y/tele", "reason": "no", "head": b"{"}
    return Reject(offset=offset, size=1, **(fields | changes))  # type: ignore[arg-type]


def test_a_new_store_has_no_ledger_and_knows_nothing(store: Store, table: SeriesTable) -> None:
    assert store.ledger() is None
    assert store.points(KEY, 0, 2**62, None, "mean", 10) == []
    assert store.rejects(10) == []
    assert [len(column) for column in store.lasts()] == [0, 0, 0]
    there, value = store.find(*asked(table, (KEY, DAY)))
    assert not there.any()
    assert np.isnan(value).all()


def test_the_ledger_comes_back_as_it_was_committed(
    opener: Opener, table: SeriesTable, tmp_path: Path
) -> None:
    store = opener(tmp_path, table)
    first = Ledger(7, 6, 1, 2, 2, 1, 9, 3, 3)
    store.commit(rows(table, (KEY, DAY, 1.0)), [], first)
    assert store.ledger() == first
    second = Ledger(2**60, 7, 2, 2, 2, 1, 10, 3, 4)
    store.commit(rows(table), [], second)
    store.close()
    again = opener(tmp_path, SeriesTable())
    assert again.ledger() == second
    again.close()


def test_the_ledger_handed_out_is_a_copy(store: Store, table: SeriesTable) -> None:
    given_ledger = Ledger(1, qos0=1)
    store.commit(rows(table), [], given_ledger)
    given_ledger.qos0 = 2
    got = store.ledger()
    assert got is not None
    got.cursor = 99
    assert store.ledger() == Ledger(1, qos0=1)


def test_find_tells_what_is_there_and_its_value(store: Store, table: SeriesTable, unit: int) -> None:
    store.commit(rows(table, (KEY, DAY, -21.5), (OTHER, DAY, 12.0), (KEY, DAY + S, -22.0)), [], Ledger(1))
    questions = [(KEY, DAY), (KEY, DAY + unit), (OTHER, DAY), (OTHER, DAY + S), (KEY, DAY), (KEY, DAY + S)]
    there, value = store.find(*asked(table, *questions))
    assert there.tolist() == [True, False, True, False, True, True]
    assert [None if math.isnan(v) else v for v in value.tolist()] == [-21.5, None, 12.0, None, -21.5, -22.0]


def test_the_charts_of_several_are_the_points_of_each(store: Store, table: SeriesTable) -> None:
    given = [(key, DAY + n * S, base + n) for key, base in ((KEY, -30.0), (OTHER, 10.0)) for n in range(90)]
    store.commit(rows(table, *given), [], Ledger(1))
    stranger = SeriesKey("1305012001", "rtr-0", "latency_ms")
    for step, agg in ((None, "mean"), (7 * S, "max"), (60 * S, "count")):
        found = store.charts([OTHER, stranger, KEY], DAY, DAY + 80 * S, step, agg, 1000)
        for key in (KEY, OTHER):
            assert found[key] == store.points(key, DAY, DAY + 80 * S, step, agg, 1000)
        assert not found.get(stranger)
        assert sum(map(len, store.charts([KEY, OTHER], DAY, DAY + 80 * S, step, agg, 1).values())) == 1


def test_find_of_nothing_is_nothing(store: Store, table: SeriesTable) -> None:
    there, value = store.find(*asked(table))
    assert (len(there), len(value)) == (0, 0)


def test_find_bears_a_backfill_of_50_000(store: Store, table: SeriesTable) -> None:
    n = 50_000
    known = Readings(
        np.full(n // 2, table.number(KEY), np.int32),
        DAY + 2 * S * np.arange(n // 2),
        np.arange(n // 2, dtype=np.float64),
        np.zeros(n // 2, np.uint8),
        np.full(n // 2, DAY),
    )
    store.commit(known, [], Ledger(1))
    there, value = store.find(np.full(n, table.number(KEY), np.int32), DAY + S * np.arange(n))
    assert there.tolist() == [True, False] * (n // 2)
    assert value[there].tolist() == known.value.tolist()


def test_giving_everything_again_stores_nothing_again_when_find_is_asked(
    store: Store, table: SeriesTable
) -> None:
    first = rows(table, *[(KEY, DAY + i * S, float(i)) for i in range(100)])
    for cursor, shift in ((1, 0.0), (2, 1.0)):  # the second time with other values: the first journaled wins
        there, _ = store.find(first.series, first.time)
        fresh = first.take(~there)
        fresh = Readings(fresh.series, fresh.time, fresh.value + shift, fresh.quality, fresh.received)
        store.commit(fresh, [], Ledger(cursor))
    assert store.points(KEY, 0, 2**62, None, "mean", 1000) == [(DAY + i * S, float(i)) for i in range(100)]


def test_a_range_holds_its_start_and_not_its_end(store: Store, table: SeriesTable, unit: int) -> None:
    first, second, third = DAY, DAY + unit, DAY + 2 * unit
    store.commit(rows(table, (KEY, first, 1.0), (KEY, second, 2.0), (KEY, third, 3.0)), [], Ledger(1))
    assert store.points(KEY, first, third, None, "mean", 10) == [(first, 1.0), (second, 2.0)]
    assert store.points(KEY, first, first + 1, None, "mean", 10) == [(first, 1.0)]
    assert store.points(KEY, second, second, None, "mean", 10) == []


def test_points_are_oldest_first_and_no_more_than_asked(store: Store, table: SeriesTable) -> None:
    for i in (3, 1, 2, 0):
        store.commit(rows(table, (KEY, DAY + i * S, float(i))), [], Ledger(i))
    assert store.points(KEY, DAY, DAY + 9 * S, None, "mean", 3) == [(DAY + i * S, float(i)) for i in range(3)]
    assert store.points(KEY, DAY, DAY + 9 * S, S, "max", 2) == [(DAY, 0.0), (DAY + S, 1.0)]


@pytest.mark.parametrize("step", [7 * S, 420 * S])
def test_buckets_begin_at_multiples_of_the_step_whatever_the_start(
    store: Store, table: SeriesTable, unit: int, step: int
) -> None:
    edge = DAY // step * step
    store.commit(
        rows(
            table,
            (KEY, edge - unit, 1.0),
            (KEY, edge, 2.0),
            (KEY, edge + step - unit, 4.0),
            (KEY, edge + step, 8.0),
        ),
        [],
        Ledger(1),
    )
    points = store.points(KEY, edge - unit, edge + step + 1, step, "mean", 10)
    assert points == [(edge - step, 1.0), (edge, 3.0), (edge + step, 8.0)]
    assert store.points(KEY, edge + 1, edge + step, step, "mean", 10) == [(edge, 4.0)]


@pytest.mark.parametrize("step", [S, 60 * S])
def test_the_mean_of_huge_values_is_finite(store: Store, table: SeriesTable, unit: int, step: int) -> None:
    store.commit(rows(table, *[(KEY, DAY + i * unit, 1.5e308) for i in range(8)]), [], Ledger(1))
    assert store.points(KEY, DAY, DAY + step, step, "mean", 1) == [(DAY, pytest.approx(1.5e308))]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    readings=st.dictionaries(
        st.integers(0, 400), st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: x + 0.0), max_size=60
    ),
    start=st.integers(-10, 410),
    length=st.integers(0, 420),
    step=st.one_of(st.none(), st.integers(1, 120)),
    limit=st.integers(1, 80),
    agg=st.sampled_from(["mean", "min", "max", "last", "count"]),
    scale=st.sampled_from([1, 60_000]),
)
def test_points_are_those_of_a_naive_model(
    store: Store,
    table: SeriesTable,
    readings: dict[int, float],
    start: int,
    length: int,
    step: int | None,
    limit: int,
    agg: Aggregate,
    scale: int,
    unit: int,
) -> None:
    unit *= scale
    key = SeriesKey("1305012001", f"device-{len(table)}", "rx_dbm")
    order = sorted(readings, key=lambda t: hash((t, 1)))
    committed = store.ledger()
    cursor = committed.cursor if committed else 0
    store.commit(rows(table, *[(key, DAY + t * unit, readings[t]) for t in order]), [], Ledger(cursor + 1))
    table.number(key)
    begin, end, width = DAY + start * unit, DAY + (start + length) * unit, step and step * unit
    got = store.points(key, begin, end, width, agg, limit)
    want = naive({DAY + t * unit: v for t, v in readings.items()}, begin, end, width, agg)[:limit]
    assert [t for t, _ in got] == [t for t, _ in want]
    assert [v for _, v in got] == pytest.approx([v for _, v in want], rel=1e-9, abs=1e-6)


def naive(
    readings: dict[int, float], start: int, end: int, step: int | None, agg: Aggregate
) -> list[tuple[int, float]]:
    inside = sorted((t, v) for t, v in readings.items() if start <= t < end)
    if step is None:
        return inside
    buckets: dict[int, list[float]] = {}
    for t, v in inside:
        buckets.setdefault(t // step * step, []).append(v)
    reduce: dict[Aggregate, Callable[[list[float]], float]] = {
        "mean": lambda vs: math.fsum(vs) / len(vs),
        "min": min,
        "max": max,
        "last": lambda vs: vs[-1],
        "count": len,
    }
    return [(t, reduce[agg](vs)) for t, vs in sorted(buckets.items())]


def test_lasts_are_the_newest_of_each_series_however_old(opener: Opener, tmp_path: Path, unit: int) -> None:
    writer = SeriesTable()
    store = opener(tmp_path, writer)
    ages = {
        SeriesKey("s", f"d{i}", "cpu_pct"): age for i, age in enumerate([0, 1, 3599, 90_000, 10**6, 10**8])
    }
    newest = [(key, DAY - age * S, float(age)) for key, age in ages.items()]
    older = [(key, t - unit, -1.0) for key, t, _ in newest]
    store.commit(rows(writer, *newest), [], Ledger(1))
    store.commit(rows(writer, *older), [], Ledger(2))
    store.close()
    reader = SeriesTable()
    reader.number(SeriesKey("another", "numbering", "here"))
    store = opener(tmp_path, reader)
    series, time, value = store.lasts()
    got = {
        reader.keys[n]: (t, v) for n, t, v in zip(series.tolist(), time.tolist(), value.tolist(), strict=True)
    }
    assert got == {key: (t, v) for key, t, v in newest}
    assert len(series) == len(newest)
    store.close()


def test_series_keep_their_readings_when_another_process_numbers_them_otherwise(
    opener: Opener, tmp_path: Path
) -> None:
    first = SeriesTable()
    store = opener(tmp_path, first)
    store.commit(rows(first, (KEY, DAY, 1.0), (OTHER, DAY, 2.0)), [], Ledger(1))
    store.close()
    second = SeriesTable()
    store = opener(tmp_path, second)
    new = SeriesKey("1305012001", "ont-1305012001", "tx_dbm")
    store.commit(rows(second, (new, DAY, 4.0), (OTHER, DAY + S, 3.0)), [], Ledger(2))
    there, value = store.find(*asked(second, (OTHER, DAY), (KEY, DAY), (new, DAY), (new, DAY + S)))
    assert there.tolist() == [True, True, True, False]
    assert value[there].tolist() == [2.0, 1.0, 4.0]
    assert store.points(OTHER, DAY, DAY + 2 * S, None, "mean", 9) == [(DAY, 2.0), (DAY + S, 3.0)]
    store.close()


@pytest.mark.parametrize("odd", ["_", "-", "--", "A-Z_a-z-0-9", "select", "x" * 64, "0", "-1"])
def test_ids_are_values_never_words_of_the_query(store: Store, table: SeriesTable, odd: str) -> None:
    mine, another = SeriesKey(odd, odd, "rx_dbm"), SeriesKey(odd, f"_{odd}"[:64], "rx_dbm")
    store.commit(rows(table, (mine, DAY, 1.0), (another, DAY, 2.0)), [], Ledger(1))
    assert store.points(mine, DAY, DAY + 1, None, "mean", 9) == [(DAY, 1.0)]
    assert store.points(SeriesKey("' or 1=1 --", odd, "rx_dbm"), DAY, DAY + 1, None, "mean", 9) == []


def test_values_come_back_to_the_bit_or_as_near_as_the_store_promises(
    store: Store, table: SeriesTable, unit: int
) -> None:
    values = [0.1 + 0.2, -1 / 3, 0.0, 123456789.123456789, -21.43]
    if not store.tolerance:
        values += [5e-324, -1.7976931348623157e308]
    store.commit(rows(table, *[(KEY, DAY + i * unit, v) for i, v in enumerate(values)]), [], Ledger(1))
    got = [v for _, v in store.points(KEY, DAY, DAY + S, None, "mean", 99)]
    assert got == (pytest.approx(values, rel=store.tolerance, abs=0) if store.tolerance else values)


def test_rejects_are_paged_newest_first(store: Store, table: SeriesTable) -> None:
    store.commit(rows(table), [reject(n) for n in range(10, 60, 10)], Ledger(1))
    store.commit(rows(table), [reject(n) for n in range(60, 80, 10)], Ledger(2))
    page = store.rejects(3)
    assert [r.offset for r in page] == [70, 60, 50]
    assert [r.offset for r in store.rejects(3, before=page[-1].offset)] == [40, 30, 20]
    assert [r.offset for r in store.rejects(3, before=20)] == [10]
    assert store.rejects(3, before=10) == []


def test_a_reject_comes_back_whole_whatever_was_in_it(store: Store, table: SeriesTable) -> None:
    odd = [
        reject(1, topic="a\x00b/'; drop table readings; --", reason="ü 漢字", head=bytes(range(256))),
        reject(2, topic="", reason="", head=b""),
    ]
    store.commit(rows(table), odd, Ledger(1))
    assert store.rejects(9) == odd[::-1]
    store.commit(rows(table), [reject(3, reason="half a pair: \ud800")], Ledger(2))
    assert store.rejects(1)[0].reason == "half a pair: ?"


def test_only_the_newest_ten_thousand_rejects_are_kept(
    opener: Opener, table: SeriesTable, tmp_path: Path
) -> None:
    store = opener(tmp_path, table)
    for i in range(5):
        store.commit(rows(table), [reject(i * 5_000 + n) for n in range(5_000)], Ledger(i))
    kept = [r.offset for r in store.rejects(30_000)]
    assert kept[:10_000] == list(range(24_999, 14_999, -1))
    assert len(kept) <= 11_000
    store.close()
    store = opener(tmp_path, table)
    store.commit(rows(table), [reject(25_000 + n) for n in range(2_000)], Ledger(9))
    assert [r.offset for r in store.rejects(30_000)] == list(range(26_999, 16_999, -1))
    store.close()


def test_queries_run_while_the_writer_commits(
    opener: Opener, store: Store, table: SeriesTable, unit: int
) -> None:
    store.commit(rows(table, (KEY, DAY, 0.0)), [], Ledger(0))
    seen: list[int] = []
    wrong: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                seen.append(len(store.points(KEY, DAY, DAY + 10**15, None, "mean", 10**6)))
                store.rejects(10)
        except BaseException as error:
            wrong.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for i in range(1, 60):
        first = (i - 1) * 10 + 1
        store.commit(
            rows(table, *[(KEY, DAY + t * unit, 1.0) for t in range(first, first + 10)]),
            [reject(i)],
            Ledger(i),
        )
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert seen
    if opener.config.url == "duckdb:":
        assert all(n % 10 == 1 for n in seen)  # never half a commit
    assert len(store.points(KEY, DAY, DAY + 10**15, None, "mean", 10**6)) == 591
