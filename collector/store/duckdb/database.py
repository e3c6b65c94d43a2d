"""The connection to the DuckDB file: one writer, many questions, opened anew when DuckDB gives up."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import duckdb

from collector.store.base import StoreError
from collector.store.duckdb import manifest, opening
from collector.store.duckdb.layout import Layout, PartFile
from collector.store.duckdb.parts import Shelf, folder_of
from collector.store.duckdb.tables import scalar
from devices.problems import Problem, Problems

log = logging.getLogger(__name__)
T = TypeVar("T")


class DuckFile:
    """The main file and its parts. `set_aside` has a sentence for each damaged file that was put by."""

    def __init__(self, file: Path, memory: int) -> None:
        self._file, self._memory = file, memory
        self._writer = threading.RLock()
        self._closing = threading.Lock()  # who changes what is cold: one at a time
        self._turn = threading.Condition()  # guards _con, _layout, _readers and _looking
        self._readers = 0
        self._looking: Counter[int] = Counter()  # readers by the version of the layout they have
        self._broken = False  # DuckDB refuses everything until it is opened anew
        self._doubt = False  # the last commit failed, and may have reached the disk all the same
        self._leaving = threading.Event()
        self._layout = Layout()
        self._shelf = Shelf(folder_of(file))
        self._con: duckdb.DuckDBPyConnection | None
        self._con, self.set_aside = opening.open_or_set_aside(file, memory, self._load)
        self._shelf.use(self._con)
        if not scalar(self._con, "select count(*) from ledger"):  # a file just begun
            self._put_aside_strangers()
        self._shelf.clean(self._layout.parts.values(), keep=bool(self.set_aside))
        self._lose([part for part in self._layout.parts.values() if not self._whole_length(part)])

    def _load(self, con: duckdb.DuckDBPyConnection) -> None:
        """Take from the file what is kept in memory."""
        with self._turn:
            self._layout = manifest.load(con, self._layout.version + 1)

    @contextmanager
    def _writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._writer:
            try:
                con = self._whole()
                if self._doubt:
                    self._load(con)
                    self._doubt = False
                yield con
            except duckdb.Error as error:
                self._roll_back()
                # What fills the memory may be what stays there as long as the file is open.
                self._broken |= isinstance(error, duckdb.OutOfMemoryException)
                raise self._failed(error, suspicious=True) from error
            except BaseException:
                self._roll_back()
                raise

    @contextmanager
    def _reading(self, *, suspicious: bool = False) -> Iterator[tuple[duckdb.DuckDBPyConnection, Layout]]:
        """A cursor in a transaction that sees the file as the layout says, whatever comes meanwhile."""
        try:
            with self._borrowed(pinned=True) as (cursor, layout):
                yield cursor, layout
        except duckdb.Error as error:
            raise self._failed(error, suspicious=suspicious) from error

    @contextmanager
    def _borrowed(self, *, pinned: bool) -> Iterator[tuple[duckdb.DuckDBPyConnection, Layout]]:
        """`pinned` unless it holds `_closing`: nothing cold goes away but by its own doing."""
        with self._turn:
            if self._con is None:
                raise self._closed()
            cursor, layout = self._con.cursor(), self._layout
            self._readers += 1
            if pinned:
                self._looking[layout.version] += 1
            try:
                if pinned:  # here, where no table comes or goes
                    cursor.begin()
                    cursor.execute("select cursor from ledger").fetchall()
            except BaseException:
                self._give_back(cursor, layout, pinned)
                raise
        try:
            yield cursor, layout
        finally:
            with self._turn:
                self._give_back(cursor, layout, pinned)

    def _give_back(self, cursor: duckdb.DuckDBPyConnection, layout: Layout, pinned: bool) -> None:
        with suppress(duckdb.Error):
            cursor.rollback()
        cursor.close()
        self._readers -= 1
        if pinned:
            self._looking[layout.version] -= 1
            if not self._looking[layout.version]:
                del self._looking[layout.version]
        self._turn.notify_all()

    def _ask(
        self,
        parts: Callable[[Layout], Sequence[PartFile]],
        question: Callable[[duckdb.DuckDBPyConnection, Layout], T],
        *,
        suspicious: bool = False,
    ) -> T:
        """The answer from the main file and those parts; a damaged one is set aside, and the rest answers."""
        with self._reading(suspicious=suspicious) as (con, layout):
            needed = parts(layout)
            try:
                with self._shelf.held(needed):
                    return question(con, layout)
            except duckdb.Error:
                if not needed:
                    raise
                bad = [part for part in needed if self._shelf.fault(con.cursor(), part)]
                if not bad:
                    raise
        with self._closing:
            self._lose(bad)
        return self._ask(parts, question, suspicious=suspicious)

    def _lose(self, bad: list[PartFile]) -> None:
        """Go on without parts that are missing or damaged."""
        for part in bad:
            if self._layout.parts.get(part.key) != part:
                continue
            with self._borrowed(pinned=False) as (con, _):
                fault = self._shelf.fault(con, part)
                con.begin()
                manifest.drop(con, part)
                self._publish(con, lambda layout, part=part: manifest.changed(layout, old=[part]))  # type: ignore[misc]
            self._shelf.set_aside(part)
            where = str(self._shelf.path(part))
            what = f"is damaged ({fault}): {part.readings:,} readings are lost to the {part.tier} tier"
            said = str(Problem(where, what, "what there was of it was set aside as .bad; restore a backup"))
            self.set_aside.append(said)
            log.error(said)

    def _publish(self, con: duckdb.DuckDBPyConnection, change: Callable[[Layout], Layout]) -> None:
        """Commit what changes the layout: who looks sees both or neither."""
        with self._turn:
            try:
                con.commit()
            except duckdb.Error:
                self._doubt = True  # it may have reached the disk all the same: the writer looks
                raise
            self._layout = change(self._layout)

    def _whole_length(self, part: PartFile) -> bool:
        try:
            return self._shelf.path(part).stat().st_size == part.bytes
        except OSError:
            return False

    def _put_aside_strangers(self) -> None:
        """Parts whose main file is gone: without it nobody knows whose series theirs are."""
        folder = self._shelf.folder
        if not folder.is_dir() or not any(folder.glob("*.duckdb")):
            return
        aside = opening.free_name(folder)
        folder.rename(aside)
        what = "belongs to a file that is gone"
        said = str(
            Problem(str(folder), what, f"it was set aside as {aside.name}; restore a backup to have both")
        )
        self.set_aside.append(said)
        log.error(said)

    def _closed(self) -> StoreError:
        return StoreError(f"{self._file} is closed, or just being opened anew", permanent=False)

    def _roll_back(self) -> None:
        if self._con is not None:
            with suppress(duckdb.Error):  # there may be no transaction, or no DuckDB, left
                self._con.rollback()

    def _failed(self, error: duckdb.Error, *, suspicious: bool) -> StoreError:
        if isinstance(error, duckdb.FatalException | duckdb.InternalException):
            self._broken = True
        bad = opening.is_bad(error)
        if bad and suspicious:
            with suppress(OSError):
                opening.suspect(self._file).touch()
        return StoreError(f"{self._file}: {str(error).splitlines()[0]}", permanent=bad)

    def _whole(self) -> duckdb.DuckDBPyConnection:
        if self._broken:
            self._reopen()
        if self._con is None:
            raise self._closed()
        return self._con

    def _reopen(self) -> None:
        self._shut()
        try:
            con = opening.connect(self._file, self._memory)
        except Problems as problems:
            raise StoreError(str(problems), permanent=False) from problems
        with self._turn:
            self._con, self._broken, self._doubt = con, False, True
            self._shelf.use(con)
            self._leaving.clear()

    def _shut(self) -> None:
        """Close once the last query is through: DuckDB forgets a broken file only when nobody holds it."""
        self._leaving.set()
        with self._turn:
            con, self._con = self._con, None
            self._turn.wait_for(lambda: self._readers == 0, timeout=30)
        self._shelf.use(None)
        if con is not None:
            con.close()
