"""The list of what is in a backup: every file with size and SHA-256, where it came from, and the counts.

It is written last and read first: a restore puts nothing in place that is not exactly this.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from devices.problems import Problem, Problems

VERSION = 1
NAME = "manifest.json"
Seen = dict[str, list[Any]]
"""By path: inode, size, mtime, sum. A file in which none of them changed need not be read again."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """`at`: when it was laid out, epoch ns. `files`: path -> (bytes, SHA-256). `counts`: rows of state.db.

    `accounts`: messages by fate and values, as they stood at least. `missing`: what was to be included and
    was not there.
    """

    at: int
    program: str
    files: dict[str, tuple[int, str]]
    counts: dict[str, int]
    accounts: dict[str, int]
    missing: list[str] = field(default_factory=list)
    version: int = VERSION

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(size for size, _ in self.files.values())


def sums(folder: Path, seen: Seen) -> tuple[dict[str, tuple[int, str]], Seen]:
    """Every file's size and sum, and what to remember for the next time. Raises OSError."""
    found, now = {}, {}
    for path in files(folder):
        name = str(path.relative_to(folder))
        stat = path.stat()
        mark = [stat.st_ino, stat.st_size, stat.st_mtime_ns]
        known = seen.get(name)
        digest = known[3] if known and known[:3] == mark else _sum(path)
        found[name] = (stat.st_size, digest)
        now[name] = [*mark, digest]
    return found, now


def write(manifest: Manifest, folder: Path) -> None:
    """Put it with what it lists."""
    text = json.dumps(asdict(manifest), indent=1, ensure_ascii=False)
    (folder / NAME).write_text(text + "\n", "utf-8")


def read(folder: Path) -> Manifest:
    """Raises Problems: there is none, or it is of a newer version."""
    file = folder / NAME
    try:
        tree = json.loads(file.read_text("utf-8"))
        version = int(tree["version"])
        known = {**tree, "files": {name: (size, digest) for name, (size, digest) in tree["files"].items()}}
        manifest = Manifest(**known) if version == VERSION else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        what = "the snapshot has no manifest that can be read"
        raise Problems.one(NAME, what, "take another one; `--snapshot` names it") from None
    if manifest is None:
        what = f"the backup was made by another version (manifest {version}, this one knows {VERSION})"
        raise Problems.one(NAME, what, "install the version that made it")
    return manifest


def verify(manifest: Manifest, folder: Path, done: Callable[[int], None] = lambda _: None) -> None:
    """Hold every file against its sum; `done` hears the bytes of each. Raises Problems, naming up to five."""
    wrong = []
    for name, (size, digest) in manifest.files.items():
        path = folder / name
        if ".." in Path(name).parts or not path.is_file():
            wrong.append(Problem(name, "is missing in the snapshot", _OTHER))
        elif path.stat().st_size != size or _sum(path) != digest:
            wrong.append(Problem(name, "is not what the manifest says", _OTHER))
        done(size)
    strange = {str(path.relative_to(folder)) for path in files(folder)} - manifest.files.keys()
    wrong += [Problem(name, "is not in the manifest", _OTHER) for name in sorted(strange)]
    if wrong:
        raise Problems(wrong[:5])


_OTHER = "take an earlier snapshot with --snapshot; `nagari backup --check` examines the repository"


def files(folder: Path) -> Iterator[Path]:
    """All files below, in order, without the manifest."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / NAME:
            yield path


def remembered(file: Path) -> Seen:
    """The sums of the last time; nothing where they cannot be read."""
    with suppress(OSError, ValueError):
        found = json.loads(file.read_text("utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def remember(file: Path, seen: Seen) -> None:
    """Keep the sums for the next time."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(seen), "utf-8")
    part.replace(file)


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
