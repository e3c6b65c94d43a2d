"""The audit is append-only, and whoever changes the past is found out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.state import State

NOW = 1_764_000_000 * 10**9


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    state = State(tmp_path / "state.db")
    for i in range(10):
        state.audit(NOW + i, "Siti", "alert.ack", {"alert": f"a{i}", "comment": "é \ud800"})
    yield state
    state.close()


def tamper(tmp_path: Path, *statements: str) -> None:
    con = sqlite3.connect(tmp_path / "state.db")
    con.execute("drop trigger audit_keeps_what_it_has")
    con.execute("drop trigger audit_loses_nothing")
    for statement in statements:
        con.execute(statement)
    con.commit()
    con.close()


def test_an_untouched_audit_verifies_also_when_empty(state: State, tmp_path: Path) -> None:
    assert state.verify_audit() is None
    assert State(tmp_path / "other.db").verify_audit() is None


def test_rows_are_paged_newest_first(state: State) -> None:
    page = state.audit_rows(limit=3)
    assert [row.seq for row in page] == [10, 9, 8]
    assert [row.seq for row in state.audit_rows(limit=3, before=8)] == [7, 6, 5]
    assert (page[0].who, page[0].what, page[0].at) == ("Siti", "alert.ack", NOW + 9)
    assert page[0].detail == {"alert": "a9", "comment": "é \ud800"}


@pytest.mark.parametrize(
    "statement", ["update audit set who = 'x' where seq = 3", "delete from audit where seq = 3"]
)
def test_the_file_itself_refuses_a_change(state: State, tmp_path: Path, statement: str) -> None:
    con = sqlite3.connect(tmp_path / "state.db")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        con.execute(statement)
    con.close()


@pytest.mark.parametrize(
    ("statements", "found"),
    [
        (["update audit set who = 'nobody' where seq = 4"], 4),
        (["update audit set at = at + 1 where seq = 1"], 1),
        (["update audit set detail = '{}' where seq = 10"], 10),
        (["update audit set hash = x'00' where seq = 5"], 5),
        (["delete from audit where seq = 6"], 6),
        (["delete from audit where seq = 10"], 10),
        (["delete from audit"], 1),
        (["delete from audit where seq > 7", "update audit_head set seq = 7"], 8),
        (["insert into audit values (11, 1, 'x', 'y', '{}', x'00')"], 11),
    ],
)
def test_a_change_in_the_past_is_found(
    state: State, tmp_path: Path, statements: list[str], found: int
) -> None:
    tamper(tmp_path, *statements)
    assert state.verify_audit() == found
