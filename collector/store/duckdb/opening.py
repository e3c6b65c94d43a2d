"""Opens the DuckDB file: makes it, checks it, sets a bad one aside, names why it cannot be had."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from collector.store.duckdb import tables
from collector.store.duckdb.tables import scalar
from devices.problems import Faults, Problem, Problems

THREADS = 2
_log = logging.getLogger(__name__)

_NOT_THE_FILES_FAULT = {
    r"lock on file|Conflicting lock": "another process has it open; stop it, or choose another data.dir",
    r"version number": "was written by a newer DuckDB; install that version, or choose another data.dir",
    r"Permission denied|Read-only": "may not be written; give it to this user, or choose another data.dir",
    r"No space left": "has no room on its disk; make room, or choose another data.dir",
    r"Too many open files": "cannot be opened (too many open files); raise the limit (ulimit -n)",
    r"Is a directory|Not a directory": "is no file; choose another data.dir",
}
_MAY_PASS = {r"lock on file|Conflicting lock", r"No space left", r"Too many open files"}
_OUR_FAULT = (duckdb.ConnectionException, duckdb.InvalidInputException, duckdb.OutOfMemoryException)


def connect(file: Path, memory: int) -> duckdb.DuckDBPyConnection:
    """A connection to the file, with our tables in it. Raises Problems, or duckdb.Error.

    A checkpoint comes at DuckDB's 16 MB of WAL: on 2 cores it stalls one commit in forty by 60 to 100 ms. At
    64 MB it would stall by 230 ms, hold four times the uncompressed rows in memory, and cost the same in all.
    """
    con = duckdb.connect(str(file), config=_settings(memory))
    try:
        _prepare(con, file)
    except BaseException:
        con.close()
        raise
    return con


def open_or_set_aside(
    file: Path, memory: int, check: Callable[[duckdb.DuckDBPyConnection], None]
) -> tuple[duckdb.DuckDBPyConnection, list[str]]:
    """A connection that `check` (raising duckdb.Error) is content with; a sentence for each thing set aside.

    Raises Problems.

    The bad WAL goes first: without it the file stands at its last checkpoint, with the ledger of then,
    and the journal fills the rest. Only if that does not help the file goes too.
    """
    said: list[str] = []
    for _ in range(3):
        try:
            con = connect(file, memory)
            _trust(con, file, check)
        except duckdb.Error as error:
            _refuse_unless_bad(file, error)
            said.append(_set_aside(file, error))
            _log.error(said[-1])
        else:
            return con, said
    raise Problems.one(
        str(file), "cannot be opened, nor a fresh one begun", "look at the log and at the disk"
    )


def suspect(file: Path) -> Path:
    """The mark that a read met a bad block: the next opening reads the whole file before it trusts it."""
    return file.with_name(file.name + ".suspect")


def is_bad(error: duckdb.Error) -> bool:
    """Whether the error says that the file itself is damaged."""
    return isinstance(error, duckdb.SerializationException) or bool(
        re.search(r"[Cc]orrupt|checksum|not a valid DuckDB|read enough bytes|Failed to decode", str(error))
    )


def _settings(memory: int) -> dict[str, str | bool | int | float | list[str]]:
    return {
        "threads": THREADS,
        "memory_limit": f"{memory}B",
        "preserve_insertion_order": False,  # every query orders for itself
        "python_enable_replacements": False,  # arrays are registered by name, never found by accident
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }


def _prepare(con: duckdb.DuckDBPyConnection, file: Path) -> None:
    there = {name for (name,) in con.execute("select table_name from duckdb_tables()").fetchall()}
    if not there:
        con.execute(tables.CREATE)
        return
    if "meta" not in there:
        raise Problems.one(str(file), "is a DuckDB file, but not this collector's", "choose another data.dir")
    version = scalar(con, "select max(version) from meta")
    if version != tables.SCHEMA:
        age = "a newer" if version and version > tables.SCHEMA else "an older"
        what = f"was written by {age} collector (schema {version}, this one knows {tables.SCHEMA})"
        raise Problems.one(str(file), what, "install that version, or choose another data.dir")


def _trust(
    con: duckdb.DuckDBPyConnection, file: Path, check: Callable[[duckdb.DuckDBPyConnection], None]
) -> None:
    try:
        check(con)
        if suspect(file).exists():
            tables.scan(con)
            suspect(file).unlink()
    except BaseException:
        con.close()
        raise


def _refuse_unless_bad(file: Path, error: duckdb.Error) -> None:
    for pattern, said in _NOT_THE_FILES_FAULT.items():
        if re.search(pattern, str(error)):
            what, mend = said.split("; ")
            held = re.search(r"\(PID \d+\)", str(error))
            kind = Faults if pattern in _MAY_PASS else Problems
            raise kind.one(str(file), f"{what} {held[0]}" if held else what, mend) from error
    if isinstance(error, _OUR_FAULT):
        raise Problems.one(
            str(file), f"cannot be opened: {error}", "mend [store] in the configuration"
        ) from error


def _set_aside(file: Path, error: duckdb.Error) -> str:
    stamp = time.strftime("%Y%m%dT%H%M%S")
    logs = [file.with_name(file.name + end) for end in (".wal", ".wal.checkpoint", ".wal.recovery")]
    logs = [log for log in logs if log.exists()]
    for bad in logs or [file]:
        bad.rename(_free(bad, stamp))
    if not logs:
        suspect(file).unlink(missing_ok=True)
    part = "its write-ahead log" if logs else "the file"
    mend = f"{part} was set aside as .bad-{stamp}, and the journal refills what is missing"
    return str(Problem(str(file), f"is damaged ({str(error).splitlines()[0]})", mend))


def free_name(file: Path) -> Path:
    """Where a file or folder is put aside now."""
    return _free(file, time.strftime("%Y%m%dT%H%M%S"))


def _free(file: Path, stamp: str) -> Path:
    aside = file.with_name(f"{file.name}.bad-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = file.with_name(f"{file.name}.bad-{stamp}-{number}")
    return aside
