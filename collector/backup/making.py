"""`nagari backup`: from a collector, running or not, through the staging folder, into the repository."""

from __future__ import annotations

import fcntl
import getpass
import importlib.metadata
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from collector.api.backupwatch import LAST
from collector.api.staging import stage, staging
from collector.backup import manifest, settings
from collector.backup.restic import Restic
from collector.core.config import Config
from collector.core.readings import SeriesTable
from collector.ingest.logcopy import closed_files
from collector.state import State
from collector.state.copying import counts, end_token
from collector.store.stores import open_store
from devices.problems import Problems

CONFIG, EFFECTIVE, FILES, REGION = "nagari.toml", "settings.json", "files", "region"
HOUR_NS = 3600 * 10**9
LONGEST_STAGING = 3600.0
"""Seconds that the running collector may take to lay the backup out."""
Say = Callable[[str], None]
Show = Callable[[float, str], None]
"""Hears how far it is, 0 to 1, and a few words."""


@dataclass(frozen=True, slots=True)
class Made:
    """A backup: its snapshot, bytes in it, bytes that were new, seconds, what was not there to include."""

    snapshot: str
    total: int
    added: int
    seconds: float
    missing: tuple[str, ...]


def repository(config: Config) -> Restic:
    """The repository of [backup]. Raises Problems."""
    backup = config.backup
    if backup.repository is None:
        mend = 'write [backup] repository = "/mnt/elsewhere", and see docs/backup.md'
        raise Problems.one("backup.repository", "there is no place for a backup", mend)
    if backup.password_file is None:
        mend = "write a long password into a file, mode 0600, keep a copy of it elsewhere, and name the file"
        raise Problems.one("backup.password_file", "there is no password", mend)
    cache = config.data.dir / "backup" / "cache"
    return Restic(backup.repository, backup.password_file, backup.environment_file, cache)


def back_up(file: Path, config: Config, say: Say, show: Show, wait: float = 0.0) -> Made:
    """Make one backup of the collector whose settings are in `file`. Raises Problems.

    One that does not answer may be just starting: it gets `wait` seconds before its files are opened.

    Killed at any moment it leaves nothing that the next one minds: a staging folder, which that one clears
    away, and in the repository pieces that no snapshot names, which that one may use.
    """
    begun, data = time.monotonic(), config.data.dir
    _check_owner(data)
    restic = repository(config)
    with _alone(data):
        _make_ready(restic, data, say)
        folder = staging(data)
        try:
            at = time.time_ns()
            show(0.0, "laying out")
            accounts, token = _stage(config, say, wait)
            end_token(folder / "data" / "state.db", token, time.time_ns())
            missing = _add_settings(file, config, folder)
            listed = _list(data, folder, at, accounts, missing)
            summary = restic.backup(folder, lambda said: _progress(said, show))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        made = Made(
            str(summary["snapshot_id"]),
            listed.bytes,
            int(summary["data_added"]),
            time.monotonic() - begun,
            tuple(missing),
        )
        _remember(config, made, at)
        show(1.0, "removing what is past its time")
        _forget(restic, config, say)
    return made


def _check_owner(data: Path) -> None:
    try:
        owner = data.stat().st_uid
    except OSError as error:
        what = f"there is no data folder ({error.strerror})"
        raise Problems.one(str(data), what, "mend data.dir; is it this machine's collector?") from None
    if owner != os.geteuid():
        mend = "run it as that user, such as `sudo -u nagari nagari backup`"
        raise Problems.one(str(data), "belongs to another user", mend)


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """One backup at a time; the lock goes with the process."""
    folder = data / "backup"
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Problems.one(str(folder), "a backup is being made already", "wait for it to end") from None
        yield


def _make_ready(restic: Restic, data: Path, say: Say) -> None:
    """A first backup makes its repository; one that was there and is gone is not made anew unasked."""
    if restic.exists():
        return
    last = _last(data)
    place = Path(restic.repository)
    if last == restic.repository or (place.is_absolute() and not place.parent.is_dir()):
        what = "there is no repository" if last == restic.repository else "there is no such place"
        mend = "mount it, or mend [backup] repository; `nagari backup init` begins a new one"
        raise Problems.one(restic.repository, what, mend)
    restic.init()
    say(f"{restic.repository}: a new repository was made; without its password nobody can read it")


def _last(data: Path) -> str | None:
    try:
        return str(json.loads((data / "backup" / LAST).read_text("utf-8"))["repository"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _stage(config: Config, say: Say, wait: float) -> tuple[dict[str, int], int]:
    """The running collector lays itself out; for one that does not run, it is done here.

    Gives the accounts, and the id of the token that asked for it.
    """
    data = config.data.dir
    state = State(data / "state.db")
    try:
        now = time.time_ns()
        token = state.create_token("admin", "backup", now, now + HOUR_NS)
        who = state.principal(token, now)
        assert who is not None
        try:
            deadline = time.monotonic() + wait
            while (answer := _ask(config, token)) is None and time.monotonic() < deadline:
                time.sleep(1.0)
        finally:
            state.revoke(who.token_id, time.time_ns())
    finally:
        state.close()
    if answer is not None:
        return answer, who.token_id
    say("the collector does not run: its files are read as they are")
    store = open_store(config.store, data, SeriesTable())
    try:
        return stage(data, store, lambda: closed_files(data / "journal")), who.token_id
    finally:
        store.close()


def _ask(config: Config, token: str) -> dict[str, int] | None:
    """The accounts, once the running collector has laid itself out; None if none runs."""
    host = "127.0.0.1" if config.http.host == "0.0.0.0" else config.http.host  # noqa: S104 (not to listen)
    url = f"http://{host}:{config.http.port}"
    patience = httpx.Timeout(10.0, read=LONGEST_STAGING)
    with httpx.Client(timeout=patience, trust_env=False) as client:
        try:
            answer = client.post(f"{url}/api/v1/backup", headers={"Authorization": f"Bearer {token}"})
        except httpx.ConnectError:
            return None
        except httpx.TransportError as error:
            what = f"the collector went away ({str(error) or type(error).__name__})"
            raise Problems.one(url, what, "make the backup again") from None
    try:
        said = answer.json()
        if answer.is_success and Path(said["folder"]).samefile(staging(config.data.dir)):
            return {name: int(count) for name, count in said["accounts"].items()}
        what, mend = said["error"], said["mend"]
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        what, mend = "what answers is not this collector", "mend http.listen in the settings"
    raise Problems.one(url, what, mend)


def _add_settings(file: Path, config: Config, folder: Path) -> list[str]:
    """Settings, region, every file that they name, under its path here; what is not there, in sentences."""
    missing = []
    try:
        shutil.copy(file, folder / CONFIG)
        (folder / EFFECTIVE).write_text(json.dumps(settings.kept(config), ensure_ascii=False), "utf-8")
        shutil.copytree(config.region.dir, folder / REGION, ignore=shutil.ignore_patterns(".git"))
    except (OSError, shutil.Error) as error:
        raise _unreadable(str(config.region.dir), error) from None
    for path in settings.named_files(config):
        target = settings.below(folder / FILES, path)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            if path.is_dir():
                shutil.copytree(path, target, dirs_exist_ok=True)
            else:
                shutil.copy2(path, target)
        except FileNotFoundError:
            missing.append(f"{path}: is not there")
        except (OSError, shutil.Error) as error:
            raise _unreadable(str(path), error) from None
    return missing


def _unreadable(where: str, error: Exception) -> Problems:
    why = getattr(error, "strerror", None) or "some of its files"
    return Problems.one(where, f"cannot be read ({why})", "let the user that makes the backup read it")


def _list(
    data: Path, folder: Path, at: int, accounts: dict[str, int], missing: list[str]
) -> manifest.Manifest:
    seen = data / "backup" / "sums.json"
    found, now = manifest.sums(folder, manifest.remembered(seen))
    manifest.remember(seen, now)
    program = importlib.metadata.version("nagari")
    rows = counts(folder / "data" / "state.db")
    listed = manifest.Manifest(at, program, found, rows, accounts, missing)
    manifest.write(listed, folder)
    return listed


def _progress(said: dict[str, object], show: Show) -> None:
    done, total = (int(str(said.get(key, 0))) / 1e6 for key in ("bytes_done", "total_bytes"))
    show(float(str(said.get("percent_done", 0))), f"sending {done:,.0f} of {total:,.0f} MB")


def _remember(config: Config, made: Made, at: int) -> None:
    """The collector looks at this: how old the last good backup is."""
    write_last(config.data.dir, str(config.backup.repository), made.snapshot, at)
    state = State(config.data.dir / "state.db")
    try:
        detail = {"snapshot": made.snapshot, "bytes": made.total, "added": made.added}
        state.audit(time.time_ns(), f"cli:{getpass.getuser()}", "backup", detail)
    finally:
        state.close()


def write_last(data: Path, place: str, snapshot: str, at: int) -> None:
    """Mark the last good backup: begun `at`, epoch ns."""
    folder = data / "backup"
    folder.mkdir(mode=0o700, exist_ok=True)
    part = folder / "last.part"
    part.write_text(json.dumps({"at": at, "snapshot": snapshot, "repository": place}) + "\n", "utf-8")
    part.replace(folder / LAST)


def _forget(restic: Restic, config: Config, say: Say) -> None:
    keep = config.backup
    try:
        restic.forget(keep.keep_daily, keep.keep_weekly, keep.keep_monthly)
    except Problems as problems:
        say(f"the backup is made; what is past its time stays until the next one: {problems}")
