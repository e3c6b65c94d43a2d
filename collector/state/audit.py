"""The audit: who did what, each row chained to the one before it, so that a change in the past shows."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One thing somebody did, or was denied. `at` in epoch ns."""

    seq: int
    at: int
    who: str
    what: str
    detail: dict[str, Any]


def append(con: sqlite3.Connection, at: int, who: str, what: str, detail: Mapping[str, Any]) -> int:
    """Add a row to the chain; its number."""
    head = con.execute("select seq, hash from audit_head").fetchone()
    seq, text = int(head["seq"]) + 1, json.dumps(detail, sort_keys=True, ensure_ascii=True)
    hashed = _hash(head["hash"], seq, at, who, what, text)
    con.execute("insert into audit values (?, ?, ?, ?, ?, ?)", [seq, at, who, what, text, hashed])
    con.execute("update audit_head set seq = ?, hash = ?", [seq, hashed])
    return seq


def verify(con: sqlite3.Connection) -> int | None:
    """None if the chain is whole; else the number of the first row that was altered or is gone."""
    con.execute("begin")  # rows and head of one moment
    try:
        before, expected = b"", 1
        for seq, at, who, what, text, hashed in con.execute("select * from audit order by seq"):
            if seq != expected or hashed != _hash(before, seq, at, who, what, text):
                return expected
            before, expected = hashed, seq + 1
        head = con.execute("select seq, hash from audit_head").fetchone()
        return None if head and (head["seq"], head["hash"]) == (expected - 1, before) else expected
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


def _hash(before: bytes, seq: int, at: int, who: str, what: str, detail: str) -> bytes:
    row = json.dumps([seq, at, who, what, detail], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(before + row.encode()).digest()
