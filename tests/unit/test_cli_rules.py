"""Rules are checked before they go live."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from collector.cli.main import app
from devices.problems import Problems

RULE = """
[[rule]]
name = "slow"
select = { kind = "router", metric = "latency_ms" }
when = { above = 50, clear_below = 40, for = "2m" }
severity = "minor"
summary = { id = "Lambat {value}", en = "Slow {value}" }
"""


def nagari(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_good_folder_prints_its_table_of_rules(region_small: Path) -> None:
    (region_small / "rules").mkdir(exist_ok=True)
    (region_small / "rules" / "slow.toml").write_text(RULE)
    rows = [line.split() for line in nagari("rules", "check", str(region_small)).splitlines()]
    row = next(row for row in rows if row and row[0] == "slow")
    assert row[1] == "minor"
    assert row[-1] == "3"  # devices it is for


def test_the_table_is_there_for_machines(region_small: Path) -> None:
    (region_small / "rules").mkdir(exist_ok=True)
    (region_small / "rules" / "slow.toml").write_text(RULE)
    found = json.loads(nagari("rules", "check", str(region_small), "--json"))
    assert "slow" in [rule["name"] for rule in found["rules"]]


def test_a_mistake_is_named_with_file_and_line(region_small: Path) -> None:
    (region_small / "rules").mkdir(exist_ok=True)
    (region_small / "rules" / "slow.toml").write_text(RULE.replace("latency_ms", "latency"))
    with pytest.raises(Problems, match=r"rules/slow\.toml:\d+") as caught:
        CliRunner().invoke(app, ["rules", "check", str(region_small)], catch_exceptions=False)
    assert "latency_ms" in str(caught.value)


def test_the_schema_is_one_that_editors_understand() -> None:
    schema = json.loads(nagari("rules", "schema"))
    assert {"rule", "override"} <= schema["properties"].keys()
