"""`nagari simulate` in virtual time: what it writes, what it says, and each mistake in a sentence."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from collector.cli.main import app
from devices.problems import Problems
from tests.unit.sims import MONDAY, ROOT, SHIPPED, regency, ring
from tests.unit.test_cli_mistakes import mistake

CUT = """
name = "cut"
duration = "20m"
[[fault]]
kind = "fibre_cut"
link = ["fo-9901012001-odp", "fo-9901012002-jc-01"]
at = "5m"
for = "10m"
say = { en = "Look there" }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "ring"
    shutil.copytree(ROOT / "tests" / "regions" / "ring", found)
    (found / "scenarios").mkdir()
    (found / "scenarios" / "cut.toml").write_text(CUT)
    return found


def nagari(*words: object) -> str:
    done = CliRunner().invoke(app, ["simulate", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_scenarios_are_listed_with_what_they_are() -> None:
    said = nagari("--list", "--region", SHIPPED)
    for name in ("trunk-cut", "pln-district", "blackout", "flood", "earthquake", "digger", "switched-off"):
        assert name in said
    assert "A contractor digs three times in a day" in said


def test_a_list_of_none_says_where_they_would_be_and_a_broken_one_is_no_crash(folder: Path) -> None:
    (folder / "scenarios" / "bad.toml").write_text("name = ")
    assert "cannot be read: run it to see why" in nagari("--list", "--region", folder)
    shutil.rmtree(folder / "scenarios")
    assert "scenarios holds none" in nagari("--list", "--region", folder).replace("\n", "")


def test_the_messages_are_written_a_line_of_json_each_in_order(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    nagari("--region", folder, "--scenario", "cut", "--speed", 0, "--seed", 3, "--out", out)
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)
    shapes = {tuple(row) for row in rows}
    assert shapes == {
        ("at", "publisher", "topic", "payload"),
        ("at", "publisher", "topic", "payload", "retain", "will"),
    }
    wills = [row for row in rows if row.get("will")]
    assert {row["payload"] for row in wills} == {"offline"}
    assert all(row["retain"] and row["topic"].endswith("/state") for row in wills)
    tele = next(row for row in rows if row["topic"] == "nagari/v1/9901012001/router-9901012001/tele")
    assert tele["publisher"] == "router-9901012001"
    payload = json.loads(tele["payload"])
    assert payload["ts"] == MONDAY.timestamp() * 1000 + tele["at"]
    again = tmp_path / "again.jsonl"
    nagari("--region", folder, "--scenario", "cut", "--speed", 0, "--seed", 3, "--out", again)
    assert out.read_bytes() == again.read_bytes()
    nagari("--region", folder, "--scenario", "cut", "--speed", 0, "--seed", 4, "--out", again)
    assert out.read_bytes() != again.read_bytes()


def test_the_truth_is_written_with_what_it_belongs_to(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "truth.json"
    said = nagari("--region", folder, "--scenario", "cut", "--speed", 0, "--seed", 3, "--truth", file)
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    assert list(found) == [
        "scenario",
        "region",
        "region_hash",
        "seed",
        "start",
        "duration_s",
        "messages",
        "took_s",
        "faults",
        "outages",
    ]
    assert (found["scenario"], found["region"], found["seed"]) == ("cut", "Lingkar", 3)
    assert found["region_hash"] == ring().hash
    assert (found["start"], found["duration_s"]) == ("2026-01-12T01:00:00+00:00", 1200)
    fault = next(each for each in found["faults"] if not each["ambient"])
    assert list(fault) == [
        "fault", "name", "cause", "root", "from", "to", "sites", "devices", "params", "ambient",
    ]  # fmt: skip
    assert (fault["from"], fault["to"], fault["cause"]) == (300, 900, "fibre")
    assert len(fault["sites"]) == 10
    assert {"site", "state", "from", "to"} == set(found["outages"][0])
    assert "▲ fibre_cut (link fo-9901012001-odp;fo-9901012002-jc-01, 10 sites)" in said
    assert "00:15:00  ✓ over: fibre_cut" in said
    assert "Look there" in said
    assert f"{found['messages']:,} messages of 1,200 s" in said


def test_machines_get_one_document(folder: Path) -> None:
    found = json.loads(nagari("--region", folder, "--scenario", "cut", "--speed", 0, "--json"))
    assert (found["scenario"], found["faults"], found["duration_s"]) == ("cut", 1, 1200)
    assert found["messages"] > 2000
    assert found["outages"] >= 10


def test_without_a_scenario_it_is_an_ordinary_hour_or_as_long_as_is_wanted(folder: Path) -> None:
    found = json.loads(nagari("--region", folder, "--speed", 0, "--json"))
    assert (found["scenario"], found["faults"], found["duration_s"]) == ("ordinary", 0, 3600)
    found = json.loads(nagari("--region", folder, "--speed", 0, "--duration", "1m30s", "--json"))
    assert found["duration_s"] == 90


def test_a_scenario_can_be_cut_short_and_be_a_file(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(CUT.replace('"cut"', '"mine"'))
    found = json.loads(
        nagari("--region", folder, "--scenario", file, "--speed", 0, "--duration", "4m", "--json")
    )
    assert (found["scenario"], found["faults"], found["duration_s"]) == ("mine", 0, 240)


def test_what_is_skipped_says_nothing(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    words = ("--region", folder, "--speed", 0, "--duration", "2m", "--out", out)
    nagari(*words, "--skip", "poller-pusat", "--skip", "router-990101")
    said = {json.loads(line)["publisher"] for line in out.read_text().splitlines()}
    assert said == {d.id for d in ring().devices.values() if not d.via} - {"poller-pusat", "router-990101"}


def test_another_speed_takes_its_time(folder: Path) -> None:
    found = json.loads(nagari("--region", folder, "--speed", 120, "--duration", "2m", "--json"))
    assert found["took_s"] >= 0.98


def test_the_settings_region_is_taken(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "nagari.toml").write_text(f'[region]\ndir = "{folder}"\n')
    said = nagari("--config", tmp_path / "nagari.toml", "--speed", 0, "--duration", "1m", "--json")
    assert json.loads(said)["region"] == "Lingkar"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--speed", "1", "--out", "x", "--broker", "mqtt://127.0.0.1:1"],
            "--out: at speed 1 messages go to the broker",
        ),
        (["--speed", "0", "--broker", "mqtt://x"], "--broker: at speed 0 there is no broker; give --speed 1"),
        (["--speed", "60", "--proxy", "1884"], "--proxy: at speed 60 there is no broker; give --speed 1, or"),
        (["--speed", "0", "--scenario", "ct"], "ct: is no scenario; name a TOML file, or one of "),
        (["--speed", "0", "--skip", "who"], "--skip who: is no publisher of the region; name a device of d"),
        (["--speed", "0", "--skip", "power-990101"], "--skip power-990101: is no publisher of the region"),
        (["--speed", "0", "--duration", "soon"], "--duration: 'soon' is no duration; write it like"),
        (["--speed", "0", "--duration", "0s"], "--duration: 0 is no length of time; write it like"),
        (["--speed", "0", "--truth", "no/where.json"], "no/where.json: cannot be written (No such file or"),
        (["--speed", "0", "--out", "no/where.jsonl"], "no/where.jsonl: cannot be written (No such file or"),
        (["--speed", "0", "--truth", "."], ".: cannot be written (it is a folder); name another file"),
        (["--broker", "http://x"], "url: 'http://x' is no broker; write it like"),
        (["--broker", "mqtt://127.0.0.1:1", "--secrets", "none"], "none: is no folder; name one with --sec"),
        (["--broker", "mqtt://127.0.0.1:1"], "mqtt://127.0.0.1:1: the broker cannot be reached"),
        (
            ["--scenario", "gremlins", "--broker", "mqtt://127.0.0.1:1"],
            "gremlins: cuts the collector's own link; give --proxy PORT, and that port in the collector's mq",
        ),
        (
            ["--scenario", "restart", "--broker", "mqtt://127.0.0.1:1"],
            "restart: restarts the broker; give --broker-command, such as 'systemctl restart mosquitto'",
        ),
    ],
)
def test_a_mistake_gets_one_sentence(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    region = SHIPPED if {"gremlins", "restart"} & set(words) else ROOT / "tests" / "regions" / "ring"
    with pytest.raises(Problems) as caught:
        CliRunner().invoke(app, ["simulate", "--region", str(region), *words], catch_exceptions=False)
    (problem,) = caught.value.problems
    assert said in str(problem)
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as broker, socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [each.getsockname()[1] for each in (broker, taken)]
        words = ["--region", str(ROOT / "tests" / "regions" / "ring"), "--proxy", str(ports[1])]
        words += ["--broker", f"mqtt://127.0.0.1:{ports[0]}"]
        with pytest.raises(Problems, match=rf"--proxy {ports[1]}: cannot be opened .*; name a free port"):
            CliRunner().invoke(app, ["simulate", *words], catch_exceptions=False)


def test_mistakes_in_a_scenario_are_all_said_and_never_a_traceback(folder: Path, tmp_path: Path) -> None:
    (folder / "scenarios" / "bad.toml").write_text(CUT.replace('"20m"', '"long"').replace("fo-99", "fx-99"))
    said = mistake("simulate", "--region", str(folder), "--scenario", "bad", "--speed", "0", cwd=tmp_path)
    lines = said.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"nagari: {folder}/scenarios/bad.toml:") for line in lines)


def test_without_settings_or_a_region_it_says_what_is_missing(tmp_path: Path) -> None:
    said = mistake("simulate", "--speed", "0", cwd=tmp_path)
    assert said == "nagari: nagari.toml: there is no such file; name one with --config\n"


def test_the_regencys_day_can_be_simulated_in_part() -> None:
    found = json.loads(
        nagari("--region", SHIPPED, "--scenario", "earthquake", "--speed", 0, "--duration", "15m", "--json")
    )
    assert found["region_hash"] == regency().hash
    assert (found["faults"], found["duration_s"]) == (5, 900)
    assert found["outages"] > 100
