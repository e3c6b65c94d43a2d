"""The outbox: what the world is told, written with what caused it, read by consumers at their own pace."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any

from collector.core.decision import Decision


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One thing to tell. `seq` is its idempotency key and the stream's event id; `at` in epoch ns.

    `kind` and `change` are the decision's (alert: raised, acked …); `body` is the thing as the API gives it.
    """

    seq: int
    kind: str
    change: str
    at: int
    by: str
    comment: str
    body: dict[str, Any]


_COLUMNS = tuple(field.name for field in fields(OutboxRow) if field.name != "body")


@dataclass(frozen=True, slots=True)
class Consumer:
    """How far a consumer is."""

    name: str
    seq: int


def append(con: sqlite3.Connection, decision: Decision, body: dict[str, Any]) -> OutboxRow:
    """Add what the decision means for the world."""
    d, text = decision, json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    row = con.execute(
        "insert into outbox (kind, change, at, by, comment, body) values (?, ?, ?, ?, ?, ?)",
        [d.kind, d.change, d.at, d.by, d.comment, text],
    )
    return OutboxRow(row.lastrowid or 0, d.kind, d.change, d.at, d.by, d.comment, body)


def after(con: sqlite3.Connection, seq: int, limit: int) -> list[OutboxRow]:
    """The rows after `seq`, oldest first."""
    rows = con.execute("select * from outbox where seq > ? order by seq limit ?", [seq, limit])
    return [row_of(row) for row in rows]


def row_of(row: sqlite3.Row) -> OutboxRow:
    """The outbox row in a query's answer, which may have further columns."""
    plain = {name: row[name] for name in _COLUMNS}
    return OutboxRow(**plain, body=json.loads(row["body"]))


def bounds(con: sqlite3.Connection) -> tuple[int, int]:
    """(first, last): the oldest row there and the newest ever written; first = last + 1 if none is there."""
    row = con.execute("select seq from sqlite_sequence where name = 'outbox'").fetchone()
    last = row["seq"] if row else 0
    first = con.execute("select min(seq) as seq from outbox").fetchone()["seq"]
    return (last + 1 if first is None else first), last


def prune(con: sqlite3.Connection, before: int, keep: int, cap: int) -> int:
    """Delete what every consumer has read and is older than `before` (ns) or not among the newest `keep`.

    What a consumer has not read, or a channel owes, stays, unless there are more than `cap` rows. The number
    deleted.
    """
    _, last = bounds(con)
    read = con.execute("select min(seq) as seq from consumers").fetchone()["seq"]
    read = last if read is None else read
    done = con.execute(
        "delete from outbox where seq <= ? or (seq <= ? and (seq <= ? or at < ?) "
        "and seq not in (select seq from deliveries))",
        [last - cap, read, last - keep, before],
    )
    return done.rowcount


def consumer(con: sqlite3.Connection, name: str) -> Consumer | None:
    """Where the consumer stands; None if it was never heard of."""
    row = con.execute("select * from consumers where name = ?", [name]).fetchone()
    return Consumer(**dict(row)) if row else None


def register(con: sqlite3.Connection, name: str, seq: int) -> Consumer:
    """Let a new consumer begin after `seq`; a known one stays where it is."""
    con.execute("insert or ignore into consumers (name, seq) values (?, ?)", [name, seq])
    return consumer(con, name) or Consumer(name, seq)


def consumed(con: sqlite3.Connection, name: str, seq: int) -> None:
    """The consumer is done with everything up to `seq`; it never goes back."""
    con.execute(
        "insert into consumers (name, seq) values (?, ?) on conflict (name) do update set "
        "seq = excluded.seq where excluded.seq > consumers.seq",
        [name, seq],
    )


def keep_only(con: sqlite3.Connection, names: Collection[str]) -> None:
    """Forget every consumer but these."""
    for row in con.execute("select name from consumers").fetchall():
        if row["name"] not in names:
            con.execute("delete from consumers where name = ?", [row["name"]])
