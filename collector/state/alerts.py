"""Alerts in state.db as they are now, and as the API shows them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from collector.alarms.model import Alert, Transition
from collector.state.decisions import alert_of, plain

Shown = Literal["active", "open", "all"]
OPEN = "(condition = 'active' or (acked = 0 and count > 0))"
"""As in the index alerts_open, to the letter: so that SQLite uses it."""
QUIET = frozenset({"pending", "withdrawn", "refused"})
"""Changes that nobody is told of: nothing was raised, or nothing came of them."""
_FIELDS = tuple(field.name for field in fields(Alert))
_PLACES = ", ".join("?" * (len(_FIELDS) + 1))
_UPSERT = f"insert or replace into alerts ({', '.join(_FIELDS)}, summary) values ({_PLACES})"  # noqa: S608


@dataclass(frozen=True, slots=True)
class AlertRow:
    """An alert with its sentence in each language. `key` is its place in the list, for paging."""

    alert: Alert
    summary: Mapping[str, str]

    @property
    def key(self) -> str:
        """Give it as `after` to get the alerts that follow this one in the list."""
        return f"{self.alert.at}:{self.alert.id}"

    def body(self) -> dict[str, Any]:
        """The alert as the API gives it."""
        return body(self.alert, self.summary)


def body(alert: Alert, summary: Mapping[str, str]) -> dict[str, Any]:
    """The alert as the API and the stream give it: times in epoch ms, the state in the words of ISA-18.2."""
    return {
        "id": alert.id,
        "rule": alert.rule,
        "rule_version": alert.rule_version,
        "site": alert.site,
        "device": alert.device,
        "metric": alert.metric,
        "severity": alert.severity,
        "condition": alert.condition,
        "acked": alert.acked,
        "holds": list(alert.holds),
        "state": alert.state,
        "at": _ms(alert.at),
        "raised_at": _ms(alert.raised_at),
        "cleared_at": _ms(alert.cleared_at),
        "shelved_until": _ms(alert.shelved_until),
        "assignee": alert.assignee,
        "value": alert.value,
        "count": alert.count,
        "summary": dict(summary),
        "incident": None,
    }


def never_raised(transition: Transition) -> bool:
    """Whether the transition ends an alert that nobody was ever told of: it leaves only its trail."""
    alert = transition.alert
    return alert is not None and alert.count == 0 and transition.change in {"withdrawn", "retired"}


def save(con: sqlite3.Connection, alert: Alert, summary: Mapping[str, str]) -> None:
    """Insert the alert, or bring it up to date."""
    row = plain(alert) | {"acked": int(alert.acked), "holds": json.dumps(alert.holds)}
    con.execute(_UPSERT, [*(row[name] for name in _FIELDS), json.dumps(summary, ensure_ascii=False)])


def delete(con: sqlite3.Connection, alert: str) -> None:
    """Forget the alert; its transitions stay."""
    con.execute("delete from alerts where id = ?", [alert])


def one(con: sqlite3.Connection, alert: str) -> AlertRow | None:
    """The alert of that id."""
    row = con.execute("select * from alerts where id = ?", [alert]).fetchone()
    return _alert_row(row) if row else None


def page(
    con: sqlite3.Connection,
    state: Shown,
    site: str | None,
    severity: str | None,
    limit: int,
    after: str | None,
) -> list[AlertRow]:
    """The newest first. `after` is a row's `key`; raises ValueError if it is none."""
    where, asked = ["1"], list[object]()
    if state == "active":
        where.append("condition = 'active'")
    elif state == "open":
        where.append(OPEN)
    for column, wanted in (("site", site), ("severity", severity)):
        if wanted is not None:
            where.append(f"{column} = ?")
            asked.append(wanted)
    if after is not None:
        at, _, alert = after.partition(":")
        where.append("(at, id) < (?, ?)")
        asked += [int(at), alert]
    query = f"select * from alerts where {' and '.join(where)} order by at desc, id desc limit ?"  # noqa: S608
    return [_alert_row(row) for row in con.execute(query, [*asked, limit])]


def _alert_row(row: sqlite3.Row) -> AlertRow:
    found = {name: row[name] for name in _FIELDS} | {"holds": json.loads(row["holds"])}
    return AlertRow(alert_of(found), json.loads(row["summary"]))


def _ms(ns: int | None) -> int | None:
    return None if ns is None else ns // 10**6
