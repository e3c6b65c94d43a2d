"""Decisions in state.db: one row each, of whatever kind, in the order in which they were committed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from collector.alarms.model import Alert, Transition
from collector.core.decision import CommandAnswer, Decision, DeviceEvent, Gap, PresenceChange

_KINDS: Mapping[str, type[Decision]] = {
    kind.kind: kind for kind in (Transition, PresenceChange, Gap, DeviceEvent, CommandAnswer)
}
_COMMON = frozenset(field.name for field in fields(Decision))
_OWN = {
    kind: tuple(field.name for field in fields(of) if field.name not in _COMMON)
    for kind, of in _KINDS.items()
}
_ALERT = tuple(field.name for field in fields(Alert))
_ROW = 'kind, change, at, "offset", subject, after, reason, evidence, by, comment, action'
_APPEND = f"insert into decisions ({_ROW}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """A decision as it was committed; `seq` rises in the order of commitment."""

    seq: int
    decision: Decision

    def body(self) -> dict[str, Any]:
        """A transition as the API gives it in an alert's trail: epoch ms, and what the alert then was."""
        d = self.decision
        alert = d.alert if isinstance(d, Transition) else None
        shown = ("condition", "acked", "holds", "severity", "value")
        return {
            "seq": self.seq,
            "kind": d.change,
            "at": d.at // 10**6,
            "by": d.by,
            "comment": d.comment,
            "reason": d.reason,
            "evidence": dict(d.evidence),
            "alert": alert and {name: getattr(alert, name) for name in shown},
        }


def plain(alert: Alert) -> dict[str, Any]:
    """An alert's fields; what they hold is plain already, so nothing need be copied in depth."""
    return {name: getattr(alert, name) for name in _ALERT}


def alert_of(row: Mapping[str, Any]) -> Alert:
    """The alert whose fields these are."""
    found = {name: row[name] for name in _ALERT}
    return Alert(**found | {"holds": tuple(row["holds"]), "acked": bool(row["acked"])})


Encoded = tuple[str | int | None, ...]
"""A decision as its row: kind, change, at, offset, subject, after, reason, evidence, by, comment, action."""


def append(con: sqlite3.Connection, decision: Decision) -> None:
    """Add the decision at the end."""
    con.execute(_APPEND, encoded(decision))


def encoded(d: Decision) -> Encoded:
    """The decision as its row; the same decision gives the same."""
    evidence = _text(dict(d.evidence)) if d.evidence else "{}"
    thing = d.kind, d.change, d.at, d.offset, d.subject, _after(d)
    return (*thing, d.reason, evidence, d.by, d.comment, d.action)


def stretch(con: sqlite3.Connection, first: int, stop: int) -> Iterator[Encoded]:
    """The rows that records from offset `first` to before `stop` caused, in the order of commitment."""
    query = f'select {_ROW} from decisions where "offset" >= ? and "offset" < ? order by seq'  # noqa: S608
    return map(tuple, con.execute(query, [first, stop]))


def of_subject(
    con: sqlite3.Connection, kind: str, subject: str, after: int = 0, limit: int = -1
) -> list[DecisionRow]:
    """The decisions on one thing after a `seq`, oldest first."""
    query = "select * from decisions where kind = ? and subject = ? and seq > ? order by seq limit ?"
    return [_row(row) for row in con.execute(query, [kind, subject, after, limit])]


def of_action(con: sqlite3.Connection, action: str) -> DecisionRow | None:
    """What the action led to, once it was come to."""
    row = con.execute("select * from decisions where action = ? and action <> ''", [action]).fetchone()
    return _row(row) if row else None


def page(con: sqlite3.Connection, after: int, limit: int) -> list[DecisionRow]:
    """The decisions after a `seq`, in the order of commitment."""
    rows = con.execute("select * from decisions where seq > ? order by seq limit ?", [after, limit])
    return [_row(row) for row in rows]


def prune(con: sqlite3.Connection, before: int) -> int:
    """Delete what is no alert's trail and older than `before` (epoch ns); how many there were."""
    return con.execute("delete from decisions where kind <> 'alert' and at < ?", [before]).rowcount


def _after(decision: Decision) -> str | None:
    if isinstance(decision, Transition):
        return None if decision.alert is None else _text(plain(decision.alert))
    return _text({name: getattr(decision, name) for name in _OWN[decision.kind]})


def _text(tree: Mapping[str, Any]) -> str:
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), default=dict)


def _row(row: sqlite3.Row) -> DecisionRow:
    tree = None if row["after"] is None else json.loads(row["after"])
    kind = row["kind"]
    own: Any = {"alert": tree and alert_of(tree)} if kind == Transition.kind else tree
    said = {name: row[name] for name in ("reason", "by", "comment", "action")}
    evidence = json.loads(row["evidence"])
    decision = _KINDS[kind](row["change"], row["at"], row["offset"], **own, **said, evidence=evidence)
    return DecisionRow(row["seq"], decision)
