"""DuckDB by days: committed, closed, shed, killed or damaged in whatever order, the points are right."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from collector.core.readings import Readings, SeriesKey, SeriesTable
from collector.store.base import Aggregate, Ledger, Points, Reject
from collector.store.duckdb import DuckStore, asking, open_store
from collector.store.tiers import DAY, NS, Stretch, coarsest, plan

KEYS = [SeriesKey("1305012001", f"rtr-{i}", "latency_ms") for i in range(3)]
FIRST = 20_448  # a day; it shares its part of the hour tier with the next ones
MINUTE, HOUR = 60 * NS, 3_600 * NS
MEMORY = 64_000_000
LATER = (FIRST + 60) * DAY
AGGREGATES: tuple[Aggregate, ...] = ("mean", "min", "max", "last", "count")


def opened(folder: Path, few: int = 1) -> tuple[DuckStore, SeriesTable]:
    table = SeriesTable()
    return open_store("duckdb:", folder, table, MEMORY, few=few), table


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DuckStore]:
    store, _ = opened(tmp_path)
    yield store
    store.close()


def commit(store: DuckStore, *readings: tuple[SeriesKey, int, float], received: int | None = None) -> None:
    table = store._table
    when = np.array([t for _, t, _ in readings], np.int64)
    rows = Readings(
        np.array([table.number(key) for key, _, _ in readings], np.int32),
        when,
        np.array([value for _, _, value in readings], np.float64),
        np.arange(len(when), dtype=np.uint8) % 3,
        when + 2 * NS if received is None else np.full(len(when), received),
    )
    ledger = store.ledger()
    store.commit(rows, [], Ledger(ledger.cursor + 1 if ledger else 1))


def names(store: DuckStore) -> list[str]:
    return sorted(file.name for file in store._shelf.folder.iterdir())


def all_points(store: DuckStore, key: SeriesKey = KEYS[0]) -> list[tuple[int, float]]:
    return store.points(key, 0, 2**62, None, "mean", 10**9)


class Model:
    """What a store should say: readings in a dict, and how far raw ones were shed."""

    def __init__(self, own: bool) -> None:
        self.own = own  # each day has parts of its own
        self.kept: dict[SeriesKey, dict[int, float]] = {key: {} for key in KEYS}
        self.closed: set[int] = set()
        self.floor = 0

    def close(self, now: int) -> None:
        days = {t // DAY for kept in self.kept.values() for t in kept}
        self.closed |= {day for day in days if (day + 1) * DAY + 2 * HOUR <= now and day * DAY >= self.floor}

    def shed(self, before: int, floor: int) -> None:
        """With days of their own exactly what is closed goes; shared ones may go as soon as they are over."""
        gone = {day for day in self.closed if (day + 1) * DAY <= before}
        least = max([self.floor, *((day + 1) * DAY for day in gone)])
        if self.own:
            assert floor == least or floor <= 0 == least
        assert self.floor <= max(floor, 0) <= max(self.floor, before)
        self.floor = max(floor, 0)
        self.closed -= gone

    def points(
        self, key: SeriesKey, start: int, end: int, step: int | None, agg: Aggregate
    ) -> list[tuple[int, float]]:
        buckets: dict[int, list[float]] = {}
        for t, value in sorted(self.kept[key].items()):
            seen = t if t >= self.floor else t // MINUTE * MINUTE
            if start <= seen < end:
                buckets.setdefault(seen // step * step if step else seen, []).append(value)
        if step is None and agg == "count":
            agg = "mean"
        reduce: dict[Aggregate, Callable[[list[float]], float]] = {
            "mean": lambda vs: math.fsum(vs) / len(vs),
            "min": min,
            "max": max,
            "last": lambda vs: vs[-1],
            "count": len,
        }
        return [(t, reduce[agg](vs)) for t, vs in sorted(buckets.items())]


readings = st.lists(
    st.tuples(
        st.sampled_from(KEYS),
        st.one_of(st.integers(0, 3 * DAY - 1), st.integers(0, 40).map(lambda n: n * HOUR + n % 7 * 9 * NS)),
        st.floats(-1e6, 1e6, allow_nan=False),
    ),
    min_size=1,
    max_size=25,
)
steps = st.lists(
    st.one_of(
        readings.map(lambda rows: ("commit", rows)),
        st.integers(1, 5).map(lambda days: ("close", days)),
        st.integers(1, 4).map(lambda days: ("shed", days)),
        st.just(("restart", 0)),
    ),
    min_size=3,
    max_size=9,
)


# Without shrinking: one step after the other on a disk, it would take minutes.
@settings(max_examples=24, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    steps=steps,
    few=st.sampled_from([1, 4, 12, 10**6]),
    start=st.integers(-5, 3 * DAY),
    length=st.integers(0, 3 * DAY),
)
def test_whatever_happens_in_whatever_order_the_points_are_those_of_a_plain_model(
    steps: list[tuple[str, object]], few: int, start: int, length: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        store, _ = opened(Path(name), few)
        model, base = Model(own=few == 1), FIRST * DAY
        for verb, given_ in steps:
            match verb:
                case "commit":
                    rows = {(key, base + t): v for key, t, v in given_ if base + t not in model.kept[key]}  # type: ignore[attr-defined]
                    commit(store, *((key, t, v) for (key, t), v in rows.items()))
                    for (key, t), v in rows.items():
                        model.kept[key][t] = v
                case "close":
                    now = base + int(given_) * DAY + 3 * HOUR  # type: ignore[call-overload]
                    store.tidy(now)
                    model.close(now)
                case "shed":
                    before = base + int(given_) * DAY  # type: ignore[call-overload]
                    store.shed("raw", before)
                    model.shed(before, store._layout.floor("raw"))
                case _:
                    store.close()
                    store, _ = opened(Path(name), few)
                    assert store.set_aside == []
            check(store, model, base + start, base + start + length)
        store.close()


def check(store: DuckStore, model: Model, start: int, end: int) -> None:
    whole = (FIRST * DAY, (FIRST + 3) * DAY)
    for n, (step, (low, high)) in enumerate(
        (step, span)
        for step in (None, 7 * NS, MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, DAY)
        for span in (whole, (start, end))
    ):
        agg, key = AGGREGATES[(n + len(model.closed)) % 5], KEYS[n % 3]
        alone = store.points(key, low, high, step, agg, 10**6)
        got, want = alone, model.points(key, low, high, step, agg)
        if n % 2:  # one of all, in one question
            got = store.charts([*KEYS], low, high, step, agg, 10**6).get(key, Points())
            assert got.tier == alone.tier or not model.kept[key]
        assert [t for t, _ in got] == [t for t, _ in want], (step, agg, model.floor)
        assert [v for _, v in got] == pytest.approx([v for _, v in want], rel=1e-9, abs=1e-6)
    series, when, value = store.lasts()
    last = {
        store._table.keys[s]: (t, v)
        for s, t, v in zip(series.tolist(), when.tolist(), value.tolist(), strict=True)
    }
    assert last == {key: max(kept.items()) for key, kept in model.kept.items() if kept}


def test_a_closed_day_gives_back_every_bit_and_the_delay_to_the_second(store: DuckStore) -> None:
    values = [0.1 + 0.2, 5e-324, -1.7976931348623157e308, -0.0, 123456789.123456789]
    when = [FIRST * DAY + n * 1_234_567_891 for n in range(5)]
    commit(store, *zip([KEYS[0]] * 5, when, values, strict=True), received=when[-1] + 9_999_999_999)
    store.tidy(LATER)
    assert "raw-20448-1.duckdb" in names(store)
    assert [(t, v.hex()) for t, v in all_points(store)] == [
        (t, v.hex()) for t, v in zip(when, values, strict=True)
    ]
    [piece] = store.scan(0, 2**62)
    assert piece.quality.tolist() == [0, 1, 2, 0, 1]
    assert [(r - t) // NS for r, t in zip(piece.received.tolist(), piece.time.tolist(), strict=True)] == [
        14,
        13,
        12,
        11,
        9,
    ]
    there, value = store.find(np.zeros(6, np.int32), np.array([*when, when[0] + 1]))
    assert there.tolist() == [True] * 5 + [False]
    assert value[:5].tolist() == values


def test_a_day_is_closed_two_hours_after_its_end_and_late_rows_wait_an_hour(store: DuckStore) -> None:
    end = (FIRST + 1) * DAY
    commit(store, (KEYS[0], end - HOUR, 1.0))
    store.tidy(end + 2 * HOUR - 1)
    assert not store._shelf.folder.exists()
    store.tidy(end + 2 * HOUR)
    assert names(store) == ["hour-639-1.duckdb", "minute-20448-1.duckdb", "raw-20448-1.duckdb"]
    commit(store, (KEYS[0], end - 2 * HOUR, 3.0), received=end + 5 * HOUR)
    store.tidy(end + 6 * HOUR - 1)
    assert "raw-20448-1.duckdb" in names(store)
    assert store.points(KEYS[0], 0, 2**62, DAY, "mean", 9) == [(FIRST * DAY, 2.0)]  # at once
    store.tidy(end + 6 * HOUR)
    assert names(store) == ["hour-639-2.duckdb", "minute-20448-2.duckdb", "raw-20448-2.duckdb"]
    assert store.points(KEYS[0], 0, 2**62, DAY, "mean", 9) == [(FIRST * DAY, 2.0)]
    assert all_points(store) == [(end - 2 * HOUR, 3.0), (end - HOUR, 1.0)]


def test_the_answer_names_the_tier_it_came_from(store: DuckStore) -> None:
    start, end = FIRST * DAY, (FIRST + 2) * DAY
    commit(store, *((KEYS[0], start + n * 600 * NS, float(n)) for n in range(288)))
    store.tidy(LATER)
    assert store.points(KEYS[0], start, end, None, "mean", 999).tier == "raw"
    assert store.points(KEYS[0], start, end, 90 * NS, "mean", 999).tier == "raw"
    assert store.points(KEYS[0], start, end, 5 * MINUTE, "mean", 999).tier == "minute"
    assert store.points(KEYS[0], start, end, 3 * HOUR, "mean", 999).tier == "hour"
    assert store.shed("raw", start + DAY) > 0
    assert store.points(KEYS[0], start, end, None, "mean", 999).tier == "minute"
    assert store.points(KEYS[0], start + DAY, end, None, "mean", 999).tier == "raw"
    commit(store, (KEYS[0], start + 1, 1000.0))  # late, into a day whose raw readings are gone
    for _ in range(2):
        assert store.points(KEYS[0], start, end, DAY, "max", 9)[0] == (start, 1000.0)
        store.tidy(LATER)
    assert "raw-20448-2.duckdb" not in names(store)
    store.shed("minute", start + DAY)
    found = store.points(KEYS[0], start, end, None, "max", 999)
    assert (found.tier, found[0], len(found)) == ("hour", (start, 1000.0), 24 + 144)


def test_the_middle_comes_from_the_coarsest_tier_and_the_ends_from_finer_ones() -> None:
    assert [coarsest(step) for step in (None, 1, 90 * NS, MINUTE, 7_200 * NS)] == [
        "raw",
        "raw",
        "raw",
        "minute",
        "hour",
    ]
    found = plan(HOUR - 1, 2 * HOUR + MINUTE + 1, HOUR, {})
    assert found == [
        Stretch("raw", HOUR - 1, HOUR),
        Stretch("hour", HOUR, 2 * HOUR),
        Stretch("minute", 2 * HOUR, 2 * HOUR + MINUTE),
        Stretch("raw", 2 * HOUR + MINUTE, 2 * HOUR + MINUTE + 1),
    ]
    assert plan(0, 2 * DAY, None, {"raw": DAY}) == [Stretch("minute", 0, DAY), Stretch("raw", DAY, 2 * DAY)]
    assert plan(0, DAY, None, {"raw": DAY, "minute": DAY, "hour": DAY}) == []


def test_usage_counts_what_is_hot_and_what_is_cold(store: DuckStore) -> None:
    assert [(u.tier, u.rows, u.oldest) for u in store.usage()] == [
        ("raw", 0, None),
        ("minute", 0, None),
        ("hour", 0, None),
    ]
    start = FIRST * DAY
    commit(store, (KEYS[0], start + 1, 1.0), (KEYS[0], start + 2, 2.0), (KEYS[0], start + DAY + 5, 3.0))
    store.tidy(start + DAY + 3 * HOUR)
    raw, minute, hour = store.usage()
    assert (raw.rows, raw.oldest, raw.newest) == (3, start + 1, start + DAY + 5)
    assert (minute.rows, minute.oldest, minute.newest) == (1, start, start + 2)
    assert hour.rows == 1
    freed = store.shed("minute", start + DAY)
    assert freed == minute.bytes
    assert "minute-20448-1.duckdb" not in names(store)
    assert store.shed("minute", start + DAY) == 0


def test_an_old_generation_stays_while_somebody_reads_it(store: DuckStore) -> None:
    commit(store, (KEYS[0], FIRST * DAY, 1.0))
    store.tidy(LATER)
    with store._reading() as (con, view), store._shelf.held(view.parts_in("raw", 0, 2**62)):
        commit(store, (KEYS[0], FIRST * DAY + 1, 2.0))
        store.tidy(LATER)
        assert "raw-20448-1.duckdb" in names(store)
        assert len(next(asking.pieces(con, view, FIRST * DAY, LATER))["time"]) == 1
    store.tidy(LATER)
    assert names(store) == ["hour-639-2.duckdb", "minute-20448-2.duckdb", "raw-20448-2.duckdb"]


@pytest.mark.parametrize("harm", ["gone", "short", "flipped"])
def test_a_damaged_part_is_set_aside_and_the_rest_goes_on(tmp_path: Path, harm: str) -> None:
    store, _ = opened(tmp_path)
    start = FIRST * DAY
    rows = [(KEYS[0], start + day * DAY + n * NS, float(n % 77)) for day in (0, 1) for n in range(20_000)]
    commit(store, *rows)
    store.tidy(LATER)
    store.close()
    file = tmp_path / "parts" / "raw-20448-1.duckdb"
    data = bytearray(file.read_bytes())
    match harm:
        case "gone":
            file.unlink()
        case "short":
            file.write_bytes(data[: len(data) // 2])
        case _:
            for place in range(len(data) // 4, len(data), 997):
                data[place] ^= 0xFF
            file.write_bytes(data)
    store, _ = opened(tmp_path)
    assert all_points(store) == [(t, v) for _, t, v in rows[20_000:]]
    [said] = store.set_aside
    assert "raw-20448-1.duckdb" in said
    assert "20,000 readings are lost to the raw tier" in said
    assert store.points(KEYS[0], 0, 2**62, DAY, "count", 9) == [(start, 20_000.0), (start + DAY, 20_000.0)]
    store.close()
    store, _ = opened(tmp_path)
    assert store.set_aside == []
    store.close()


def test_a_part_found_damaged_while_late_rows_are_merged_does_not_hold_up_the_closing(tmp_path: Path) -> None:
    store, _ = opened(tmp_path)
    commit(store, *((KEYS[0], FIRST * DAY + n * NS, float(n % 77)) for n in range(20_000)))
    store.tidy(LATER)
    store.close()
    file = tmp_path / "parts" / "minute-20448-1.duckdb"
    data = bytearray(file.read_bytes())
    for place in range(len(data) // 8, len(data), 499):
        data[place] ^= 0xFF
    file.write_bytes(data)
    store, _ = opened(tmp_path)
    commit(store, (KEYS[0], FIRST * DAY + 1, 5.0))
    store.tidy(LATER)
    assert "minute-20448-1.bad" in names(store)
    assert "raw-20448-2.duckdb" in names(store)
    assert "lost to the minute tier" in store.set_aside[0]
    assert len(all_points(store)) == 20_001
    store.close()


def test_parts_without_their_main_file_are_put_by_not_deleted(tmp_path: Path) -> None:
    store, _ = opened(tmp_path)
    commit(store, (KEYS[0], FIRST * DAY, 1.0))
    store.tidy(LATER)
    store.close()
    (tmp_path / "readings.duckdb").unlink()
    store, _ = opened(tmp_path)
    assert "set aside as parts.bad-" in store.set_aside[0]
    [aside] = tmp_path.glob("parts.bad-*")
    assert len(list(aside.iterdir())) == 3
    store.close()


def test_what_a_closing_left_behind_is_deleted_at_the_next_opening(tmp_path: Path) -> None:
    store, _ = opened(tmp_path)
    commit(store, (KEYS[0], FIRST * DAY, 1.0))
    store.tidy(LATER)
    store.close()
    for name in ("raw-20448-2.duckdb", "staged.duckdb", "staged.duckdb.wal"):
        (tmp_path / "parts" / name).write_bytes(b"half")
    store, _ = opened(tmp_path)
    assert len(names(store)) == 3
    assert len(all_points(store)) == 1
    store.close()


def test_a_snapshot_opens_as_the_store_was_while_that_goes_on(tmp_path: Path) -> None:
    store, _ = opened(tmp_path / "live")
    commit(store, (KEYS[0], FIRST * DAY, 1.0))
    store.tidy(LATER)
    commit(store, (KEYS[0], FIRST * DAY + 1, 2.0), (KEYS[1], LATER, 3.0))
    store.commit(Readings.concat([]), [Reject(9, 9, "t", "r", b"", 0)], Ledger(9, messages=9))
    want = all_points(store)
    (tmp_path / "copy").mkdir()
    store.snapshot(tmp_path / "copy")
    commit(store, (KEYS[0], FIRST * DAY + 2, 4.0))
    store.tidy(LATER)
    store.shed("raw", LATER)
    store.close()
    copy, _ = opened(tmp_path / "copy")
    assert copy.set_aside == []
    assert copy.ledger() == Ledger(9, messages=9)
    assert all_points(copy) == want
    assert [r.offset for r in copy.rejects(9)] == [9]
    copy.close()


def test_commits_and_questions_go_on_while_days_are_closed(store: DuckStore) -> None:
    commit(store, *((KEYS[n % 3], FIRST * DAY + n * NS, float(n)) for n in range(80_000)))
    wrong: list[BaseException] = []
    closing = threading.Thread(target=store.tidy, args=(LATER,))
    closing.start()
    late = 0
    try:
        while closing.is_alive() or late < 5:
            late += 1
            begun = time.perf_counter()
            commit(store, (KEYS[0], FIRST * DAY + late, 0.0), received=LATER)
            assert time.perf_counter() - begun < 5
            found = store.points(KEYS[0], FIRST * DAY, LATER, DAY, "count", 9)
            assert found == [(FIRST * DAY, 26_667.0 + late)]
    except BaseException as error:
        wrong.append(error)
    closing.join()
    assert not wrong
    assert sum(len(piece) for piece in store.scan(0, 2**62)) == 80_000 + late


def test_a_store_that_is_closed_meanwhile_abandons_a_closing_and_takes_it_up_again(tmp_path: Path) -> None:
    store, _ = opened(tmp_path)
    commit(store, *((KEYS[n % 3], FIRST * DAY + n * NS, float(n)) for n in range(86_000)))
    closing = threading.Thread(target=store.tidy, args=(LATER,))
    closing.start()
    time.sleep(0.05)
    store.close()
    closing.join()
    store, _ = opened(tmp_path)
    assert store.set_aside == []
    assert sum(len(piece) for piece in store.scan(0, 2**62)) == 86_000
    store.tidy(LATER)
    assert len(names(store)) == 3
    assert sum(len(piece) for piece in store.scan(0, 2**62)) == 86_000
    store.close()


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import numpy as np
from collector.core.readings import Readings, SeriesKey, SeriesTable
from collector.store.base import Ledger
from collector.store.duckdb import open_store

folder, wide, day = Path(sys.argv[1]), 200, 86_400 * 10**9
first, later = 20_448 * day, 20_500 * day

def opened():
    table = SeriesTable()
    numbers = [table.number(SeriesKey("s", f"d{i}", "m")) for i in range(wide)]
    return open_store("duckdb:", folder, table, 64_000_000, few=1), table, np.array(numbers, np.int32)

def write():
    store, table, series = opened()
    n = store.ledger().cursor + 1 if store.ledger() else 1
    while True:
        when = np.full(wide, first + n % 3 * day + n * 10**9)
        store.commit(Readings(series, when, when / 7, np.zeros(wide, np.uint8), when), [], Ledger(n))
        if n % 3 == 0:
            os.write(heard[1], b".")
            store.tidy(later)
        n += 1

def look():
    store, table, _ = opened()
    n = store.ledger().cursor if store.ledger() else 0
    assert store.set_aside == [], store.set_aside
    want = sorted(first + i % 3 * day + i * 10**9 for i in range(1, n + 1))
    for key in (table.keys[0], table.keys[-1]):
        assert [t for t, _ in store.points(key, 0, 2**62, None, "mean", 10**9)] == want, n
        for step in (60, 3_600):
            counts = store.points(key, 0, 2**62, step * 10**9, "count", 10**9)
            assert sum(v for _, v in counts) == n, (step, n)
    assert {t for t in store.lasts()[1].tolist()} == ({want[-1]} if want else set())
    print(n, flush=True)

def forked(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return child

random.seed(7)
for kill in range(int(sys.argv[2])):
    heard = os.pipe()
    writer = forked(write)
    os.close(heard[1])
    assert os.read(heard[0], 1), "the writer failed"
    time.sleep(random.uniform(0.0, 0.35))
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    if os.waitpid(forked(look), 0)[1]:
        sys.exit("something is lost or doubled")
"""


def test_killed_at_any_moment_of_a_closing_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), "14"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    reached = [int(n) for n in done.stdout.split()]
    assert len(reached) == 14
    assert reached == sorted(reached)
