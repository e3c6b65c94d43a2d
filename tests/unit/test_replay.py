"""A stretch of the journal, replayed, finds what was decided again, to the byte."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from collector.cli.main import app
from collector.core.config import Config, load
from collector.core.records import RecordKind
from collector.replay import Replay, Replayed
from collector.state import State
from devices.problems import Problems
from devices.region import content_hash, read_folder
from simulators.regions import write_region
from tests.unit.test_followers_lives import NOW, RULES, Collector, S, Tape

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Config]:
    """A data folder after a story under two versions of the region, of a collector that died often."""
    folder = tmp_path_factory.mktemp("past")
    tape = Tape(folder / "tape")
    other = tmp_path_factory.mktemp("other")
    write_region(other, 3, ("router", "ont"), rules={"rules/r.toml": RULES.replace(b"300.0", b"450.0")})
    data = folder / "data"
    state = State(data / "state.db")
    state.put_region(content_hash(read_folder(other)), read_folder(other))
    state.close()
    tape.control(RecordKind.REGION, {"hash": content_hash(tape.files)})
    for version in (tape.files, read_folder(other), tape.files):
        tape.tell(60)
        tape.control(RecordKind.REGION, {"hash": content_hash(version)})
    collector = Collector(data, tape)
    for life in range(6):
        collector.live(20 + life, well=life % 2 == 0, every=7)
    assert collector.live(every=7) is not None
    tape.journal.close()
    shutil.copytree(tape.folder / "journal", data / "journal")
    file = folder / "nagari.toml"
    file.write_text(f'[data]\ndir = "data"\n[region]\ndir = "{tape.folder / "region"}"\n')
    return folder, load(file)


def run(config: Config, since: int = 0, until: int = 2**63 - 1) -> Replayed:
    past = Replay(config)
    try:
        return past.run(since, until, verify=True)
    finally:
        past.close()


def copy(past: tuple[Path, Config], to: Path) -> Config:
    shutil.copytree(past[0], to / "past")
    return load(to / "past" / "nagari.toml")


def test_from_the_oldest_snapshot_it_finds_all_of_it_again(past: tuple[Path, Config]) -> None:
    found = run(past[1])
    assert (found.different, found.differences) == (0, [])
    assert found.compared > 0


def test_without_snapshots_it_begins_with_the_journal(past: tuple[Path, Config], tmp_path: Path) -> None:
    config = copy(past, tmp_path)
    shutil.rmtree(config.data.dir / "snapshots")
    found = run(config)
    assert found.different == 0
    state = State(config.data.dir / "state.db")
    assert found.compared == len(state.decisions(0, 10**6)) > 50
    state.close()


@pytest.mark.parametrize("seconds", [(0, 10**6), (100, 400), (400, 401)])
def test_a_stretch_of_time_is_held_against_its_own_decisions(
    past: tuple[Path, Config], tmp_path: Path, seconds: tuple[int, int]
) -> None:
    config = copy(past, tmp_path)
    shutil.rmtree(config.data.dir / "snapshots")
    found = run(config, NOW + seconds[0] * S, NOW + seconds[1] * S)
    assert found.different == 0
    assert found.begun >= NOW


@pytest.mark.parametrize(
    "change",
    [
        "update decisions set reason = reason || 'x' where seq = (select max(seq) from decisions)",
        "delete from decisions where seq = (select max(seq) from decisions)",
        'insert into decisions select null, kind, change, at, "offset", subject, after, reason, evidence, '
        "by, comment, action from decisions where seq = (select max(seq) from decisions)",
    ],
)
def test_a_decision_that_was_altered_lost_or_doubled_shows(
    past: tuple[Path, Config], tmp_path: Path, change: str
) -> None:
    config = copy(past, tmp_path)
    shutil.rmtree(config.data.dir / "snapshots")
    with sqlite3.connect(config.data.dir / "state.db") as con:
        con.execute(change)
    assert run(config).different == 1


def test_the_command_says_so_and_its_exit_code_too(past: tuple[Path, Config], tmp_path: Path) -> None:
    config = copy(past, tmp_path)
    asked = ["replay", "--verify", "--json", "--config", str(tmp_path / "past" / "nagari.toml")]
    well = CliRunner().invoke(app, asked)
    assert well.exit_code == 0, well.output
    assert json.loads(well.stdout)["different"] == 0
    with sqlite3.connect(config.data.dir / "state.db") as con:
        con.execute("delete from decisions where seq = (select max(seq) from decisions)")
    ill = CliRunner().invoke(app, asked)
    assert ill.exit_code == 1
    assert json.loads(ill.stdout)["different"] == 1


def test_a_folder_without_a_collector_is_refused_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "nagari.toml").write_text("[data]\ndir = 'nothing'\n")
    with pytest.raises(Problems, match="name its settings by --config"):
        Replay(load(tmp_path / "nagari.toml"))
