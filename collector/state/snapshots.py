"""Engine snapshots on disk: written whole or not at all, checked when read, the bad ones passed over."""

from __future__ import annotations

import logging
import os
import re
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from collector.core.bundle import Writable

_HEADER = struct.Struct("<4sHHqQII")  # magic, version, reserved, offset, length, payload's CRC, header's CRC
_MAGIC, _VERSION = b"NGSN", 1
_NAME = re.compile(r"([a-z][a-z0-9_]*)-(\d{20})\.snapshot")
_log = logging.getLogger(__name__)


class Snapshots:
    """The snapshots of all followers in one folder (made when the first is saved). Safe across threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._sound: dict[tuple[str, int, int], bool] = {}  # (name, mtime, size) -> what checking it gave

    def save(
        self, follower: str, offset: int, payload: bytes | Callable[[Writable], None], keep: int = 3
    ) -> None:
        """Keep the follower's state as of a journal offset, and its `keep` newest. Durable on return.

        A large payload need not exist in one piece: it may be a function that writes it. Raises OSError;
        ValueError for a bad name.
        """
        name = f"{follower}-{offset:020d}.snapshot"
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"{follower!r} at {offset} is no follower and offset; use a-z, 0-9, _ and 0 or more"
            )
        self._folder.mkdir(0o700, parents=True, exist_ok=True)
        part = self._folder / f"{follower}.part"  # one name: failures do not pile up
        _write(part, offset, payload)  # a large one takes its time: nobody waits for it
        with self._lock:
            file = part.replace(self._folder / name)
            sync_folder(self._folder)
            self._sound[_fingerprint(file)] = True
            for old in self._files(follower)[keep:]:
                old.unlink(missing_ok=True)

    def newest(self, follower: str, at_or_before: int | None = None) -> tuple[int, bytes] | None:
        """(offset, payload) of the newest sound snapshot, at or before a journal offset if one is given."""
        with self._lock:
            for file in self._files(follower):
                offset = _offset(file)
                if at_or_before is not None and offset > at_or_before:
                    continue
                payload = _read(file)
                if payload is not None:
                    return offset, payload
                _log.warning(
                    "%s: the snapshot is damaged and passed over; an older one or the journal serves", file
                )
        return None

    def cursors(self, follower: str) -> list[int]:
        """The journal offsets of the follower's snapshots, the newest first."""
        with self._lock:
            return [_offset(file) for file in self._files(follower)]

    def reached(self, follower: str) -> int:
        """The offset of the follower's newest snapshot, sound or not; 0 without one."""
        with self._lock:
            return max(map(_offset, self._files(follower)), default=0)

    def floor(self, of: str | None = None) -> int | None:
        """The journal must keep everything from here on: the smallest, over followers, of the second-newest.

        None while a follower has fewer than two sound ones: keep everything. `of` asks for one follower's.
        """
        with self._lock:
            followers = {_NAME.fullmatch(file.name)[1] for file in self._files(of)}  # type: ignore[index]
            seconds = [self._second(follower) for follower in followers]
        if not seconds or None in seconds:
            return None
        return min(offset for offset in seconds if offset is not None)

    def _second(self, follower: str) -> int | None:
        sound = [file for file in self._files(follower) if self._is_sound(file)]
        return _offset(sound[1]) if len(sound) > 1 else None

    def _is_sound(self, file: Path) -> bool:
        key = _fingerprint(file)
        if key not in self._sound:
            self._sound = {k: v for k, v in self._sound.items() if (self._folder / k[0]).exists()}
            self._sound[key] = _read(file) is not None
        return self._sound[key]

    def _files(self, follower: str | None) -> list[Path]:
        """Newest first."""
        if not self._folder.is_dir():
            return []
        found = [(m, file) for file in self._folder.iterdir() if (m := _NAME.fullmatch(file.name))]
        return [
            f for m, f in sorted(found, key=lambda x: int(x[0][2]), reverse=True) if follower in (None, m[1])
        ]


class _Summed:
    """A file that is written from its header on; it cannot seek, so what was summed up stays as it was."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self.length = self.crc = 0

    def write(self, data: bytes) -> int:
        self.crc = zlib.crc32(data, self.crc)
        written = self._out.write(data)
        self.length += written
        return written

    def flush(self) -> None:
        """Nothing is asked of it before the end."""


def _write(file: Path, offset: int, payload: bytes | Callable[[Writable], None]) -> None:
    with file.open("wb") as out:
        os.fchmod(out.fileno(), 0o600)
        out.write(bytes(_HEADER.size))
        summed = _Summed(out)
        if isinstance(payload, bytes):
            summed.write(payload)
        else:
            payload(summed)
        out.seek(0)
        out.write(_header(offset, summed.length, summed.crc))
        out.flush()
        os.fsync(out.fileno())


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable. Raises OSError."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _fingerprint(file: Path) -> tuple[str, int, int]:
    stat = file.stat()
    return file.name, stat.st_mtime_ns, stat.st_size


def _header(offset: int, length: int, crc: int) -> bytes:
    fields = (_MAGIC, _VERSION, 0, offset, length, crc)
    return _HEADER.pack(*fields, zlib.crc32(_HEADER.pack(*fields, 0)))


def _read(file: Path) -> bytes | None:
    try:
        data = file.read_bytes()
    except OSError:
        return None
    payload = data[_HEADER.size :]
    return (
        payload if data[: _HEADER.size] == _header(_offset(file), len(payload), zlib.crc32(payload)) else None
    )


def _offset(file: Path) -> int:
    return int(file.stem.rpartition("-")[2])
