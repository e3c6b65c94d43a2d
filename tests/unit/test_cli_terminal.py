"""What comes from the field is text in the terminal: no markup, no control sequence, no crash."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from collector.cli import show
from collector.cli.watch import _Screen
from collector.core.inert import inert
from tests.unit import api_desk
from tests.unit.test_cli_mistakes import nagari

EVIL = "[/red] [link=https://evil.example]here[/link] :bomb: \x1b[2J \x9b31m \u202e"


@pytest.fixture
def desk(tmp_path: Any) -> Iterator[Any]:
    desk = api_desk.Desk(tmp_path)
    yield desk
    desk.close()


@given(st.text())
def test_inert_text_is_one_printable_line(text: str) -> None:
    assert inert(text).isprintable()


@given(st.recursive(st.text() | st.integers(), st.lists))
def test_json_on_a_terminal_is_printable_and_still_the_same(found: Any) -> None:
    said = show.as_json(found, indent=2)
    assert all(char.isprintable() or char == "\n" for char in said)
    assert json.loads(said) == found


def test_a_table_shows_markup_as_it_was_written(capsys: pytest.CaptureFixture[str]) -> None:
    show.print_table(("why",), [(EVIL,)], "nothing")
    said = capsys.readouterr().out
    assert "[/red] [link=https://evil.example]here[/link] :bomb:" in " ".join(said.split())
    assert said.replace("\n", "").isprintable()


def test_what_a_device_is_called_cannot_steer_the_live_view(capsys: pytest.CaptureFixture[str]) -> None:
    screen = _Screen("en")
    screen._console = Console(force_terminal=False, width=400)
    alert = {"severity": "major", "site": EVIL, "device": EVIL, "id": EVIL, "at": 0, "acked": False}
    screen._alert({**alert, "condition": "active", "summary": {"en": EVIL}})
    said = capsys.readouterr().out
    assert said.count("[/red]") == 4
    assert said.replace("\n", "").isprintable()


def test_a_payload_with_markup_is_listed_among_the_rejects(desk: Any) -> None:
    desk.reject("nagari/v1/[/red]/x/tele", "[/bold]", b"[/red] [link=https://evil.example]here[/link]")
    with api_desk.serving(desk) as live:
        token = desk.token("engineer", "Eni")
        done = nagari("rejects", "--url", live.url, NAGARI_TOKEN=token, COLUMNS="400")
    assert done.returncode == 0, done.stderr
    assert "[/red] [link=https://evil.example]here[/link]" in done.stdout
    assert "nagari/v1/[/red]/x/tele" in done.stdout
