"""`nagari restore`: from a repository into an empty folder, on a machine that knows of no collector."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from collector.backup import manifest, settings
from collector.backup.making import CONFIG, EFFECTIVE, FILES, REGION, Show, write_last
from collector.backup.manifest import Manifest
from collector.backup.restic import Message, Restic
from devices.problems import Problems

WORK = ".restoring"
"""What a restore that was broken off leaves behind in the target; the next one clears it away."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put in place: the settings' file, the snapshot's id, its manifest."""

    config: Path
    snapshot: str
    manifest: Manifest


def restore(restic: Restic, to: Path, wanted: str | None, show: Show) -> Restored:
    """Fetch a snapshot (the newest, unless one is wanted), verify it, put it in place below `to`.

    Nothing is put in place before all of it is verified. Raises Problems.
    """
    to = to.absolute()
    _check_empty(to)
    chosen = _choose(restic, wanted)
    with _writing(to):
        work = to / WORK
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True, mode=0o700)
        total = restic.size(str(chosen["id"]))
        _check_room(to, total)
        restic.restore(str(chosen["id"]), work, lambda: _progress(work, total, show))
        listed = _verify(work, show)
        config = _place(work, to)
        _make_private(to)
        write_last(to / "data", restic.repository, str(chosen["short_id"]), listed.at)
        shutil.rmtree(work)
    return Restored(config, str(chosen["short_id"]), listed)


def _check_empty(to: Path) -> None:
    if not to.exists():
        return
    if not to.is_dir() or any(each.name != WORK for each in to.iterdir()):
        mend = "name a new folder with --to; nothing is ever written over"
        raise Problems.one(str(to), "is not an empty folder", mend)


def _choose(restic: Restic, wanted: str | None) -> Message:
    found = restic.snapshots()
    if not found:
        raise Problems.one(restic.repository, "there is no backup of a collector in it", "mend --repository")
    if wanted is None:
        return found[-1]
    if len(wanted) >= 4 and (named := [each for each in found if str(each["id"]).startswith(wanted)]):
        return named[0]
    raise Problems.one(f"--snapshot {wanted}", "there is no such snapshot", "see `nagari backup list`")


def _check_room(to: Path, needed: int) -> None:
    free = shutil.disk_usage(to).free
    if free < needed:
        what = f"has {free / 1e9:,.1f} GB of room, and the backup is {needed / 1e9:,.1f} GB"
        raise Problems.one(str(to), what, "choose a larger disk with --to")


@contextmanager
def _writing(to: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise Problems.one(str(to), what, "mend that, and run it again with an empty folder") from error


def _progress(work: Path, total: int, show: Show) -> None:
    done = 0
    for folder, _, names in os.walk(work):
        for name in names:
            stat = (Path(folder) / name).stat()
            done += min(stat.st_size, stat.st_blocks * 512)
    show(done / max(1, total), f"fetching {done / 1e6:,.0f} of {total / 1e6:,.0f} MB")


def _verify(work: Path, show: Show) -> Manifest:
    listed = manifest.read(work)
    total, read = listed.bytes, 0

    def done(size: int) -> None:
        nonlocal read
        read += size
        show(read / max(1, total), f"verifying {read / 1e6:,.0f} of {total / 1e6:,.0f} MB")

    manifest.verify(listed, work, done)
    return listed


def _make_private(to: Path) -> None:
    """As they were backed up, the files may be open to others."""
    for each in (to, *to.rglob("*")):
        if not each.is_symlink():
            each.chmod(0o700 if each.is_dir() else 0o600)


def _place(work: Path, to: Path) -> Path:
    """The settings last: without them it is plain that something is wanting."""
    data = to / "data"
    (work / "data").rename(data)
    for file in (work / "store").iterdir():
        file.rename(data / file.name)
    (work / REGION).rename(to / REGION)
    if (work / FILES).exists():
        (work / FILES).rename(to / FILES)
    shutil.move(work / CONFIG, to / f"{CONFIG}.original")
    tree = json.loads((work / EFFECTIVE).read_text("utf-8"))
    head = f"# Restored, with its paths mended; {CONFIG}.original beside it is the file as it was.\n\n"
    config = to / CONFIG
    config.write_text(head + settings.moved(tree, to, to / FILES), "utf-8")
    return config
