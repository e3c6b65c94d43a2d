"""A state.db that is damaged, empty or away says so, in words that need no SQLite."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.state import Snapshots, State, StateError
from tests.unit.test_ingest_journal import until
from tests.unit.test_state_alerts import raised, summary

NOW = 1_764_000_000 * 10**9
PAGE = 4096


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A state.db of some dozen pages, closed."""
    state = State(tmp_path / "state.db")
    for n in range(300):
        state.audit(NOW + n, "Siti", "alert.ack", {"comment": "x" * 200})
    state.commit(10, [raised(3)], summary)
    state.close()
    return tmp_path / "state.db"


def spoil(file: Path, table: str) -> None:
    """Garbage where the table has its root page."""
    con = sqlite3.connect(file)
    [page] = con.execute("select rootpage from sqlite_master where name = ?", [table]).fetchone()
    con.close()
    with file.open("r+b") as out:
        out.seek((page - 1) * PAGE)
        out.write(b"\xa5" * PAGE)


def critical(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL]


def test_a_garbage_page_that_nobody_touches_is_found_by_looking_and_said_once(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(file, "outbox")
    state = State(file)
    assert state.damage == ""
    assert str(file) in state.check()
    assert state.check() == state.damage
    [said] = critical(caplog)
    assert "damaged" in said
    assert state.cursor() == 10  # what is whole goes on
    state.close()


def test_a_sound_file_has_nothing_to_say(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = State(file)
    assert (state.check(), state.damage) == ("", "")
    assert critical(caplog) == []
    state.close()


def test_a_garbage_page_that_is_met_is_a_state_error_and_said_once(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(file, "audit")
    state = State(file)
    for _ in range(3):
        with pytest.raises(StateError) as met:
            state.audit_rows()
        assert (met.value.damaged, met.value.permanent, met.value.full) == (True, True, False)
    assert len(critical(caplog)) == 1
    assert state.damage
    state.close()


def test_no_error_of_sqlite_leaves_by_the_door(file: Path) -> None:
    state = State(file)
    state._db._writer.execute("drop table consumers")
    state._db._writer.execute("drop table outbox")
    for broken in (
        lambda: state.consumer("x"),
        lambda: state.consumed("x", 1),
        lambda: state.outbox(0),
        lambda: state.prune_outbox(NOW),
        lambda: state.commit(20, [raised(11)], summary),
    ):
        with pytest.raises(StateError, match="no such table"):
            broken()
    assert state.cursor() == 10
    state.close()
    with pytest.raises(StateError):
        state.cursor()


@pytest.fixture
def snapshots(tmp_path: Path) -> Iterator[Snapshots]:
    snapshots = Snapshots(tmp_path / "snapshots")
    snapshots.save("alarming", 10, b"a")
    return snapshots


def test_an_empty_file_in_place_of_the_one_that_was_is_said_and_it_goes_on(
    file: Path, snapshots: Snapshots, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_bytes(b"")
    state = State(file)
    assert state.notice_loss(snapshots.reached("alarming"), journaled=True, now=NOW)
    [said] = critical(caplog)
    assert str(file) in said
    [row] = state.audited("state.lost", 5)
    assert row.detail == {"cursor": 0, "reached": 10}
    state.commit(10, [raised(3)], summary)
    assert state.cursor() == 10
    state.close()


def test_a_file_made_anew_before_the_start_is_noticed_by_the_snapshot(
    file: Path, snapshots: Snapshots
) -> None:
    file.unlink()
    state = State(file)
    state.create_token("admin", "somebody", NOW)
    state.close()
    state = State(file)
    assert state.notice_loss(snapshots.reached("alarming"), journaled=True, now=NOW)
    state.close()


def test_without_a_snapshot_the_journal_tells_of_it(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    assert state.notice_loss(0, journaled=True, now=NOW)
    state.close()


def test_a_first_start_and_an_ordinary_one_notice_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state, snapshots = State(tmp_path / "state.db"), Snapshots(tmp_path / "snapshots")
    assert not state.notice_loss(snapshots.reached("alarming"), journaled=False, now=NOW)
    state.commit(10, [raised(3)], summary)
    snapshots.save("alarming", 10, b"a")
    state.close()
    state = State(tmp_path / "state.db")
    assert not state.notice_loss(snapshots.reached("alarming"), journaled=True, now=NOW)
    assert state.audit_rows() == []
    assert critical(caplog) == []
    state.close()


def test_it_closes_at_once_while_it_is_looked_through(file: Path) -> None:
    con = sqlite3.connect(file)
    con.executescript("create table much (x blob)")
    con.executemany("insert into much values (zeroblob(1000000))", [[]] * 300)
    con.commit()
    con.close()
    state = State(file)
    looking = threading.Thread(target=state.check)
    looking.start()
    until(lambda: state._db._looking.locked() or not looking.is_alive())
    state.close()
    looking.join(5)
    assert not looking.is_alive()
    assert state.damage == ""


def test_a_close_leaves_one_file(file: Path) -> None:
    state = State(file)
    state.audit(NOW, "Siti", "x")
    state.check()
    state.close()
    assert sorted(path.name for path in file.parent.iterdir()) == ["audit.key", "state.db"]
