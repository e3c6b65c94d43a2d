"""Tokens from the command line, on a real state.db."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from collector.cli.main import app
from collector.state import State
from devices.problems import Problems


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "nagari.toml"
    file.write_text('[data]\ndir = "data"\n')
    return file


def nagari(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_token_is_printed_once_and_lets_its_owner_in(config: Path) -> None:
    token = nagari("token", "create", "--role", "operator", "--name", "siti", "--config", str(config)).strip()
    state = State(config.parent / "data" / "state.db")
    who = state.principal(token, time.time_ns())
    state.close()
    assert who is not None
    assert (who.name, who.role) == ("siti", "operator")
    assert token not in nagari("token", "list", "--config", str(config))


def test_a_token_can_be_made_while_the_collector_holds_the_file(config: Path) -> None:
    running = State(config.parent / "data" / "state.db")
    token = nagari("token", "create", "--role", "viewer", "--config", str(config)).strip()
    assert running.principal(token, time.time_ns()) is not None
    running.close()


def test_a_token_in_a_file_is_for_its_owner_alone(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "siti.token"
    out.write_text("old")
    out.chmod(0o644)
    said = nagari("token", "create", "--role", "viewer", "--out", str(out), "--config", str(config))
    assert out.stat().st_mode & 0o777 == 0o600
    assert out.read_text().strip() not in said


def test_a_revoked_token_lets_nobody_in(config: Path) -> None:
    token = nagari("token", "create", "--role", "admin", "--config", str(config)).strip()
    found = json.loads(nagari("token", "list", "--json", "--config", str(config)))["tokens"]
    nagari("token", "revoke", str(found[0]["id"]), "--config", str(config))
    state = State(config.parent / "data" / "state.db")
    assert state.principal(token, time.time_ns()) is None
    assert [row.what for row in state.audit_rows()] == ["token.revoke", "token.create"]
    state.close()


def test_revoking_what_is_not_there_is_a_mistake(config: Path) -> None:
    with pytest.raises(Problems, match="there is no live one"):
        CliRunner().invoke(app, ["token", "revoke", "9", "--config", str(config)], catch_exceptions=False)


def test_a_token_can_have_an_end(config: Path) -> None:
    token = nagari("token", "create", "--role", "viewer", "--days", "1", "--config", str(config)).strip()
    state = State(config.parent / "data" / "state.db")
    assert state.principal(token, time.time_ns()) is not None
    assert state.principal(token, time.time_ns() + 86401 * 10**9) is None
    state.close()
    assert "until" in nagari("token", "list", "--config", str(config))
