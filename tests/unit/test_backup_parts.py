"""The parts of a backup: settings that move, troubles in one sentence, the manifest, and what is laid out."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.api.backupwatch import BackupWatch
from collector.api.staging import stage, staging
from collector.backup import manifest
from collector.backup.restic import read_environment
from collector.backup.settings import kept, moved, named_files, toml
from collector.backup.troubles import sentence
from collector.core.config import JournalSettings as Caps
from collector.core.config import check
from collector.core.readings import Readings, SeriesTable
from collector.core.records import RecordKind
from collector.ingest.files import FileLog
from collector.ingest.journal import Journal
from collector.ingest.pack import Pack
from collector.ingest.reserve import Reserve
from collector.state import State
from collector.state.snapshots import Snapshots
from collector.store.base import Ledger
from collector.store.duckdb import open_store
from collector.store.server.accounts import Accounts
from devices.problems import Problems

HOUR = 3600 * 10**9
NOW = 1_790_000_000 * 10**9
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
PLAIN = st.one_of(TEXT, st.integers(-(2**53), 2**53), st.floats(0, 1e9), st.booleans(), st.lists(TEXT))
KEY = st.from_regex(r"[a-z][a-z_]{0,10}", fullmatch=True)
TABLE = st.dictionaries(KEY, PLAIN, min_size=1, max_size=4)


@settings(max_examples=25)
@given(tree=st.dictionaries(KEY, TABLE, max_size=4), rows=st.lists(TABLE, max_size=3))
def test_settings_that_are_written_read_as_they_were(tree: dict, rows: list) -> None:
    tree = {**tree, "notify": {"log": True, **({"webhook": rows} if rows else {})}}
    assert tomllib.loads(toml(tree)) == tree


def test_settings_move_with_all_the_files_that_they_name() -> None:
    tree = {
        "data": {"dir": "/var/lib/nagari"},
        "mqtt": {"password_file": "/etc/nagari/mqtt.password", "keepalive": "20s"},
        "journal": {"max_bytes": "5GB"},
        "store": {"url": "duckdb:/fast/readings.duckdb"},
        "notify": {"webhook": [{"name": "a", "url": "https://x.test", "secret_file": "/etc/nagari/a"}]},
        "backup": {"repository": "/mnt/elsewhere", "include": ["/etc/mosquitto"]},
    }
    config = check(tree, Path("/etc/nagari/nagari.toml"))
    names = ["/etc/mosquitto", "/etc/nagari/a", "/etc/nagari/mqtt.password"]
    assert named_files(config) == [Path(name) for name in names]
    there = tomllib.loads(moved(json.loads(json.dumps(kept(config))), Path("/new"), Path("/new/files")))
    again = check(there, Path("/new/nagari.toml"))
    assert (again.data.dir, again.region.dir) == (Path("/new/data"), Path("/new/region"))
    assert again.mqtt.password_file == Path("/new/files/etc/nagari/mqtt.password")
    assert again.notify.webhook[0].secret_file == Path("/new/files/etc/nagari/a")
    assert again.backup.include == (Path("/new/files/etc/mosquitto"),)
    assert (again.mqtt.keepalive, again.journal.max_bytes) == (20.0, 5 * 10**9)
    assert (again.store.url, again.backup.repository) == ("duckdb:readings.duckdb", "/mnt/elsewhere")


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("Fatal: wrong password or no key found", "the password is wrong"),
        ("Fatal: unable to open config file: stat /r/config: no such file or directory", "no repository"),
        ("Fatal: unable to save snapshot: write /r/tmp: no space left on device", "it is full"),
        ("Get https://s3.test/x: dial tcp 10.0.0.1:443: connect: connection refused", "not answer"),
        ("ssh: connect to host h port 22: No route to host\nFatal: unable", "not answer"),
        ("client.GetObject: Access Denied.", "does not let us in"),
        ("unable to create lock in backend: repository is already locked by PID 7", "somebody else"),
        ("load <index/ac13>: invalid data returned\nFatal: LoadIndex returned errors", "damaged"),
        ("Fatal: create repository at /r failed: config file already exists", "a repository already"),
        ("something new\nFatal: the moon is full", "restic failed (the moon is full)"),
        ("", "it says nothing"),
    ],
)  # fmt: skip
def test_what_restic_complains_of_is_told_in_a_sentence(said: str, what: str) -> None:
    assert what in sentence(said).what
    assert sentence(said).mend


@pytest.mark.parametrize("place", ["elsewhere", "ftp://x", "rest:https://me:secret@host/r"])
def test_a_place_that_cannot_be_is_refused_at_the_start(place: str) -> None:
    with pytest.raises(Problems, match="repository"):
        check({"backup": {"repository": place}}, Path("/x/nagari.toml"))


def test_keys_come_from_a_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text('# ours\nAWS_ACCESS_KEY_ID=a=b\n\nAWS_SECRET_ACCESS_KEY="c"\n')
    file.chmod(0o600)
    assert read_environment(file) == {"AWS_ACCESS_KEY_ID": "a=b", "AWS_SECRET_ACCESS_KEY": "c"}
    file.write_text("nonsense\n")
    with pytest.raises(Problems, match=":1: is no KEY=VALUE"):
        read_environment(file)
    file.chmod(0o644)
    with pytest.raises(Problems, match="others can read"):
        read_environment(file)


def listed(folder: Path) -> manifest.Manifest:
    found, _ = manifest.sums(folder, {})
    made = manifest.Manifest(NOW, "1", found, {"alerts": 1}, {"received": 2})
    manifest.write(made, folder)
    return manifest.read(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "set" / "in").mkdir(parents=True)
    (tmp_path / "set" / "in" / "a").write_bytes(b"abc")
    (tmp_path / "set" / "b").write_bytes(b"")
    return tmp_path / "set"


def test_a_set_of_files_is_what_its_manifest_says(folder: Path) -> None:
    manifest.verify(listed(folder), folder)


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (lambda f: (f / "in" / "a").write_bytes(b"abd"), "in/a: is not what"),
        (lambda f: (f / "b").unlink(), "b: is missing"),
        (lambda f: (f / "more").write_bytes(b"x"), "more: is not in the manifest"),
    ],
)
def test_a_set_that_is_not_is_refused_by_name(folder: Path, harm, what: str) -> None:
    made = listed(folder)
    harm(folder)
    with pytest.raises(Problems, match=what):
        manifest.verify(made, folder)


def test_a_manifest_of_another_version_is_told_from_a_damaged_one(folder: Path) -> None:
    (folder / manifest.NAME).write_text('{"version": 9, "files": {}}')
    with pytest.raises(Problems, match="another version"):
        manifest.read(folder)
    (folder / manifest.NAME).write_text('{"vers')
    with pytest.raises(Problems, match="no manifest that can be read"):
        manifest.read(folder)


def test_only_files_that_changed_are_read_again(folder: Path) -> None:
    first, seen = manifest.sums(folder, {})
    stat = (folder / "in" / "a").stat()
    (folder / "in" / "a").write_bytes(b"xyz")
    os.utime(folder / "in" / "a", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert manifest.sums(folder, seen)[0] == first  # by all that tells of it, it is the same
    os.utime(folder / "in" / "a")
    assert manifest.sums(folder, seen)[0] != first


def test_a_backup_is_late_by_the_age_of_the_last_good_one_and_before_it_since_it_was_asked_for(
    tmp_path: Path,
) -> None:
    tree = {"data": {"dir": str(tmp_path)}, "backup": {"repository": "/r", "older_than": "36h"}}
    watch = BackupWatch(check(tree, tmp_path / "nagari.toml"))
    assert watch.late_h(NOW) == 0.0
    again = BackupWatch(check(tree, tmp_path / "nagari.toml"))  # a restart does not begin anew
    assert again.late_h(NOW + 37 * HOUR) == 37.0
    (tmp_path / "backup" / "last.json").write_text(json.dumps({"at": NOW + 30 * HOUR}))
    assert again.late_h(NOW + 37 * HOUR) == 0.0
    assert again.age(NOW + 37 * HOUR) == 7 * 3600
    assert again.late_h(NOW + 67 * HOUR) == 37.0


def test_who_asks_for_no_backup_is_not_told_that_there_is_none(tmp_path: Path) -> None:
    watch = BackupWatch(check({"data": {"dir": str(tmp_path)}}, tmp_path / "nagari.toml"))
    assert (watch.age(NOW), watch.late_h(NOW)) == (None, None)
    assert not (tmp_path / "backup").exists()


def test_what_is_laid_out_reaches_from_the_older_newest_snapshot_past_both_cursors(tmp_path: Path) -> None:
    log = FileLog(tmp_path / "journal", Caps(segment_bytes=5000))
    journal = Journal(log, Reserve(tmp_path / "reserve", 4096), lambda _: None)
    journal.open()
    for second in range(40):
        n = 10
        journal.append(
            Pack([RecordKind.MESSAGE] * n, [0] * n, ["t"] * n, [b"x" * 100] * n, NOW + second * 10**9)
        )
        journal.control(RecordKind.WATERMARK, {}, NOW + second * 10**9).result(10)
    ends = [int(path.stem) for path, _ in journal.durable_files()]
    assert len(ends) > 6
    snapshots = Snapshots(tmp_path / "snapshots")
    for follower, at in (("alarming", ends[1]), ("alarming", ends[4]), ("storing", ends[3] + 7)):
        snapshots.save(follower, at, b"state")
    state = State(tmp_path / "state.db")
    store = open_store("duckdb:", tmp_path, SeriesTable(), 64_000_000)
    store.commit(Readings.concat([]), [], Ledger(cursor=journal.end, messages=400, stored=400))
    accounts = stage(tmp_path, store, journal.durable_files)
    after = stage(tmp_path, store, journal.durable_files)  # what the first left is no hindrance
    assert accounts == after
    assert accounts["stored"] == 400
    laid = staging(tmp_path)
    names = sorted(int(path.stem) for path in (laid / "data" / "journal").iterdir())
    assert names == ends[3:]
    last = laid / "data" / "journal" / f"{ends[-1]:020d}.seg"
    assert ends[-1] + last.stat().st_size == journal.end
    again = open_store("duckdb:", laid / "store", SeriesTable(), 64_000_000)
    assert again.ledger() == store.ledger()
    again.close()
    copy = State(laid / "data" / "state.db")
    assert copy.cursor() == state.cursor()
    for each in (copy, state, store, journal):
        each.close()


def test_a_disk_that_refuses_is_told_in_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    store = open_store("duckdb:", tmp_path, SeriesTable(), 64_000_000)
    with pytest.raises(Problems, match="cannot be laid out"):  # there is no state.db
        stage(tmp_path, store, list)
    assert not staging(tmp_path).exists()
    store.close()


def test_of_readings_on_a_server_the_accounts_are_copied(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path / "accounts.db", SeriesTable())
    accounts.begin(None, [], Ledger(cursor=7, messages=3, stored=3), 0)
    (tmp_path / "copy").mkdir()
    accounts.snapshot(tmp_path / "copy")
    copy = Accounts(tmp_path / "copy" / "accounts.db", SeriesTable())
    assert copy.ledger() == accounts.ledger()
    copy.close()
    accounts.close()
