"""Versions of the region folder come back to the byte; and state.db grows with the program's versions."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.state import State
from collector.state.schema import MIGRATIONS, migrate
from devices.problems import Problems


@settings(max_examples=20, deadline=None)
@given(st.dictionaries(st.text("abc/._", min_size=1), st.binary(max_size=300), max_size=6))
def test_a_region_comes_back_to_the_byte(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    state = State(tmp_path_factory.mktemp("region") / "state.db")
    state.put_region("h1", files)
    assert state.region("h1") == files
    state.close()


def test_a_known_region_is_left_as_it_is_and_an_unknown_one_is_said_to_be(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    state.put_region("h1", {"sites.csv": b"one"})
    state.put_region("h1", {"sites.csv": b"two"})
    assert state.region("h1") == {"sites.csv": b"one"}
    with pytest.raises(KeyError):
        state.region("h2")
    state.close()


def test_a_file_that_did_not_change_is_kept_once(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    for i in range(5):
        state.put_region(f"h{i}", {"boundaries.geojson": b"[0,0]" * 1000, "region.toml": b"%d" % i})
    assert state.region("h4") == {"boundaries.geojson": b"[0,0]" * 1000, "region.toml": b"4"}
    con = sqlite3.connect(tmp_path / "state.db")
    assert con.execute("select count(*) from contents").fetchone()[0] == 6
    con.close()
    state.close()


def test_a_file_of_a_newer_version_is_refused_in_one_sentence(tmp_path: Path) -> None:
    State(tmp_path / "state.db").close()
    con = sqlite3.connect(tmp_path / "state.db")
    con.execute("pragma user_version = 99")
    con.close()
    with pytest.raises(Problems, match="was written by a newer collector") as refused:
        State(tmp_path / "state.db")
    assert "\n" not in str(refused.value)


def test_an_older_file_is_brought_up_to_date_and_keeps_what_it_has(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    state = State(file)
    state.put_region("h1", {"a": b"1"})
    state.close()
    con = sqlite3.connect(file, isolation_level=None)
    migrate(con, file, (*MIGRATIONS, "create table more (x integer) strict; insert into more values (1);"))
    assert con.execute("select x from more").fetchall() == [(1,)]
    assert con.execute("select count(*) from region_files").fetchone() == (1,)
    assert con.execute("pragma user_version").fetchone() == (len(MIGRATIONS) + 1,)
    con.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    State(file).close()
    con = sqlite3.connect(file, isolation_level=None)
    with pytest.raises(sqlite3.OperationalError):
        migrate(
            con, file, (*MIGRATIONS, "create table more (x integer) strict; insert into nowhere values (1);")
        )
    con.close()
    state = State(file)
    assert state.cursor() == 0
    state.close()
