"""The audit is append-only, and whoever changes the past is found out."""

from __future__ import annotations

import json
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.state import State, StateError
from collector.state.audit import A_DAY, MOST_DETAIL, Seal, append

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
    assert State(tmp_path / "other" / "state.db").verify_audit() is None


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
        (
            [
                "delete from audit where seq > 7",
                "update audit_head set seq = 7, hash = (select hash from audit where seq = 7)",
            ],
            8,
        ),
        (["delete from audit", "update audit_head set seq = 0, hash = x''"], 1),
        (["insert into audit values (11, 1, 'x', 'y', '{}', x'00')"], 11),
    ],
)
def test_a_change_in_the_past_is_found(
    state: State, tmp_path: Path, statements: list[str], found: int
) -> None:
    tamper(tmp_path, *statements)
    assert state.verify_audit() == found


def test_a_chain_made_anew_without_the_key_is_found(state: State, tmp_path: Path) -> None:
    """Whoever knows all but the key writes another past, every hash as this program would make it."""
    forged = tmp_path / "forged.key"
    forged.write_bytes(secrets.token_bytes(32))
    tamper(tmp_path, "delete from audit", "update audit_head set seq = 0, hash = x''")
    con = sqlite3.connect(tmp_path / "state.db")
    con.row_factory = sqlite3.Row
    for i in range(10):
        append(con, Seal(forged), NOW + i, "nobody", "alert.ack", {})
    con.commit()
    con.close()
    assert state.verify_audit() == 1


def test_the_key_is_for_its_owner_alone_and_the_same_after_a_restart(state: State, tmp_path: Path) -> None:
    key = tmp_path / "audit.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir() if "audit" in path.name] == ["audit.key"]
    before = key.read_bytes()
    other = State(tmp_path / "state.db")
    other.audit(NOW, "Siti", "x")
    assert key.read_bytes() == before
    assert other.verify_audit() is None
    other.close()
    assert len(before) == 32


def test_a_lost_key_is_said_and_the_audit_goes_on_but_proves_nothing(
    state: State, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = (tmp_path / "audit.key").rename(tmp_path / "kept")
    other = State(tmp_path / "state.db")
    assert other.verify_audit() == 1
    assert not (tmp_path / "audit.key").exists()  # looking makes none
    assert other.audit(NOW, "Siti", "x") == 11
    assert "key is gone" in caplog.text
    assert other.verify_audit() == 1
    other.close()
    shutil.copy(kept, tmp_path / "audit.key")  # from a backup: what was written before is proven again
    again = State(tmp_path / "state.db")
    assert again.verify_audit() == 11
    again.close()


def test_a_key_that_is_none_is_refused(state: State, tmp_path: Path) -> None:
    (tmp_path / "audit.key").write_bytes(b"short")
    other = State(tmp_path / "state.db")
    with pytest.raises(StateError, match=r"audit\.key"):
        other.audit(NOW, "Siti", "x")
    other.close()


def test_a_header_of_50_kilobytes_never_becomes_a_row(state: State) -> None:
    header = "\x1b\U0001f409" * 25_000
    state.audit(NOW, header, "denied", {"invalid": header, "more": [header] * 100, header: {"deep": header}})
    [row] = state.audit_rows(1)
    assert len(json.dumps(row.detail)) <= MOST_DETAIL
    assert len(row.who) < 300
    assert "50000" in row.who  # how much it was
    state.audit(NOW, "Siti", "alert.comment", {"comment": "c" * 1000})
    assert state.audit_rows(1)[0].detail == {"comment": "c" * 1000}
    assert state.verify_audit() is None


def test_denials_of_a_day_are_bounded_and_counted_and_what_people_do_goes_on(state: State) -> None:
    day = 86400 * 10**9
    most = A_DAY["denied"]
    rows = [state.audit(NOW + i, "10.0.0.9", "denied", {"invalid": "token"}) for i in range(most + 70)]
    assert None not in rows[:most]
    assert rows[most:] == [None] * 70
    assert state.audit(NOW + day // 4, "Siti", "alert.ack") == 10 + most + 1
    assert state.audit(NOW + day, "Siti", "alert.ack") == 10 + most + 3
    [told] = state.audited("audit.left_out", 9)
    assert (told.who, told.detail) == ("collector", {"denied": 70})
    assert state.audit(NOW + day, "10.0.0.9", "denied") is not None
    assert state.verify_audit() is None


def test_what_was_left_out_is_told_at_a_stop_too(state: State, tmp_path: Path) -> None:
    for i in range(A_DAY["login"] + 5):
        state.audit(NOW + i, "Rina", "login")
    state.close()
    other = State(tmp_path / "state.db")
    assert [row.detail for row in other.audited("audit.left_out", 9)] == [{"login": 5}]
    assert other.verify_audit() is None
    other.close()
