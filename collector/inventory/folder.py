"""Region folders on the disk: the one place of this package that reads and writes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from devices.problems import Problems
from devices.region import Region, load, read_folder


def open_region(folder: Path) -> Region:
    """The region of a folder. Raises Problems."""
    return load(read_folder(folder), str(folder))


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of a region folder, by path in it; none if there is no such folder. Raises Problems."""
    return read_folder(folder) if folder.exists() else {}


def read(file: Path) -> bytes:
    """A file that somebody named. Raises Problems."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise Problems.one(str(file), f"cannot be read ({error.strerror})", "name a readable file") from None


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder, each as a whole or not at all; none before all are safely on the disk.

    Raises Problems.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        beside = {name: _beside(folder / name, raw) for name, raw in files.items()}
        for name, temporary in beside.items():
            temporary.replace(folder / name)
    except OSError as error:
        mend = "make it a folder that you may write into"
        raise Problems.one(str(folder), f"cannot be written ({error.strerror})", mend) from None


def _beside(file: Path, raw: bytes) -> Path:
    temporary = file.with_name(f".{file.name}.new")
    with temporary.open("wb") as out:
        out.write(raw)
        out.flush()
        os.fsync(out.fileno())
    if file.exists():
        temporary.chmod(file.stat().st_mode & 0o777)
    return temporary
