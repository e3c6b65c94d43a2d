"""Notes that a channel could not deliver yet: outbox rows set aside, to be tried again."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass

from collector.state.outbox import OutboxRow, row_of


@dataclass(frozen=True, slots=True)
class Delivery:
    """An outbox row that `channel` still owes: how often it was tried, and why that failed last."""

    channel: str
    row: OutboxRow
    tries: int
    why: str


def owed(con: sqlite3.Connection, channel: str) -> list[Delivery]:
    """All that the channel owes, oldest first."""
    rows = con.execute(
        "select d.tries, d.why, o.* from deliveries d join outbox o using (seq) "
        "where d.channel = ? order by seq",
        [channel],
    )
    return [Delivery(channel, row_of(row), row["tries"], row["why"]) for row in rows]


def put(con: sqlite3.Connection, channel: str, seq: int, tries: int, why: str) -> None:
    """The channel owes the outbox row `seq`, which was tried so often; one that is gone is not owed."""
    con.execute(
        "insert into deliveries (channel, seq, tries, why) select ?, seq, ?, ? from outbox where seq = ? "
        "on conflict (channel, seq) do update set tries = excluded.tries, why = excluded.why",
        [channel, tries, why, seq],
    )


def settle(con: sqlite3.Connection, channel: str, seq: int) -> None:
    """The channel no longer owes the row: it was delivered, or given up."""
    con.execute("delete from deliveries where channel = ? and seq = ?", [channel, seq])


def keep_only(con: sqlite3.Connection, channels: Collection[str]) -> None:
    """Forget what every other channel owes."""
    for row in con.execute("select distinct channel from deliveries").fetchall():
        if row["channel"] not in channels:
            con.execute("delete from deliveries where channel = ?", [row["channel"]])
