"""The whole examination from the command line."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from collector.broker import Mosquitto, free_port
from collector.cli.main import app
from collector.doctor.machine import clock, speed
from collector.state import State
from tests.servers import VictoriaMetrics


def doctor(config: Path, *words: str) -> tuple[int, dict[str, Any]]:
    command = ["doctor", "--json", "--config", str(config), *words]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    found = json.loads(done.output)
    return done.exit_code, {finding["check"]: finding for finding in found["findings"]}


@pytest.fixture
def config(tmp_path: Path, region_small: Path, mosquitto: Mosquitto) -> Path:
    file = tmp_path / "nagari.toml"
    file.write_text(f'[mqtt]\nurl = "{mosquitto.url}"\n[region]\ndir = "{region_small}"\n')
    return file


def test_a_good_installation_has_nothing_bad(config: Path, mosquitto: Mosquitto) -> None:
    code, found = doctor(config, "--mosquitto-conf", str(mosquitto.conf))
    assert code == 0, found
    checks = {
        "settings",
        "region",
        "rules",
        "data folder",
        "disk room",
        "disk sync",
        "clock",
        "broker reachable",
    }
    assert checks | {"mosquitto persistence", "broker keeps messages"} <= found.keys()


def test_anything_bad_is_exit_code_1(config: Path, tmp_path: Path) -> None:
    conf = tmp_path / "bad.conf"
    conf.write_text("persistence false\n")
    code, found = doctor(config, "--mosquitto-conf", str(conf))
    assert code == 1
    assert found["mosquitto persistence"]["status"] == "bad"


def test_a_server_for_the_readings_is_tried(config: Path, one_victoria: VictoriaMetrics) -> None:
    settings = config.read_text()
    config.write_text(f'{settings}[store]\nurl = "{one_victoria.url}"\n')
    found = doctor(config)[1]["store"]
    assert (found["status"], found["what"]) == ("ok", f"{one_victoria.http} answers and lets us in")
    config.write_text(f'{settings}[store]\nurl = "victoria://127.0.0.1:{free_port()}"\n')
    code, checks = doctor(config)
    assert (code, checks["store"]["status"]) == (1, "bad")
    assert "does not answer" in checks["store"]["what"]


def test_wrong_settings_end_the_examination(tmp_path: Path) -> None:
    code, found = doctor(tmp_path / "nowhere.toml")
    assert code == 1
    assert found.keys() == {"settings"}


def test_a_wrong_rule_is_found_with_file_and_line(config: Path, region_small: Path) -> None:
    (region_small / "rules").mkdir(exist_ok=True)
    (region_small / "rules" / "odd.toml").write_text('[[rule]]\nname = "odd"\n')
    code, found = doctor(config)
    assert code == 1
    assert "rules/odd.toml:1" in found["rules"]["what"]


def test_a_region_that_is_not_there_is_found(config: Path, tmp_path: Path) -> None:
    config.write_text(config.read_text() + "# \n")
    config.write_text(config.read_text().replace(str(tmp_path / "region"), str(tmp_path / "nowhere")))
    assert doctor(config)[1]["region"]["status"] == "bad"


def test_a_data_folder_that_cannot_be_written_is_found(config: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config.write_text(config.read_text() + f'[data]\ndir = "{tmp_path}/file"\n')
    assert doctor(config)[1]["data folder"]["status"] == "bad"


def test_a_journal_larger_than_the_disk_is_found(config: Path) -> None:
    config.write_text(config.read_text() + '[journal]\nmax_bytes = "900000TB"\n')
    assert doctor(config)[1]["disk room"]["status"] == "warning"


def test_a_password_that_others_can_read_is_found(config: Path, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("x")
    (tmp_path / "password").chmod(0o644)
    config.write_text(config.read_text().replace("[mqtt]", '[mqtt]\npassword_file = "password"'))
    found = doctor(config)[1]["broker credentials"]
    assert (found["status"], found["mend"]) == ("bad", f"chmod 600 {tmp_path}/password")


def test_people_see_shape_and_mend(config: Path, tmp_path: Path) -> None:
    conf = tmp_path / "bad.conf"
    conf.write_text("persistence false\n")
    command = ["doctor", "--config", str(config), "--mosquitto-conf", str(conf)]
    said = CliRunner().invoke(app, command, catch_exceptions=False).output
    assert "✗ bad      mosquitto persistence:" in said
    assert "mend: persistence true" in said


def test_a_slow_disk_is_judged_by_its_middle() -> None:
    assert speed([1.0] * 29 + [400.0]).status == "ok"
    assert speed([30.0] * 30).status == "warning"
    assert speed([500.0] * 30).status == "bad"


def test_the_clock_is_looked_at() -> None:
    assert clock().check == "clock"
    assert "UTC" in clock().what or "cannot be known" in clock().what


def test_an_audit_that_somebody_touched_is_found(config: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    state = State(data / "state.db")
    for number in range(3):
        state.audit(number, "somebody", "login")
    state.close()
    assert doctor(config)[1]["audit"]["status"] == "ok"
    con = sqlite3.connect(data / "state.db")
    con.executescript("drop trigger audit_keeps_what_it_has; update audit set who = 'nobody' where seq = 2")
    con.close()
    code, found = doctor(config)
    assert code == 1
    assert "row 2" in found["audit"]["what"]


def test_a_rule_of_the_collectors_own_may_be_overridden(config: Path, region_small: Path) -> None:
    text = '[[override]]\nrule = "clock-wrong"\nselect = { site = "load-000000" }\nenabled = false\n'
    (region_small / "rules" / "own.toml").write_text(text)
    assert doctor(config)[1]["rules"]["status"] == "ok"
