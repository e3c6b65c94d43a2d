"""What exists is written down: a setting or command that nobody can read about fails here."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main
from pydantic import BaseModel

from collector.cli.main import app
from collector.core.config import Config, check
from simulators.scenario import FORMS, POISONS

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = (ROOT / "docs" / "settings.md").read_text("utf-8")
SCENARIOS = (ROOT / "docs" / "scenarios.md").read_text("utf-8")
COMMANDS = (ROOT / "docs" / "commands.md").read_text("utf-8")


def settings(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, str]]:
    """(section, key) of every setting, lists of tables included."""
    for name, field in model.model_fields.items():
        inner = [each for each in (field.annotation, *get_args(field.annotation)) if isinstance(each, type)]
        table = next((each for each in inner if issubclass(each, BaseModel)), None)
        if path:
            yield path, name
        if table is not None:
            yield from settings(table, f"{path}.{name}".strip("."))


def documented() -> set[tuple[str, str]]:
    found, section = set(), ""
    for line in SETTINGS.splitlines():
        if head := re.fullmatch(r"## \[+([a-z.]+)\]+", line):
            section = head[1]
        elif row := re.match(r"\| `([a-z_]+)` \|", line):
            found.add((section, row[1]))
    return found


def commands(group: Any, prefix: str = "nagari ") -> Iterator[str]:
    for name, command in group.commands.items():
        if not hasattr(command, "commands") or command.invoke_without_command:
            yield prefix + name
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")


def test_every_setting_is_documented_and_nothing_else() -> None:
    assert documented() == set(settings(Config))


def test_the_documented_defaults_are_the_defaults() -> None:
    for section, key, default in re.findall(SECTIONED, SETTINGS_FLAT):
        tree: dict[str, Any] = tomllib.loads(f"[{section}]\n{key} = {default}")
        written = check(tree, Path("/x/nagari.toml"))
        assert written == check({}, Path("/x/nagari.toml")), f"{section}.{key}"


def test_every_command_is_documented_and_nothing_else() -> None:
    rows = set(re.findall(r"^\| `(nagari [a-z ]+)` \|", COMMANDS, re.MULTILINE))
    assert rows == set(commands(typer.main.get_command(app)))


def test_the_sample_settings_read_well_and_name_every_setting() -> None:
    text = (ROOT / "deploy" / "nagari.toml").read_text("utf-8")
    check(tomllib.loads(text), ROOT / "deploy" / "nagari.toml")
    named = set(re.findall(r"^(?:# )?([a-z_]+) = ", text, re.MULTILINE))
    assert {key for _, key in settings(Config) if key != "webhook"} <= named


def test_the_sample_settings_that_are_commented_out_read_well_too() -> None:
    text = (ROOT / "deploy" / "nagari.toml").read_text("utf-8")
    full = re.sub(r"^# (?=\[\[|[a-z_]+ = )", "", text, flags=re.MULTILINE)
    config = check(tomllib.loads(full), ROOT / "deploy" / "nagari.toml")
    assert config.notify.webhook[0].name == "duty-officer"


@pytest.mark.parametrize(
    "file", [*sorted(ROOT.glob("deploy/**/*.md")), ROOT / "README.md"], ids=lambda f: f.name
)
def test_commands_in_the_documents_exist(file: Path) -> None:
    known = {name.split()[1] for name in commands(typer.main.get_command(app))}
    shown = re.findall(r"(?m)(?:^    (?:\S*/bin/)?|`)nagari ([a-z]+)", file.read_text("utf-8"))
    assert set(shown) <= known


def _flat() -> str:
    """Each row of settings.md with its section before it."""
    rows, section = [], ""
    for line in SETTINGS.splitlines():
        if head := re.fullmatch(r"## \[([a-z]+)\]", line):
            section = head[1]
        elif line.startswith("## "):
            section = ""
        elif section:
            rows.append(f"{section} {line}")
    return "\n".join(rows)


SETTINGS_FLAT = _flat()
SECTIONED = r'(?m)^([a-z]+) \| `([a-z_]+)` \| `("[^`]*"|true|false|\d+)` \|'


def test_every_kind_of_fault_is_documented_with_its_targets_and_keys() -> None:
    rows = re.findall(r"^\| `([a-z0-9_]+)` \|([^|]*)\|([^|]*)\|", SCENARIOS, re.MULTILINE)
    written = {
        kind: (
            set(re.sub(r" \(.*?\)", "", aims).replace(",", " ").split()),
            set(re.findall(r"`(\w+)`", keys)),
        )
        for kind, aims, keys in rows
    }
    assert written == {kind: (set(form.targets), set(form.keys)) for kind, form in FORMS.items()}


def test_every_poison_is_documented() -> None:
    assert all(name in SCENARIOS for name in POISONS)
