"""The demo's folder, ports and settings file."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from collector.broker import free_port
from devices.problems import Problems

MARK = ".nagari-demo"
_OTHER = "name another folder with --data"
_TOML = """\
# Written by `nagari demo`; `nagari doctor --config FILE` and `nagari token --config FILE` work with it.
[data]
dir = "data"
reserve = "16MB"

[mqtt]
url = "mqtt://127.0.0.1:{mqtt}"

[http]
listen = "127.0.0.1:{http}"

[region]
dir = {region}

[journal]
max_bytes = "2GB"
segment_bytes = "32MB"

[store]
memory = "96MB"

[limits]
head_bytes = "16MB"
"""


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """A demo: its folder, region and ports; `publisher` is the id of the device that the agent is.

    `scenario`: the story that the simulated devices live through, "" for an ordinary day.
    """

    folder: Path
    region: Path
    publisher: str
    scenario: str
    http: int
    mqtt: int

    @property
    def config(self) -> Path:
        """The collector's settings."""
        return self.folder / "nagari.toml"

    @property
    def token(self) -> Path:
        """The file with the demo's API token."""
        return self.folder / "token"

    @property
    def url(self) -> str:
        """Where page and API are."""
        return f"http://127.0.0.1:{self.http}"


@contextmanager
def claim(folder: Path) -> Iterator[Path]:
    """The demo's folder, made if need be, and ours alone while the block runs. Raises Problems.

    A folder that somebody else could have prepared is refused: its tokens and accounts might be theirs.
    """
    folder = folder.absolute()
    if folder.is_symlink():
        raise Problems.one(str(folder), "is a link, perhaps to where somebody else wants it", _OTHER)
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _check(folder, os.fstat(handle))
        _lock(folder, handle)
        os.fchmod(handle, 0o700)
        yield folder
    finally:
        os.close(handle)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Problems.one(str(folder), f"cannot be used ({error.strerror})", _OTHER) from None


def _check(folder: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise Problems.one(str(folder), "belongs to somebody else", _OTHER)
    if found.st_mode & 0o022:
        raise Problems.one(str(folder), "can be written by others", f"chmod 700 it, or {_OTHER}")
    if any(folder.iterdir()) and not (folder / MARK).exists():
        what = "is in use by something other than the demo"
        raise Problems.one(str(folder), what, "name an empty folder with --data")


def _lock(folder: Path, handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise Problems.one(str(folder), "another demo runs in it", f"end that one, or {_OTHER}") from None


def prepare(
    folder: Path, region: Path, publisher: str, scenario: str, ports: tuple[int, int], *, fresh: bool
) -> DemoPlan:
    """Choose ports (page, broker) from these on; empty the folder if `fresh`. It must be claimed."""
    with _writing(folder):
        for each in folder.iterdir() if fresh else ():
            shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()
        (folder / MARK).touch()
    return DemoPlan(folder, region.absolute(), publisher, scenario, *map(free_port, ports))


def write_config(plan: DemoPlan) -> None:
    """Write the settings, which replace those of the last demo: only when nothing can be refused any more."""
    quoted = '"' + str(plan.region).replace("\\", "\\\\").replace('"', '\\"') + '"'
    with _writing(plan.folder):
        plan.config.write_text(_TOML.format(http=plan.http, mqtt=plan.mqtt, region=quoted), "utf-8")
