"""Tokens, roles, sessions: shown once, kept as hashes, ended at once."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.state import ROLES, Principal, State
from devices.problems import Problems

HOUR = 3600 * 10**9
NOW = 1_764_000_000 * 10**9


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    state = State(tmp_path / "state.db")
    yield state
    state.close()


def test_a_token_is_known_again(state: State) -> None:
    token = state.create_token("operator", "Siti", NOW)
    assert len(token) >= 43
    assert state.principal(token, NOW) == Principal("Siti", "operator", 1)
    assert state.principal(token + "x", NOW) is None
    assert state.principal("", NOW) is None
    assert state.principal("\ud800", NOW) is None


def test_the_token_is_nowhere_in_the_file(state: State, tmp_path: Path) -> None:
    token = state.create_token("admin", "root", NOW)
    who = state.principal(token, NOW)
    assert who is not None
    secret = state.create_session(who, NOW)
    on_disk = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert token.encode() not in on_disk
    assert secret.encode() not in on_disk
    assert token[:6].encode() in on_disk


def test_the_file_is_its_owners_only(state: State, tmp_path: Path) -> None:
    state.create_token("admin", "root", NOW)
    assert [file.stat().st_mode & 0o077 for file in tmp_path.iterdir()] == [0] * len(list(tmp_path.iterdir()))


def test_a_token_ends_at_its_time(state: State) -> None:
    token = state.create_token("viewer", "wall", NOW, expires=NOW + HOUR)
    assert state.principal(token, NOW + HOUR - 1) is not None
    assert state.principal(token, NOW + HOUR) is None


def test_a_revoked_token_ends_at_once_with_its_sessions(state: State) -> None:
    token = state.create_token("operator", "Siti", NOW)
    who = state.principal(token, NOW)
    assert who is not None
    secret = state.create_session(who, NOW)
    assert state.session(secret, NOW) == who
    assert state.revoke(who.token_id, NOW + 1)
    assert state.principal(token, NOW + 1) is None
    assert state.session(secret, NOW + 1) is None
    assert not state.revoke(who.token_id, NOW + 2)
    assert not state.revoke(99, NOW)


def test_a_session_lasts_twelve_hours_and_no_longer_than_its_token(state: State) -> None:
    long_lived = state.principal(state.create_token("viewer", "a", NOW), NOW)
    short_lived = state.principal(state.create_token("viewer", "b", NOW, expires=NOW + HOUR), NOW)
    assert long_lived is not None
    assert short_lived is not None
    first, second = state.create_session(long_lived, NOW), state.create_session(short_lived, NOW)
    assert state.session(first, NOW + 12 * HOUR - 1) == long_lived
    assert state.session(first, NOW + 12 * HOUR) is None
    assert state.session(second, NOW + HOUR) is None


def test_logging_out_ends_one_session_only(state: State) -> None:
    who = state.principal(state.create_token("viewer", "a", NOW), NOW)
    assert who is not None
    first, second = state.create_session(who, NOW), state.create_session(who, NOW)
    state.end_session(first)
    assert state.session(first, NOW) is None
    assert state.session(second, NOW) == who


def test_tokens_are_listed_without_the_secret(state: State) -> None:
    token = state.create_token("engineer", "Budi", NOW, expires=NOW + 5)
    state.revoke(1, NOW + 3)
    [listed] = state.list_tokens()
    assert (listed.id, listed.name, listed.role, listed.prefix) == (1, "Budi", "engineer", token[:6])
    assert (listed.created, listed.expires, listed.revoked) == (NOW, NOW + 5, NOW + 3)


@pytest.mark.parametrize(("role", "name"), [("root", "x"), ("", "x"), ("viewer", " "), ("viewer", "a\nb")])
def test_a_bad_role_or_name_is_refused(state: State, role: str, name: str) -> None:
    with pytest.raises(ValueError):
        state.create_token(role, name, NOW)  # type: ignore[arg-type]
    assert state.list_tokens() == []


def test_each_role_may_what_the_lower_ones_may() -> None:
    for held in ROLES:
        for asked in ROLES:
            assert Principal("x", held, 1).may(asked) == (ROLES.index(held) >= ROLES.index(asked))


def test_another_process_makes_a_token_while_this_one_writes(state: State, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from collector.state import State\n"
        f"for i in range(5): print(State(Path(sys.argv[1])).create_token('viewer', f'wall {{i}}', {NOW}))"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "state.db")], stdout=subprocess.PIPE, text=True
    )
    written = 0
    while other.poll() is None:
        state.audit(NOW, "x", "y")
        written += 1
    tokens = (other.stdout.read() if other.stdout else "").split()
    assert other.returncode == 0
    assert len(tokens) == 5
    assert all(state.principal(token, NOW) for token in tokens)
    assert len(state.audit_rows(10**6)) == written


def test_many_threads_read_and_write_at_once(state: State) -> None:
    wrong: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(20):
                token = state.create_token("viewer", f"{number}-{i}", NOW)
                assert state.principal(token, NOW) is not None
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=[n]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(state.list_tokens()) == 160


def test_a_folder_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Problems, match="cannot be opened"):
        State(tmp_path / "file" / "state.db")
    (tmp_path / "junk.db").write_bytes(b"this is no database at all, whatever its name says" * 100)
    with pytest.raises(Problems, match=r"junk\.db: cannot be opened \(file is not a database\)"):
        State(tmp_path / "junk.db")
