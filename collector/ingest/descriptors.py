"""File descriptors for the log's files, though the process may have none left."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from collector.ingest.log import CROWDED


class Descriptors:
    """Opens the files of a folder that it holds open, with one descriptor kept back for bad times."""

    def __init__(self) -> None:
        self._folder = self._spare = -1
        self._lock = threading.Lock()

    def hold(self, folder: Path) -> None:
        """Open the folder and the spare. Raises OSError."""
        self.release()
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._spare = os.dup(self._folder)

    def open(self, path: Path, flags: int) -> int:
        """As os.open does; give it back by `close`. Raises OSError, CROWDED only if the spare is out too."""
        try:
            return os.open(path, flags, 0o600)
        except OSError as error:
            if error.errno not in CROWDED:
                raise
        with self._lock:
            if self._spare >= 0:
                os.close(self._spare)
                self._spare = -1
            return os.open(path, flags, 0o600)

    def close(self, fd: int) -> None:
        """Close it, or keep it as the spare: a number once let go may be taken by a socket at once."""
        with self._lock:
            if self._spare >= 0 or self._folder < 0:
                os.close(fd)
            else:
                self._spare = os.dup2(self._folder, fd, inheritable=False)

    @contextmanager
    def reading(self, path: Path) -> Iterator[BinaryIO]:
        """The file, to be read. Raises OSError."""
        fd = self.open(path, os.O_RDONLY)
        try:
            with os.fdopen(fd, "rb", closefd=False) as file:
                yield file
        finally:
            self.close(fd)

    def sync(self) -> None:
        """Make the folder's entries durable. Raises OSError."""
        os.fsync(self._folder)

    def release(self) -> None:
        """Close the folder and the spare; files may still be opened, as long as there are descriptors."""
        with self._lock:
            for fd in (self._folder, self._spare):
                if fd >= 0:
                    os.close(fd)
            self._folder = self._spare = -1
