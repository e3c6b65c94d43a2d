"""The folder of cold parts: attached when asked for, let go when many are, deleted when nobody needs them."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from collector.store.duckdb.layout import PartFile

log = logging.getLogger(__name__)
MOST_ATTACHED = 200
"""So many files at most stay open between questions."""
FORM = "storage_version 'v2.0.0', block_size 65536"
"""64 KiB blocks: measured best for a day of a regency; at 256 KiB half-filled ones cost a quarter more."""
BUILDING = "building"


def folder_of(main: Path) -> Path:
    """Where the parts of a main file are."""
    return main.with_name("parts" if main.name == "readings.duckdb" else f"{main.name}.parts")


class Shelf:
    """The parts' files, and which of them DuckDB has open. Safe to use in several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._con: duckdb.DuckDBPyConnection | None = None
        self._attached: dict[str, int] = {}  # name -> its users; the one that was used last at the end

    def path(self, part: PartFile) -> Path:
        """The part's file."""
        return self.folder / part.file

    def use(self, con: duckdb.DuckDBPyConnection | None) -> None:
        """From now on this DuckDB opens them; None: it was closed, and with it all files."""
        with self._lock:
            if self._con is not None:
                self._con.close()
            self._con = con.cursor() if con is not None else None
            self._attached.clear()

    @contextmanager
    def held(self, parts: Sequence[PartFile]) -> Iterator[None]:
        """While it lasts they are open. Raises duckdb.Error for a file that is missing or damaged."""
        taken: list[str] = []
        try:
            with self._lock:
                for part in parts:
                    self._attach(part)
                    taken.append(part.name)
            yield
        finally:
            with self._lock:
                for name in taken:
                    if name in self._attached:
                        self._attached[name] -= 1
                self._trim()

    def remove(self, part: PartFile) -> None:
        """Close it and delete its file."""
        with self._lock:
            self._detach(part.name)
        self.path(part).unlink(missing_ok=True)

    def set_aside(self, part: PartFile) -> None:
        """Close it and keep its file under another name, if there is one."""
        with self._lock:
            self._detach(part.name)
        if self.path(part).exists():
            self.path(part).replace(self.path(part).with_suffix(".bad"))

    def clean(self, known: Iterable[PartFile], *, keep: bool) -> None:
        """Delete (or with `keep` put aside) what no manifest names: a closing that was cut off left it."""
        if not self.folder.is_dir():
            return
        names = {part.file for part in known}
        for file in self.folder.iterdir():
            if file.name in names or file.suffix == ".bad" or not file.is_file():
                continue
            if keep and file.suffix == ".duckdb":
                file.replace(file.with_suffix(".bad"))
                log.warning("%s: no manifest names it; it was set aside as .bad", file)
            else:
                file.unlink()

    def fault(self, con: duckdb.DuckDBPyConnection, part: PartFile) -> str:
        """Why it cannot be read from end to end; "" if it can."""
        try:
            if self.path(part).stat().st_size != part.bytes:
                return "it has not the length it was written with"
            with self.held([part]):
                con.execute(f"select bit_xor(hash(columns(*))) from {part.name}.rows").fetchall()
        except OSError as error:
            return error.strerror or "it cannot be read"
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            return str(error).splitlines()[0]
        return ""

    def _attach(self, part: PartFile) -> None:
        assert self._con is not None
        if part.name not in self._attached:
            self._con.execute(f"attach if not exists {quoted(self.path(part))} as {part.name} (read_only)")
        self._attached[part.name] = self._attached.pop(part.name, 0) + 1

    def _trim(self) -> None:
        """Close the longest unused of too many."""
        if len(self._attached) > MOST_ATTACHED:
            idle = [name for name, users in self._attached.items() if not users]
            for name in idle[: len(self._attached) - MOST_ATTACHED]:
                self._detach(name)

    def _detach(self, name: str) -> None:
        if name in self._attached and self._con is not None:
            del self._attached[name]
            self._con.execute(f"detach database if exists {name}")


def sync(file: Path) -> None:
    """Until this returns the file may vanish in a power cut."""
    for place in (file, file.parent):
        handle = os.open(place, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def quoted(file: Path) -> str:
    """The path as a word of SQL."""
    return "'" + str(file).replace("'", "''") + "'"
