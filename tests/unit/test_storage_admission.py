"""What may come in: settings, regions and devices against the contract, and who took on what does not fit."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from collector.cli.main import app
from collector.core.config import Config, check, load
from collector.state import State
from collector.storage.admission import Admission
from devices import region as regions
from devices.problems import Problems
from tests.unit.api_desk import FILES

MORE = b"".join(b"1305012003,more-%d,router,,,\n" % n for n in range(2000))
LARGER = FILES | {"devices.csv": FILES["devices.csv"] + MORE}
SMALL, LARGE = "30GB", "3TB"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "region", FILES)
    settings(tmp_path, SMALL)
    return tmp_path


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def settings(folder: Path, capacity: str) -> Path:
    file = folder / "nagari.toml"
    file.write_text(f'[region]\ndir = "region"\n[storage]\ncapacity = "{capacity}"\nmargin = 0.05\n')
    return file


def started(folder: Path, files: dict[str, bytes] = FILES) -> Admission:
    config = load(folder / "nagari.toml", {})
    config.data.dir.mkdir(exist_ok=True)
    state = State(config.data.dir / "state.db")
    return Admission(config, state, regions.load(files))


def nagari(folder: Path, *words: str) -> Any:
    return CliRunner().invoke(app, [*words, "--config", str(folder / "nagari.toml")])


def test_without_a_capacity_everything_comes_in(tmp_path: Path) -> None:
    config: Config = check({"data": {"dir": str(tmp_path)}}, tmp_path / "nagari.toml")
    admission = Admission(config, State(tmp_path / "state.db"), regions.load(LARGER))
    admission.check(LARGER, "region")
    assert admission.plan is None


def test_new_settings_that_do_not_fit_stop_the_start_and_name_what_fits(folder: Path) -> None:
    with pytest.raises(Problems) as refused:
        started(folder, LARGER)
    assert "and the capacity is 30 GB" in str(refused.value)
    assert "nagari storage admit" in str(refused.value)


def test_a_restart_never_stops_what_had_run(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert started(folder).breach is None
    with caplog.at_level(logging.CRITICAL):
        again = started(folder, LARGER)  # the folder was changed while the collector was down
    assert again.breach is not None
    assert not again.admitted
    assert "it runs on as it did" in caplog.text


def test_a_larger_region_is_refused_at_a_reload_until_somebody_takes_it_on(folder: Path) -> None:
    admission = started(folder)
    with pytest.raises(Problems, match="the storage contract would break"):
        admission.check(LARGER, "region")
    write(folder / "region", LARGER)
    said = nagari(folder, "storage", "admit", "--reason", "the second disk comes in May")
    assert said.exit_code == 0, said.output
    admission.check(LARGER, "region")
    admission.renew(regions.load(LARGER))
    assert admission.admitted
    row = State(folder / "data" / "state.db").audited("storage.admit", 1)[0]
    assert row.detail["reason"] == "the second disk comes in May"
    assert row.who.startswith("cli:")
    with pytest.raises(Problems):  # it holds for that content alone
        admission.check(LARGER | {"devices.csv": LARGER["devices.csv"] + b"1305012003,x,router,,,\n"}, "")


def test_a_region_that_does_not_fit_may_still_become_smaller(folder: Path) -> None:
    started(folder)
    admission = started(folder, LARGER)
    fewer = LARGER | {"devices.csv": LARGER["devices.csv"].rsplit(b"\n", 3)[0] + b"\n"}
    admission.check(fewer, "region")


def test_an_override_lets_new_settings_start_too(folder: Path) -> None:
    write(folder / "region", LARGER)
    assert nagari(folder, "storage", "admit", "--reason", "for a test").exit_code == 0
    assert started(folder, LARGER).admitted


def test_what_fits_needs_no_override(folder: Path) -> None:
    said = nagari(folder, "storage", "admit", "--reason", "none")
    assert said.output == "it fits: nothing needs to be taken on\n"


def test_the_plan_is_a_table_and_its_exit_code_the_answer(folder: Path) -> None:
    said = nagari(folder, "storage", "plan")
    assert said.exit_code == 0, said.output
    assert "✓ fits" in said.output
    write(folder / "region", LARGER)
    no = nagari(folder, "storage", "plan")
    assert no.exit_code == 1
    assert "does not fit" in no.output
    assert nagari(folder, "storage", "plan", "--capacity", LARGE).exit_code == 0


def test_the_plan_for_machines_suggests_what_fits(folder: Path) -> None:
    write(folder / "region", LARGER)
    said = nagari(folder, "storage", "plan", "--json")
    found = json.loads(said.stdout)
    assert not found["fits"]
    days = {tier: f"{found['suggestion'][tier]:.0f}d" for tier in ("raw", "minute", "hour")}
    options = [word for tier, span in days.items() for word in (f"--{tier}", span)]
    assert nagari(folder, "storage", "plan", *options).exit_code == 0


def test_a_measured_reading_takes_the_place_of_the_default(folder: Path) -> None:
    (folder / "data").mkdir()
    measured = {"tier": "raw", "rows": 1_000_000, "bytes": 2_000_000, "days": 9.0}
    (folder / "data" / "storage.json").write_text(
        json.dumps({"samples": [], "gone_rows": {}, "shed": [], "tiers": [measured]})
    )
    found = json.loads(nagari(folder, "storage", "plan", "--json").stdout)
    assert found["bytes_per"]["reading"] == 2.0
    assert found["measured"] == ["raw"]


def test_a_plan_without_a_capacity_is_asked_for_one(folder: Path) -> None:
    (folder / "nagari.toml").write_text('[region]\ndir = "region"\n')
    with pytest.raises(Problems, match="--capacity: is not known"):
        CliRunner().invoke(
            app,
            ["storage", "plan", "--config", str(folder / "nagari.toml")],
            catch_exceptions=False,
        )


def test_an_alarm_mark_above_the_shed_mark_is_refused() -> None:
    with pytest.raises(Problems, match=r"alarm = 0\.95 is not below shed = 0\.9"):
        check({"storage": {"alarm": 0.95}}, Path("/x/nagari.toml"))
