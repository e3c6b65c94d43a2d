"""The audit: who did what, each row sealed with a key and chained to the row before, so that changes show.

The key lies beside state.db (`audit.key`, for its owner alone, made at first use): who can write to state.db
but has not the key can neither alter nor add nor take away rows unseen. What it cannot show: that the whole
state.db is an earlier one.

What people do is always written. Of what outsiders can cause at will only so many rows a day are
(`A_DAY`), and a row has a largest size, so the audit cannot be made to fill the disk, nor ever loses a row.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import secrets
import sqlite3
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collector.state.errors import StateError
from collector.state.snapshots import sync_folder

log = logging.getLogger(__name__)
A_DAY: Mapping[str, int] = {"denied": 200, "login": 500, "logout": 500}
"""Rows of these kinds on one day (UTC); what is beyond is counted, and told in one row after the day."""
LEFT_OUT = "audit.left_out"
MOST_TEXT = 1000
"""Characters of one text in a detail."""
MOST_DETAIL = 16_000
"""Characters of a row's whole detail, as JSON."""
_MOST_NAME = 200
_KEY_BYTES = 32
_DAY = 86400 * 10**9


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One thing somebody did, or was denied. `at` in epoch ns."""

    seq: int
    at: int
    who: str
    what: str
    detail: dict[str, Any]


class Quota:
    """Counts the rows of a day, by kind. Any thread may ask."""

    def __init__(self) -> None:
        self._day = 0
        self.last = 0  # when a row was asked for last, epoch ns
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    def takes(self, what: str) -> bool:
        """Whether one more row of that kind may be written on this day."""
        if what not in A_DAY:
            return True
        with self._lock:
            self._taken[what] += 1
            if self._taken[what] == A_DAY[what] + 1:
                log.warning("audit: %d rows %r on one day: more are counted, not written", A_DAY[what], what)
            return self._taken[what] <= A_DAY[what]

    def over(self, at: int) -> dict[str, int]:
        """What was left out, by kind, of the day that is over by then; told once."""
        with self._lock:
            self.last = max(self.last, at)
            if at // _DAY <= self._day:
                return {}
            self._day = at // _DAY
            return self._left()

    def end(self) -> dict[str, int]:
        """What was left out so far."""
        with self._lock:
            return self._left()

    def _left(self) -> dict[str, int]:
        left = {what: n - A_DAY[what] for what, n in self._taken.items() if n > A_DAY[what]}
        self._taken.clear()
        return left


class Seal:
    """The key that the rows are sealed with. Raises StateError where its file cannot be read or made."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._key = b""

    def there(self) -> bool:
        """Whether there is a key already."""
        return bool(self._key) or self._file.exists()

    def of(self, *parts: object) -> bytes:
        """HMAC-SHA256 over them, in a form that no other parts have."""
        text = json.dumps([part.hex() if isinstance(part, bytes) else part for part in parts])
        return hmac.digest(self._key or self._read(), text.encode(), "sha256")

    def _read(self) -> bytes:
        try:
            if not self._file.exists():
                self._make()
            key = self._file.read_bytes()
        except OSError as error:
            raise StateError(f"{self._file}: the audit's key cannot be had ({error.strerror})") from error
        if len(key) != _KEY_BYTES:
            raise StateError(f"{self._file}: this is no key of the audit; put it back from a backup")
        self._key = key
        return key

    def _make(self) -> None:
        """Whole or not at all; another process may be making it at this moment."""
        part = self._file.with_name(f".{self._file.name}-{secrets.token_hex(8)}")
        fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.write(fd, secrets.token_bytes(_KEY_BYTES))
            os.fsync(fd)
            os.link(part, self._file)
        except FileExistsError:
            return
        finally:
            os.close(fd)
            part.unlink()
        sync_folder(self._file.parent)


def append(
    con: sqlite3.Connection, seal: Seal, at: int, who: str, what: str, detail: Mapping[str, Any]
) -> int:
    """Add a row to the chain; its number. Texts that are too long are cut."""
    last: int = con.execute("select seq from audit_head").fetchone()["seq"]
    if last and not seal.there():
        log.critical(
            "audit: its key is gone; a new one is made, and the %d rows of before prove nothing", last
        )
    row = con.execute("select hash from audit where seq = ?", [last]).fetchone()
    seq, text, who, what = last + 1, _text(detail), _short(who), _short(what)
    sealed = seal.of(row["hash"] if row else b"", seq, at, who, what, text)
    con.execute("insert into audit values (?, ?, ?, ?, ?, ?)", [seq, at, who, what, text, sealed])
    con.execute("update audit_head set seq = ?, hash = ?", [seq, seal.of("head", seq, sealed)])
    return seq


def verify(con: sqlite3.Connection, seal: Seal) -> int | None:
    """None if the chain is whole; else the number of the first row that was altered or is gone."""
    con.execute("begin")  # rows and head of one moment
    try:
        before, expected = b"", 1
        head = con.execute("select seq, hash from audit_head").fetchone()
        if not seal.there():  # there was never a row, or all is lost that could prove one
            return None if head and head["seq"] == 0 else 1
        for seq, at, who, what, text, sealed in con.execute("select * from audit order by seq"):
            if seq != expected or sealed != seal.of(before, seq, at, who, what, text):
                return expected
            before, expected = sealed, seq + 1
        whole = head and head["seq"] == expected - 1 and head["hash"] == seal.of("head", expected - 1, before)
        return None if whole else expected
    finally:
        con.execute("rollback")


def page(con: sqlite3.Connection, limit: int, before: int | None) -> list[AuditRow]:
    """The newest rows first; `before` is the number of the last one seen."""
    rows = con.execute(
        "select seq, at, who, what, detail from audit where seq < ? order by seq desc limit ?",
        [2**63 - 1 if before is None else before, limit],
    )
    return [AuditRow(**dict(row) | {"detail": json.loads(row["detail"])}) for row in rows]


def of(con: sqlite3.Connection, what: str, limit: int) -> list[AuditRow]:
    """The newest rows of that kind first."""
    rows = con.execute(
        "select seq, at, who, what, detail from audit where what = ? order by seq desc limit ?", [what, limit]
    )
    return [AuditRow(**dict(row) | {"detail": json.loads(row["detail"])}) for row in rows]


def _short(text: str, most: int = _MOST_NAME) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


def _text(detail: Mapping[str, Any]) -> str:
    text = json.dumps(_cut(detail), sort_keys=True, ensure_ascii=True)
    if len(text) > MOST_DETAIL:
        text = json.dumps({"cut": _short(text, MOST_TEXT)})
    return text


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return _short(value, MOST_TEXT)
    if isinstance(value, Mapping):
        return {_short(str(key)): _cut(each) for key, each in value.items()}
    return [_cut(each) for each in value] if isinstance(value, list | tuple) else value
