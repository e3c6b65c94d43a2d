"""The DuckDB file under abuse: killed, torn, flipped, full, locked, newer. Ledger and rows always agree."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from collector.core.readings import Readings, SeriesKey, SeriesTable
from collector.store.base import Ledger, Reject, StoreError
from collector.store.duckdb import DuckStore, open_store
from devices.problems import Problems
from tests.disk import small_disk

KEYS = [SeriesKey("1305012001", f"rtr-{i}", "latency_ms") for i in range(50)]
T0 = 1_764_000_000 * 10**9
MEMORY = 64_000_000

# Each commit n brings one row to each series, at T0 + n, one reject, and the ledger's cursor n.
COMMITS = """
import os, signal, subprocess, sys
from pathlib import Path
from typing import Any
import numpy as np
from collector.core.readings import Readings, SeriesKey, SeriesTable
from collector.store.base import Ledger, Reject, StoreError
from collector.store.duckdb import open_store

folder, wide = Path(sys.argv[1]), int(sys.argv[2])
table = SeriesTable()
numbers = [table.number(SeriesKey("1305012001", f"rtr-{i}", "latency_ms")) for i in range(wide)]
series = np.array(numbers, np.int32)

def commit(n):
    time = np.full(wide, 1_764_000_000 * 10**9 + n)
    value = np.random.default_rng(n).normal(size=wide)
    rows = Readings(series, time, value, np.zeros(wide, np.uint8), time)
    store.commit(rows, [Reject(n, n, "t", "r", b"", 0)], Ledger(n, messages=n, values=n * wide))

def after():
    return store.ledger().cursor + 1 if store.ledger() else 1
"""
# Forked children, so that a kill costs no start of Python: one commits and is killed, the next one looks.
KILLED = """
import random, time

def write():
    n = after()
    while True:
        commit(n)
        os.write(heard[1], b".")
        n += 1

def look():
    n = store.ledger().cursor if store.ledger() else 0
    assert store.set_aside == [], store.set_aside
    for key in (table.keys[0], table.keys[-1]):
        points = store.points(key, 0, 2**62, None, "mean", 10**9)
        assert [t - 1_764_000_000 * 10**9 for t, _ in points] == list(range(1, n + 1)), n
    assert [r.offset for r in store.rejects(10**6)] == list(range(n, 0, -1)), n
    print(n, flush=True)

def forked(work):
    global store
    child = os.fork()
    if child == 0:
        try:
            store = open_store("duckdb:", folder, table, 64_000_000)
            work()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return child

random.seed(wide)
for kill in range(int(sys.argv[3])):
    heard = os.pipe()
    writer = forked(write)
    os.close(heard[1])
    if kill % 3:  # most are hit at work, some while they open the file
        assert os.read(heard[0], 1), "the writer failed"
    time.sleep(random.uniform(0.0, 0.1))
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    if os.waitpid(forked(look), 0)[1]:
        sys.exit("the ledger and the rows do not agree")
"""
OPEN = (
    COMMITS
    + """
store = open_store("duckdb:", folder, table, 64_000_000)
"""
)
THEN_DIE = """
for n in range(after(), after() + int(sys.argv[3])):
    commit(n)
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_after(folder: Path, commits: int, wide: int = 50) -> None:
    """A store as a process leaves it that was killed right after its last commit."""
    code = OPEN + THEN_DIE
    done = subprocess.run([sys.executable, "-c", code, str(folder), str(wide), str(commits)], check=False)
    assert done.returncode == -signal.SIGKILL


def opened(folder: Path) -> tuple[DuckStore, SeriesTable]:
    table = SeriesTable()
    return open_store("duckdb:", folder, table, MEMORY), table


def agreed(store: DuckStore, keys: list[SeriesKey] = KEYS) -> int:
    """The ledger's cursor, once rows and rejects were found to be exactly those it speaks of."""
    ledger = store.ledger()
    n = ledger.cursor if ledger else 0
    want = [T0 + i for i in range(1, n + 1)]
    for key in (keys[0], keys[-1]):
        assert [t for t, _ in store.points(key, 0, 2**62, None, "mean", 10**9)] == want
    newest = [r.offset for r in store.rejects(10_000)]
    assert newest == list(range(n, max(0, n - 10_000), -1))
    return n


def aside(folder: Path) -> list[str]:
    return sorted(file.name.partition(".bad-")[0] for file in folder.iterdir() if ".bad-" in file.name)


def one_commit(store: DuckStore, table: SeriesTable, n: int) -> None:
    series = np.array([table.number(key) for key in KEYS], np.int32)
    time = np.full(len(KEYS), T0 + n)
    rows = Readings(series, time, np.zeros(len(KEYS)), np.zeros(len(KEYS), np.uint8), time)
    store.commit(rows, [Reject(n, n, "t", "r", b"", 0)], Ledger(n, messages=n))


def flip(file: Path, *places: int) -> None:
    data = bytearray(file.read_bytes())
    for place in places:
        data[place] ^= 0xFF
    file.write_bytes(data)


@pytest.mark.parametrize(("wide", "kills"), [(50, 15), (12_500, 10)])
def test_killed_at_any_moment_the_ledger_agrees_with_the_rows(tmp_path: Path, wide: int, kills: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMMITS + KILLED, str(tmp_path), str(wide), str(kills)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    reached = [int(n) for n in done.stdout.split()]
    assert len(reached) == kills
    assert reached == sorted(reached)
    assert len(set(reached)) >= kills // 2


def test_a_wal_torn_anywhere_leaves_whole_commits_only(tmp_path: Path) -> None:
    killed_after(tmp_path, 20)
    wal = tmp_path / "readings.duckdb.wal"
    torn, main = wal.read_bytes(), (tmp_path / "readings.duckdb").read_bytes()
    seen = set()
    for length in range(0, len(torn), len(torn) // 14):
        (tmp_path / "readings.duckdb").write_bytes(main)
        wal.write_bytes(torn[:length])
        store, table = opened(tmp_path)
        n = agreed(store)
        seen.add(n)
        one_commit(store, table, n + 1)
        assert agreed(store) == n + 1
        store.close()
    assert len(seen) > 7
    assert aside(tmp_path) == []


def test_a_flipped_wal_is_set_aside_and_the_file_stands_at_its_checkpoint(tmp_path: Path) -> None:
    killed_after(tmp_path, 5)
    opened(tmp_path)[0].close()  # a clean close is a checkpoint
    killed_after(tmp_path, 7)
    wal = tmp_path / "readings.duckdb.wal"
    flip(wal, wal.stat().st_size // 2)
    store, table = opened(tmp_path)
    assert agreed(store) == 5
    assert aside(tmp_path) == ["readings.duckdb.wal"]
    [said] = store.set_aside
    assert "write-ahead log was set aside" in said
    assert "\n" not in said
    one_commit(store, table, 6)
    assert agreed(store) == 6
    store.close()


@pytest.mark.parametrize("harm", ["garbage", "empty", "half", "header", "all over"])
def test_a_bad_file_is_set_aside_and_a_fresh_one_begun(tmp_path: Path, harm: str) -> None:
    killed_after(tmp_path, 5)
    opened(tmp_path)[0].close()
    file = tmp_path / "readings.duckdb"
    size = file.stat().st_size
    match harm:
        case "garbage":
            file.write_bytes(b"this is no database\n" * 1000)
        case "empty":
            file.write_bytes(b"")
        case "half":
            file.write_bytes(file.read_bytes()[: size // 2])
        case "header":
            flip(file, 20)
        case _:
            flip(file, *range(12_288, size, 997))
    bad = file.read_bytes()
    store, table = opened(tmp_path)
    assert store.ledger() is None
    assert [len(column) for column in store.lasts()] == [0, 0, 0]
    assert "damaged" in store.set_aside[0]
    assert aside(tmp_path) == ["readings.duckdb"]
    assert next(tmp_path.glob("*.bad-*")).read_bytes() == bad
    one_commit(store, table, 1)
    assert agreed(store) == 1
    store.close()


def test_a_wal_without_its_file_is_no_harm(tmp_path: Path) -> None:
    killed_after(tmp_path, 5)
    opened(tmp_path)[0].close()
    killed_after(tmp_path, 5)
    (tmp_path / "readings.duckdb").unlink()
    store, table = opened(tmp_path)
    assert store.ledger() is None
    one_commit(store, table, 1)
    store.close()
    store, _ = opened(tmp_path)
    assert agreed(store) == 1
    store.close()


def test_a_block_found_bad_later_is_permanent_and_the_next_start_sets_the_file_aside(tmp_path: Path) -> None:
    killed_after(tmp_path, 40, wide=12_500)
    opened(tmp_path)[0].close()
    file = tmp_path / "readings.duckdb"
    size = file.stat().st_size
    flip(file, *range(size // 3, size * 2 // 3, 4093))  # the readings' blocks, not the catalogue at the end
    store, table = opened(tmp_path)
    assert store.set_aside == []
    series = np.array([table.number(key) for key in KEYS], np.int32)
    with pytest.raises(StoreError) as failed:
        store.find(np.tile(series, 40), T0 + np.repeat(np.arange(1, 41), len(series)))
    assert failed.value.permanent
    store.close()
    store, table = opened(tmp_path)
    assert store.ledger() is None
    assert "readings.duckdb" in aside(tmp_path)
    store.close()
    store, _ = opened(tmp_path)
    assert store.set_aside == []
    store.close()


@pytest.mark.parametrize(
    "megabytes", [8, 24]
)  # 8: the write-ahead log does not fit; 24: its checkpoint does not
def test_a_full_disk_loses_and_doubles_nothing(tmp_path: Path, megabytes: int) -> None:
    fill = """
import threading

def read():  # a page that is looked at meanwhile must not keep the broken file open
    while reading:
        try:
            store.points(table.keys[0], 0, 2**62, None, "mean", 10**6)
        except StoreError:
            pass

reading = [True]
reader = threading.Thread(target=read)
reader.start()
failed = 0
while after() <= 100:
    try:
        commit(after())
    except StoreError as error:
        assert not error.permanent, error
        failed += 1
        if failed == 4:
            subprocess.run(["mount", "-o", "remount,size=200m", str(folder)], check=True)
        n = after()  # as the follower does: the very same commit again
reading.clear()
reader.join()
assert failed >= 4, failed
assert len(store.points(table.keys[0], 0, 2**62, None, "mean", 10**6)) == 100
os.kill(os.getpid(), signal.SIGKILL)
"""
    check = """
assert store.set_aside == [], store.set_aside
assert store.ledger().cursor == 100, store.ledger()
for i in (0, 12_499):
    points = store.points(SeriesKey("1305012001", f"rtr-{i}", "latency_ms"), 0, 2**62, None, "mean", 10**9)
    assert [t - 1_764_000_000 * 10**9 for t, _ in points] == list(range(1, 101))
assert [r.offset for r in store.rejects(999)] == list(range(100, 0, -1))
print("whole")
"""
    with small_disk(tmp_path / "disk", f"{megabytes}m") as disk:
        for script in (OPEN + fill, OPEN + check):
            command = [sys.executable, "-c", script, str(disk.folder), "12500"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "whole\n", done.stderr


def test_a_commit_that_failed_can_be_given_again_and_another_too(tmp_path: Path) -> None:
    store, table = opened(tmp_path)
    one_commit(store, table, 1)
    broken = Reject(2, 2**80, "t", "r", b"", 0)  # no 64-bit integer: numpy refuses
    series = np.array([table.number(SeriesKey("s", "new", "m"))], np.int32)
    rows = Readings(series, np.array([T0]), np.array([1.0]), np.zeros(1, np.uint8), np.array([T0]))
    with pytest.raises(OverflowError):
        store.commit(rows, [broken], Ledger(2))
    assert store.ledger() == Ledger(1, messages=1)
    assert store.points(SeriesKey("s", "new", "m"), 0, 2**62, None, "mean", 9) == []
    store.commit(rows, [], Ledger(2))
    assert store.points(SeriesKey("s", "new", "m"), 0, 2**62, None, "mean", 9) == [(T0, 1.0)]
    one_commit(store, table, 3)
    store.close()
    store, _ = opened(tmp_path)
    assert len(store.lasts()[0]) == len(KEYS) + 1
    store.close()


def test_a_file_in_another_process_is_named_with_its_holder(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", OPEN + "print('up', flush=True); sys.stdin.read()", str(tmp_path), "1"],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        with pytest.raises(Problems) as refused:
            opened(tmp_path)
    finally:
        holder.communicate()
    assert f"another process has it open (PID {holder.pid})" in str(refused.value)
    assert aside(tmp_path) == []


@pytest.mark.parametrize(("age", "schema"), [("a newer", 99), ("an older", 2)])
def test_a_file_of_another_version_is_refused_and_left_alone(tmp_path: Path, age: str, schema: int) -> None:
    store, table = opened(tmp_path)
    one_commit(store, table, 1)
    store.close()
    with duckdb.connect(str(tmp_path / "readings.duckdb")) as con:
        con.execute("update meta set version = ?", [schema])
    with pytest.raises(
        Problems, match=rf"readings\.duckdb: was written by {age} collector \(schema {schema}"
    ) as refused:
        opened(tmp_path)
    assert "\n" not in str(refused.value)
    assert aside(tmp_path) == []


def test_somebody_elses_duckdb_is_refused_and_left_alone(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "readings.duckdb")) as con:
        con.execute("create table theirs (x integer)")
    with pytest.raises(Problems, match="not this collector's"):
        opened(tmp_path)
    assert aside(tmp_path) == []


def test_a_file_without_tables_is_taken_for_new(tmp_path: Path) -> None:
    duckdb.connect(str(tmp_path / "readings.duckdb")).close()
    store, table = opened(tmp_path)
    one_commit(store, table, 1)
    assert agreed(store) == 1
    store.close()


def test_a_url_and_a_folder_that_cannot_be_are_named(tmp_path: Path) -> None:
    with pytest.raises(Problems, match=r"store\.url: 'influx://x' is no store"):
        open_store("influx://x", tmp_path, SeriesTable(), MEMORY)
    (tmp_path / "file").write_text("")
    with pytest.raises(Problems, match="cannot be made"):
        open_store("duckdb:", tmp_path / "file", SeriesTable(), MEMORY)
    (tmp_path / "readings.duckdb").mkdir()
    with pytest.raises(Problems, match="is no file"):
        open_store("duckdb:", tmp_path, SeriesTable(), MEMORY)


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store, table = opened(tmp_path)
    one_commit(store, table, 1)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="is closed"):
        store.points(KEYS[0], 0, 2**62, None, "mean", 1)
    with pytest.raises(StoreError, match="is closed"):
        one_commit(store, table, 2)


class AnswerLost(DuckStore):
    """A commit that reaches the disk, but whose success nobody hears of."""

    lost = False

    def _write(self, *commit: Any) -> None:
        super()._write(*commit)
        if self.lost:
            self.lost = False
            raise duckdb.IOException("No space left on device")


def test_a_commit_that_reached_the_disk_unheard_is_not_doubled_when_given_again(tmp_path: Path) -> None:
    table = SeriesTable()
    store = AnswerLost(tmp_path / "readings.duckdb", table, MEMORY)
    one_commit(store, table, 1)
    for n in (2, 3):
        store.lost = True
        with pytest.raises(StoreError) as failed:
            one_commit(store, table, n)
        assert not failed.value.permanent
        if n == 3:  # who asks instead of trying again hears the truth, too
            assert store.ledger() == Ledger(3, messages=3)
            there, _ = store.find(np.array([0], np.int32), np.array([T0 + 3]))
            assert there.all()
        one_commit(store, table, n)
        assert agreed(store) == n
    one_commit(store, table, 4)
    assert agreed(store) == 4
    store.close()
