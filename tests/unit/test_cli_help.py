"""`--help` teaches: every command says what it does and shows an example of itself, and comes up quickly."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from collector.cli.main import app


def leaves(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, f"{prefix}{name} ")
        if not hasattr(command, "commands") or command.invoke_without_command:
            yield f"{prefix}{name}", command


COMMANDS = dict(leaves(typer.main.get_command(app)))


def imported_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_every_command_of_the_design_is_there() -> None:
    wanted = {"run", "demo", "agent", "watch", "alerts", "rejects", "doctor", "load", "simulate"}
    wanted |= {"alerts ack", "token create", "token list", "token revoke", "rules check", "rules schema"}
    wanted |= {"inventory plan", "inventory check", "inventory import", "inventory diff"}
    wanted |= {"storage plan", "storage admit"}
    wanted |= {"storage copy", "storage import"}
    wanted |= {"backup", "backup init", "backup list", "restore"}
    wanted |= {"storage export", "replay"}
    assert COMMANDS.keys() == wanted


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_shows_an_example_of_itself(name: str) -> None:
    assert f"nagari {name}" in (COMMANDS[name].epilog or "")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_and_each_of_its_options_say_what_they_are_for(name: str) -> None:
    assert COMMANDS[name].help
    silent = [option.name for option in COMMANDS[name].params if option.name != "help" and not option.help]
    assert silent == []


def test_the_options_in_a_commands_examples_exist() -> None:
    for name, command in COMMANDS.items():
        known = {flag for option in command.params for flag in option.opts}
        examples = [part for part in (command.epilog or "").split("`") if part.startswith(f"nagari {name}")]
        own = [
            part for part in examples if not any(part.startswith(f"nagari {other} ") for other in inner(name))
        ]
        used = {word for example in own for word in example.split(" | ")[0].split() if word.startswith("--")}
        assert used <= known, name


def inner(name: str) -> list[str]:
    return [other for other in COMMANDS if other.startswith(f"{name} ")]


def test_help_loads_nothing_heavy() -> None:
    heavy = {"numpy", "duckdb", "fastapi", "pydantic", "httpx", "aiomqtt", "rich", "mqtt5"}
    assert imported_by("import collector.cli").isdisjoint(heavy)


def test_the_agent_stays_small() -> None:
    loaded = imported_by("import collector.cli, devices.agent.run, devices.region")
    assert loaded.isdisjoint({"numpy", "duckdb", "fastapi", "uvicorn", "httpx", "rich", "prometheus_client"})
