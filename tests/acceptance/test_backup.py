"""The building is lost: what a backup of a running collector holds, a bare machine has again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from collector.api.backupwatch import SINCE
from collector.api.staging import staging
from collector.backup.restic import PROGRAM
from collector.state import State
from tests.acceptance.faults.checks import query, rule, rules
from tests.acceptance.faults.publishers import Load, Wire, alarming, calm, tele, topic
from tests.bench.rig import ROOT, Rig, balanced

SECRET = "canary-of-the-backup"
ACCOUNTS = "1305012001/router-1:$7$101$secret"
RULES = rules(
    rule("at-once", "latency_ms", "above = 300, clear_below = 250"),
    rule("stays", "jitter_ms", "above = 300, clear_below = 250"),
)
SETTINGS = """
[backup]
repository = "{repository}"
password_file = "{password}"
include = ["{accounts}"]
older_than = "1h"
"""


def nagari(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "collector.cli", *words]
    given = {**os.environ, **(env or {})}
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=given, timeout=100, check=False
    )


@dataclass
class Place:
    """A collector, and another building: a repository, the password, a folder for the bare machine."""

    rig: Rig
    folder: Path

    @property
    def repository(self) -> Path:
        return self.folder / "elsewhere" / "repository"

    @property
    def password(self) -> Path:
        return self.folder / "elsewhere" / "password"

    def backup(self, *more: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        words = ("backup", "--config", str(self.rig.config), *more)
        return nagari(*words, env={**self.rig.env, **(env or {})})

    def made(self) -> dict[str, Any]:
        done = self.backup("--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def restore(self, to: str, *more: str) -> subprocess.CompletedProcess[str]:
        where = ("--repository", str(self.repository), "--to", str(self.folder / to))
        return nagari("restore", *where, "--password-file", str(self.password), *more)


def place_in(folder: Path, sites: int = 4) -> Place:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "password").write_text(SECRET)
    (elsewhere / "password").chmod(0o600)
    accounts = folder / "broker.passwd"
    accounts.write_text(ACCOUNTS)
    accounts.chmod(0o600)
    settings = SETTINGS.format(
        repository=elsewhere / "repository", password=elsewhere / "password", accounts=accounts
    )
    rig = Rig(folder / "rig", sites=sites, rules=RULES, settings=settings)
    return Place(rig, folder)


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Backed up under load, then killed and deleted; restored, and running again."""
    place = place_in(tmp_path_factory.mktemp("lost"))
    rig = place.rig
    rig.broker.start()
    found: dict[str, Any] = {"place": place}
    try:
        rig.start()
        with Wire(rig.broker.port, "before") as wire:
            wire.publish(topic(*rig.devices[0]), tele({"jitter_ms": 500.0}))
            wire.flush()
        alert = rig.eventually("/api/v1/alerts", lambda said: bool(said["alerts"]))["alerts"][0]
        found["alert"] = alert["id"]
        url = f"http://127.0.0.1:{rig.http}"
        words = ("alerts", "ack", alert["id"], "-m", "crew sent", "--url", url)
        assert nagari(*words, env={"NAGARI_TOKEN": rig.token}).returncode == 0
        load = Load(rig.broker.port, rig.devices[1:], 1000, alarming)
        time.sleep(3)
        found["before"] = rig.stats()
        found["trail"] = rig.get("/api/v1/alerts?state=all&limit=500")["alerts"]
        place.made()
        found["log"] = rig.tail()
        found["metrics"] = metrics(rig)
        load.stop()
        rig.kill()
        shutil.rmtree(rig.folder / "data")
        shutil.rmtree(rig.folder / "region")
        rig.config.unlink()
        found["restored"] = place.restore("new")
        assert found["restored"].returncode == 0, found["restored"].stderr
        rig.config = place.folder / "new" / "nagari.toml"
        rig.data = place.folder / "new" / "data"
        rig.env = {}
        rig.start()
        found["after"] = rig.eventually("/api/v1/stats", lambda said: said["in_flight"] == 0)
        yield found
    finally:
        rig.end()


def metrics(rig: Rig) -> str:
    proof = {"Authorization": f"Bearer {rig.make_token('viewer')}"}
    request = urllib.request.Request(f"http://127.0.0.1:{rig.http}/metrics", headers=proof)
    with urllib.request.urlopen(request, timeout=5) as answer:
        text: str = answer.read().decode()
        return text


def test_the_accounts_balance_and_go_on_from_the_backup(lost: dict[str, Any]) -> None:
    assert balanced(lost["after"])
    assert lost["after"]["received"] >= lost["before"]["received"] > 2000
    assert lost["after"]["dropped"] == lost["after"]["quarantined"] == 0


def test_the_alert_its_acknowledgement_and_its_trail_are_there(lost: dict[str, Any]) -> None:
    rig = lost["place"].rig
    alerts = rig.get("/api/v1/alerts?state=all&limit=500")["alerts"]
    ours = next(each for each in alerts if each["id"] == lost["alert"])
    assert (ours["condition"], ours["acked"]) == ("active", True)
    assert {each["id"] for each in lost["trail"]} <= {each["id"] for each in alerts}


def test_the_token_of_before_still_lets_in_and_the_backups_own_does_not(lost: dict[str, Any]) -> None:
    rig = lost["place"].rig
    assert rig.get("/api/v1/stats")["ready"] in {True, False}  # with the token from before the loss
    with closing(sqlite3.connect(rig.data / "state.db")) as con:
        assert con.execute(
            "select count(*) from tokens where name = 'backup' and revoked is null"
        ).fetchone() == (0,)


def test_the_audit_is_whole(lost: dict[str, Any]) -> None:
    state = State(lost["place"].rig.data / "state.db")
    try:
        assert state.verify_audit() is None
        assert "backup.stage" in {row.what for row in state.audit_rows()}
    finally:
        state.close()


def test_every_reading_that_the_accounts_speak_of_is_there_once(lost: dict[str, Any], tmp_path: Path) -> None:
    rig = lost["place"].rig
    stats = rig.stats()
    assert stats["values"] == lost["after"]["values"]
    assert rig.stop() < 10
    [(rows, distinct)] = query(rig, "select count(*), count(distinct (series, time)) from readings")
    [(kept,)] = query(rig, 'select "values" from ledger')
    assert rows == distinct == kept
    rig.start()


def test_the_second_backup_sends_only_what_is_new(lost: dict[str, Any]) -> None:
    place = lost["place"]
    place.made()
    again = place.made()  # nothing comes any more
    assert again["total"] > 500_000
    assert again["added"] < again["total"] / 3


def test_what_the_settings_name_comes_back_for_its_owner_alone(lost: dict[str, Any]) -> None:
    files = lost["place"].folder / "new" / "files"
    accounts = files / str(lost["place"].folder / "broker.passwd").lstrip("/")
    assert accounts.read_text() == ACCOUNTS
    assert accounts.stat().st_mode & 0o077 == 0
    assert (lost["place"].folder / "new" / "nagari.toml.original").exists()


def test_no_secret_is_in_log_metrics_or_what_the_commands_say(lost: dict[str, Any]) -> None:
    said = lost["restored"].stdout + lost["restored"].stderr + lost["log"] + lost["metrics"]
    assert SECRET not in said
    assert "nagari_backup_age_seconds" in lost["metrics"]


def test_restore_names_the_two_commands_to_go_on_with(lost: dict[str, Any]) -> None:
    config = lost["place"].folder / "new" / "nagari.toml"
    lines = [line.strip() for line in lost["restored"].stdout.splitlines()]
    assert lines[-2:] == [f"nagari doctor --config {config}", f"nagari run --config {config}"]


def test_the_restored_alert_goes_on_with_the_next_reading_and_is_raised_only_once(
    lost: dict[str, Any],
) -> None:
    rig = lost["place"].rig
    ours = rig.get(f"/api/v1/alerts/{lost['alert']}")
    with Wire(rig.broker.port, "after") as wire:
        wire.publish(topic(*rig.devices[0]), tele({"jitter_ms": 1.0}))
        wire.flush()
    rig.eventually(
        "/api/v1/alerts", lambda said: lost["alert"] not in {each["id"] for each in said["alerts"]}
    )
    assert ours["count"] == 1


LATE: list[dict[str, Any]] = []
"""The alert of the backup that was late, while it was and after it had been made."""


@pytest.fixture(scope="module")
def resting(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A collector that ran for a moment, three hours late with its first backup, and does not any more."""
    place = place_in(tmp_path_factory.mktemp("resting"))
    since = place.rig.data / "backup" / SINCE
    since.parent.mkdir(parents=True)
    since.write_text(str(time.time_ns() - 3 * 3600 * 10**9))
    place.rig.broker.start()
    try:
        place.rig.start()
        LATE.append(place.rig.eventually("/api/v1/alerts", lambda said: bool(said["alerts"]))["alerts"][0])
        place.made()
        place.rig.eventually("/api/v1/alerts", lambda said: not said["alerts"])
        LATE.append(place.rig.get("/api/v1/alerts?state=all")["alerts"][0])
        Load(place.rig.broker.port, place.rig.devices, 500, calm, count=500).join()
        place.rig.settle(500)
        place.rig.stop()
    finally:
        place.rig.end()
    done = place.backup()
    assert done.returncode == 0, done.stderr
    assert "does not run" in done.stderr
    return place


def mistake(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """One sentence, exit code 2, no traceback."""
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("nagari: ")
    assert "Traceback" not in done.stderr
    assert all(word in last for word in words), last


def test_a_backup_that_is_late_is_an_alert_until_it_is_made(resting: Place) -> None:
    assert resting.repository.exists()
    late, made = LATE
    assert (late["rule"], late["severity"], late["condition"]) == ("collector-backup-late", "major", "active")
    assert late["summary"]["en"].startswith("No good backup since 3 hours")
    assert late["summary"]["id"].startswith("Tidak ada cadangan yang baik sejak 3 jam")
    assert made["condition"] == "cleared"


def test_a_wrong_password_is_one_sentence(resting: Place, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong")
    wrong.chmod(0o600)
    mistake(resting.backup(env={"NAGARI_BACKUP__PASSWORD_FILE": str(wrong)}), "password is wrong")


def test_a_repository_that_is_gone_is_not_made_anew_unasked(resting: Place) -> None:
    aside = resting.repository.rename(resting.repository.with_name("aside"))
    try:
        mistake(resting.backup(), "there is no repository", "backup init")
        assert not resting.repository.exists()
        mistake(resting.restore("nothing"), "there is no repository")
        assert not (resting.folder / "nothing" / "data").exists()
    finally:
        aside.rename(resting.repository)


def test_a_place_that_is_not_there_is_one_sentence(resting: Place, tmp_path: Path) -> None:
    mistake(resting.backup(env={"NAGARI_BACKUP__REPOSITORY": str(tmp_path / "no" / "disk")}), "no such place")


def test_restore_brings_back_what_was_not_running_too(resting: Place) -> None:
    done = resting.restore("whole")
    assert done.returncode == 0, done.stderr
    assert "1,000 readings" in done.stdout


def test_nobody_else_can_read_what_was_restored(resting: Place) -> None:
    (resting.folder / "private").mkdir(mode=0o755)
    assert resting.restore("private").returncode == 0
    made = [resting.folder / "private", *(resting.folder / "private").rglob("*")]
    assert len(made) > 5
    assert [each for each in made if each.stat().st_mode & 0o077] == []


def test_without_restic_it_says_what_to_install(resting: Place, tmp_path: Path) -> None:
    mistake(resting.backup(env={"PATH": str(tmp_path)}), PROGRAM, "apt-get install restic")


def test_nothing_is_ever_written_over(resting: Place) -> None:
    (resting.folder / "full").mkdir()
    (resting.folder / "full" / "mine").write_text("precious")
    mistake(resting.restore("full"), "is not an empty folder")
    assert (resting.folder / "full" / "mine").read_text() == "precious"


def test_a_damaged_repository_is_one_sentence_and_nothing_is_put_in_place(resting: Place) -> None:
    copy = shutil.copytree(resting.repository, resting.repository.with_name("damaged"))
    for index in (copy / "index").iterdir():
        index.chmod(0o600)
        index.write_bytes(b"\x00" * 100)
    where = ("--repository", str(copy), "--to", str(resting.folder / "never"))
    mistake(nagari("restore", *where, "--password-file", str(resting.password)), "damaged")
    assert not (resting.folder / "never" / "data").exists()
    mistake(resting.backup("--check", env={"NAGARI_BACKUP__REPOSITORY": str(copy)}), "damaged")


def test_a_backup_that_is_killed_harms_nothing_and_the_next_one_works(resting: Place) -> None:
    command = [sys.executable, "-m", "collector.cli", "backup", "--config", str(resting.rig.config)]
    big = resting.rig.folder / "region" / "notes.txt"
    big.write_bytes(os.urandom(40_000_000))  # so that there is a time to be killed in
    packs = sorted(resting.repository.glob("data/*/*"))
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **resting.rig.env})
    deadline = time.monotonic() + 30
    while sorted(resting.repository.glob("data/*/*")) == packs:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    big.unlink()
    assert staging(resting.rig.data).exists()
    again = resting.backup()
    assert again.returncode == 0
    assert "stays until the next one" not in again.stderr  # the lock of the one that was killed is gone
    assert not staging(resting.rig.data).exists()
    done = resting.backup("--check")
    assert done.returncode == 0, done.stderr
