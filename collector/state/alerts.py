"""Alerts and their transitions in state.db, and the alert as the API shows it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from collector.alarms.model import Alert, Transition

Shown = Literal["active", "open", "all"]
OPEN = "(condition = 'active' or (condition = 'cleared' and acked = 0))"
"""As in the index alerts_open, to the letter: so that SQLite uses it."""
_FIELDS = tuple(field.name for field in fields(Alert))
_PLACES = ", ".join("?" * (len(_FIELDS) + 1))
_UPSERT = f"insert or replace into alerts ({', '.join(_FIELDS)}, summary) values ({_PLACES})"  # noqa: S608
_APPEND = """
insert into transitions (kind, at, "offset", alert, after, by, comment, action)
values (?, ?, ?, ?, ?, ?, ?, ?)
"""


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


@dataclass(frozen=True, slots=True)
class TrailRow:
    """A transition as it was committed; `seq` rises in the order of commitment. Times in epoch ns."""

    seq: int
    transition: Transition

    def body(self) -> dict[str, Any]:
        """The transition as the API gives it: epoch ms, and what the alert then was."""
        t = self.transition
        shown = ("condition", "acked", "holds", "severity", "value")
        then = t.alert and {name: getattr(t.alert, name) for name in shown}
        return {
            "seq": self.seq,
            "kind": t.kind,
            "at": _ms(t.at),
            "by": t.by,
            "comment": t.comment,
            "alert": then,
        }


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
    return alert is not None and alert.count == 0 and transition.kind in {"withdrawn", "retired"}


def save(con: sqlite3.Connection, alert: Alert, summary: Mapping[str, str]) -> None:
    """Insert the alert, or bring it up to date."""
    row = _plain(alert) | {"acked": int(alert.acked), "holds": json.dumps(alert.holds)}
    con.execute(_UPSERT, [*(row[name] for name in _FIELDS), json.dumps(summary, ensure_ascii=False)])


def delete(con: sqlite3.Connection, alert: str) -> None:
    """Forget the alert; its transitions stay."""
    con.execute("delete from alerts where id = ?", [alert])


def append(con: sqlite3.Connection, transition: Transition) -> None:
    """Add the transition to the trail."""
    t, alert = transition, transition.alert
    after = None if alert is None else json.dumps(_plain(alert), sort_keys=True, separators=(",", ":"))
    con.execute(
        _APPEND, [t.kind, t.at, t.offset, alert.id if alert else "", after, t.by, t.comment, t.action]
    )


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


def trail(con: sqlite3.Connection, alert: str, after: int, limit: int) -> list[TrailRow]:
    """Transitions of the alert after a `seq`, oldest first."""
    query = "select * from transitions where alert = ? and seq > ? order by seq limit ?"
    return [_trail_row(row) for row in con.execute(query, [alert, after, limit])]


def of_action(con: sqlite3.Connection, action: str) -> TrailRow | None:
    """The transition that the action led to, once alarming has come to it."""
    row = con.execute("select * from transitions where action = ? and action <> ''", [action]).fetchone()
    return _trail_row(row) if row else None


def every_transition(con: sqlite3.Connection, after: int, limit: int) -> list[TrailRow]:
    """The transitions after a `seq`, in the order of commitment."""
    rows = con.execute("select * from transitions where seq > ? order by seq limit ?", [after, limit])
    return [_trail_row(row) for row in rows]


def _plain(alert: Alert) -> dict[str, Any]:
    """Its fields; what they hold is plain already, so nothing need be copied in depth."""
    return {name: getattr(alert, name) for name in _FIELDS}


def _alert(row: Mapping[str, Any]) -> Alert:
    return Alert(
        **{name: row[name] for name in _FIELDS} | {"holds": tuple(row["holds"]), "acked": bool(row["acked"])}
    )


def _alert_row(row: sqlite3.Row) -> AlertRow:
    plain = {name: row[name] for name in _FIELDS} | {"holds": json.loads(row["holds"])}
    return AlertRow(_alert(plain), json.loads(row["summary"]))


def _trail_row(row: sqlite3.Row) -> TrailRow:
    alert = None if row["after"] is None else _alert(json.loads(row["after"]))
    transition = Transition(
        row["kind"], row["at"], row["offset"], alert, row["by"], row["comment"], row["action"]
    )
    return TrailRow(row["seq"], transition)


def _ms(ns: int | None) -> int | None:
    return None if ns is None else ns // 10**6
