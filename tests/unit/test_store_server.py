"""A store on a server that loses, refuses and goes away: nothing is lost, and every commit counts once."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.core.readings import F64, I64, Bools, Readings, SeriesKey, SeriesTable
from collector.store.base import Ledger, Reject, Store, StoreError
from collector.store.server.accounts import Accounts
from collector.store.server.refusal import LinesRefusedError
from collector.store.server.store import ServerStore
from devices.problems import Problems

S = 10**9
T0 = 1_764_000_000 * S
KEYS = [SeriesKey("1305012001", f"rtr-{i}", "latency_ms") for i in range(4)]


class KilledError(BaseException):
    """The collector dies here: once the server has what it was sent, or before."""

    def __init__(self, *, sent: bool) -> None:
        self.sent = sent
        super().__init__()


@dataclass
class Fake:
    """A server in memory. What it was sent since `sync` it loses with `restart`."""

    resolution: int = 1
    tolerance: float = 0.0
    settles: float = 3600.0
    kept: dict[str, str] = field(default_factory=dict)  # series and time -> the rest of the line
    fresh: dict[str, str] = field(default_factory=dict)
    run: int = 1
    trouble: list[BaseException | None] = field(default_factory=list)  # what the next writes do
    bad: str = "never"  # in a line: it is refused
    writes: int = 0

    def incarnation(self) -> str:
        return str(self.run)

    def write(self, rows: list[str]) -> None:
        self.writes += 1
        trouble = self.trouble.pop(0) if self.trouble else None
        if trouble is not None and not (isinstance(trouble, KilledError) and trouble.sent):
            raise trouble
        bad = [row for row in rows if self.bad in row]
        for row in rows:
            if row not in bad and not row.startswith("nagari_probe"):
                name, value, when = row.split(" ")
                assert (self.kept | self.fresh).get(f"{name} {when}", value) == value, "another value"
                self.fresh[f"{name} {when}"] = value
        if trouble is not None:
            raise trouble
        if bad:
            raise LinesRefusedError("400 partial write", len(bad))

    def sync(self) -> None:
        self.kept |= self.fresh
        self.fresh.clear()

    def restart(self) -> None:
        self.fresh.clear()
        self.run += 1

    def show(self) -> None: ...

    def find(self, keys: list[SeriesKey], which: I64, times: I64) -> tuple[Bools, F64]:
        known = self.kept | self.fresh
        rows = [
            known.get(f"{key.metric},device={key.device},site={key.site} {when}")
            for key, when in zip((keys[n] for n in which.tolist()), times.tolist(), strict=True)
        ]
        values = [np.nan if row is None else float(row.split(",")[0].removeprefix("value=")) for row in rows]
        return np.array([row is not None for row in rows], np.bool_), np.array(values, np.float64)

    def newest(self, metric: str, since: int, until: int) -> Iterable[Any]:
        return ()

    def points(self, *asked: Any) -> list[tuple[int, float]]:
        return []

    def close(self) -> None: ...


def opened(folder: Path, server: Fake) -> tuple[ServerStore, SeriesTable]:
    table = SeriesTable()
    return ServerStore(server, Accounts(folder / "accounts.db", table), table), table


def rows(table: SeriesTable, n: int) -> Readings:
    """The readings of commit number n."""
    series = np.array([table.number(key) for key in KEYS], np.int32)
    time = np.full(len(KEYS), T0 + n * S)
    quality = np.array([0, 0, 1, 0], np.uint8)
    return Readings(series, time, np.arange(len(KEYS)) + float(n), quality, time + np.arange(len(KEYS)))


def book(n: int) -> Ledger:
    return Ledger(cursor=n, messages=4 * n, stored=4 * n, values=4 * n)


def wanted(commits: int) -> dict[str, str]:
    return {
        f"{key.metric},device={key.device},site={key.site} {T0 + n * S}": f"value={i + float(n)!r}"
        + (",quality=1.0" if i == 2 else "")
        for n in range(1, commits + 1)
        for i, key in enumerate(KEYS)
    }


STEPS = st.lists(
    st.sampled_from(["commit", "commit", "away", "killed", "killed unsent", "restart", "sync"]),
    max_size=30,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whoever_dies_whenever_all_rows_get_there_and_each_commit_counts_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    folder, server = tmp_path_factory.mktemp("server"), Fake()
    store, table = opened(folder, server)
    store._looked = -1e9
    n = 1
    for step in [*steps, "restart", "commit", "commit"]:
        store._looked = -1e9  # a second has passed
        match step:
            case "restart":
                server.restart()
                continue
            case "sync":
                server.sync()
                continue
            case "killed":
                server.trouble = [None] * (server.writes % 2) + [KilledError(sent=True)]
            case "killed unsent":
                server.trouble = [KilledError(sent=False)]
            case "away":
                server.trouble = [StoreError("away", permanent=False)] * 2
        for _ in range(6):
            try:
                assert store.commit(rows(table, n), [], book(n)) == book(n)
                n += 1
                break
            except StoreError:
                continue
            except KilledError:
                store.close()
                store, table = opened(folder, server)
                ledger = store.ledger()
                n = ledger.cursor + 1 if ledger else 1
                break
        server.trouble = []
    assert store.ledger() == book(n - 1)
    assert server.kept | server.fresh == wanted(n - 1)
    store.close()


def test_a_commit_that_was_noted_but_not_sent_is_found_and_goes_out_at_the_next_start(tmp_path: Path) -> None:
    server = Fake(trouble=[StoreError("away", permanent=False)])
    store, table = opened(tmp_path, server)
    with pytest.raises(StoreError, match="away"):
        store.commit(rows(table, 1), [], book(1))
    store.close()
    store, table = opened(tmp_path, server)
    assert store.ledger() == book(1)
    first = rows(table, 1)
    there, value = store.find(first.series, first.time)
    assert there.all()
    assert value.tolist() == first.value.tolist()
    store.close()


def test_rows_are_let_go_of_once_the_same_run_has_had_them_for_long_enough(tmp_path: Path) -> None:
    server = Fake(settles=0.0)
    store, table = opened(tmp_path, server)
    for n in range(1, 6):
        store._looked = -1e9
        store.commit(rows(table, n), [], book(n))
    assert len(store._accounts.waiting()) <= 2
    server.settles = 3600.0
    for n in range(6, 11):
        store._looked = -1e9
        store.commit(rows(table, n), [], book(n))
    assert len(store._accounts.waiting()) >= 5
    store.close()


def test_only_the_bad_line_is_refused_and_its_message_if_nothing_is_left_of_it(tmp_path: Path) -> None:
    server = Fake(bad="rtr-1")
    store, table = opened(tmp_path, server)
    batch = rows(table, 1)
    of_two = np.array([1, 2, 2, 3], np.int64) + T0  # the second message has a good value, too
    batch = Readings(batch.series, batch.time, batch.value, batch.quality, of_two)
    ledger = store.commit(batch, [], Ledger(1000, messages=3, stored=3, values=4))
    assert ledger == Ledger(1000, messages=3, stored=3, values=3)
    server.bad = "rtr-3"
    ledger = store.commit(rows(table, 2), [], Ledger(2000, messages=7, stored=7, values=7))
    assert ledger == Ledger(2000, messages=7, stored=6, quarantined=1, values=6)
    assert store.ledger() == ledger
    newest, older = store.rejects(10)
    assert newest.topic == "nagari/v1/1305012001/rtr-3/tele"
    assert newest.reason == "the store refused it: 400 partial write"
    assert newest.head.startswith(b"latency_ms,device=rtr-3,site=1305012001 value=5.0 ")
    assert older.topic.endswith("/rtr-1/tele")
    assert len(server.fresh) == 6
    server.bad = "never"
    server.restart()  # what was refused is not sent again
    store._looked = -1e9
    store.commit(rows(table, 3), [], book(3))
    assert len(server.fresh) == 10
    store.close()


def test_what_was_refused_of_an_old_commit_is_told_with_the_next_ledger(tmp_path: Path) -> None:
    server = Fake(trouble=[StoreError("away", permanent=False)])
    store, table = opened(tmp_path, server)
    with pytest.raises(StoreError):
        store.commit(rows(table, 1), [], book(1))
    store.close()
    server.bad = "rtr-0"
    store, table = opened(tmp_path, server)
    assert store.ledger() == book(1)
    want = Ledger(2, messages=8, stored=6, quarantined=2, values=6)
    assert store.commit(rows(table, 2), [], book(2)) == want
    assert store.ledger() == want
    store.close()


def test_a_server_that_refuses_everything_is_away_and_no_line_is_bad(tmp_path: Path) -> None:
    server = Fake(bad=" ")
    store, table = opened(tmp_path, server)
    for _ in range(3):
        with pytest.raises(StoreError, match="refuses whatever it is sent") as failed:
            store.commit(rows(table, 1), [], book(1))
        assert not failed.value.permanent
    server.bad = "never"
    assert store.commit(rows(table, 1), [], book(1)) == book(1)
    assert store.rejects(9) == []
    store.close()


def test_a_damaged_accounts_file_is_set_aside_and_a_newer_one_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, table = opened(tmp_path, Fake())
    store.commit(rows(table, 1), [Reject(1, 1, "t", "r", b"", 0)], book(1))
    store.close()
    file = tmp_path / "accounts.db"
    good = file.read_bytes()
    file.write_bytes(b"this is no database\n" * 500)
    with caplog.at_level(logging.ERROR):
        store, _ = opened(tmp_path, Fake())
    assert store.ledger() is None
    [said] = store.set_aside
    assert "is damaged (file is not a database); it was set aside as .bad-" in said
    store.close()
    file.write_bytes(good)
    with sqlite3.connect(file) as con:
        con.execute("update meta set version = 99")
    con.close()
    with pytest.raises(Problems, match="newer collector"):
        opened(tmp_path, Fake())


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store, table = opened(tmp_path, Fake())
    store.close()
    with pytest.raises(StoreError, match="is closed"):
        store.commit(rows(table, 1), [], book(1))


def test_it_is_a_store(tmp_path: Path) -> None:
    store: Store = opened(tmp_path, Fake())[0]
    store.close()


def test_accounts_that_have_lost_their_version_are_set_aside(tmp_path: Path) -> None:
    store, _ = opened(tmp_path, Fake())
    store.close()
    with sqlite3.connect(tmp_path / "accounts.db") as con:
        con.execute("delete from meta")
    con.close()
    store, _ = opened(tmp_path, Fake())
    assert "does not say what version it is" in store.set_aside[0]
    assert store.ledger() is None
    store.close()
