"""The project as a newcomer finds it: pinned, licensed, with two commands on the first screen."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    """Name → version of each package in constraints.txt."""
    return {canonical(name): version for name, version, _ in packages()}


def packages() -> list[tuple[str, str, str]]:
    """(name, version, hashes)."""
    text = (ROOT / "constraints.txt").read_text("utf-8")
    return re.findall(r"^(\S+)==(\S+)((?: \\\n +--hash=sha256:[0-9a-f]{64})*)$", text, re.MULTILINE)


def test_everything_that_is_named_is_pinned_and_pinned_alike() -> None:
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    named = dict(line.split(";")[0].strip().split("==") for line in wanted)
    found = pins()
    assert {name: found.get(canonical(name)) for name in named} == named


def test_everything_that_is_installed_is_pinned() -> None:
    freeze = subprocess.run(
        [sys.executable, "-m", "pip", "freeze", "--exclude-editable"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    installed = {canonical(line.split("==")[0].split(" @ ")[0]) for line in freeze.splitlines()}
    assert installed - pins().keys() == set()


def test_everything_that_is_pinned_is_taken_only_with_its_hash() -> None:
    named = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if "==" in line]
    assert len(packages()) == len(named) > 30
    assert [name for name, _, hashes in packages() if not hashes] == []
    assert "--require-hashes" in (ROOT / "Makefile").read_text("utf-8")


def test_the_first_screen_has_the_two_commands() -> None:
    first = (ROOT / "README.md").read_text("utf-8").splitlines()[:16]
    commands = [line.split("#")[0].strip() for line in first if line.startswith("    ")]
    assert commands == ["make run", "make test"]


def test_the_readmes_device_speaks_python() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    block = re.search(r"((?:^    .*\n|^\n)+)", text[text.index("In Python,") :], re.MULTILINE)
    assert block is not None
    code = "\n".join(line[4:] for line in block[1].splitlines())
    compile(code, "README.md", "exec")
    assert len([line for line in code.splitlines() if line.strip()]) <= 12


def test_the_licence_is_there_in_full() -> None:
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["license"] == "Apache-2.0"


def test_nothing_ships_with_a_password() -> None:
    for file in (ROOT / "deploy").rglob("*"):
        if file.is_file() and file.suffix in {".conf", ".toml", ".acl", ".md", ".service"}:
            assert not re.search(r'(?i)\b(password|token|secret)\s*=\s*"[^"]', file.read_text("utf-8")), file


def test_scripts_can_be_run() -> None:
    for script in (ROOT / ".ci").iterdir():
        assert script.stat().st_mode & 0o111, script
        subprocess.run(["bash", "-n", script], check=True)
