"""The one door to state.db: what alarming decided, what the world is told, who may ask, who did what."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from collector.alarms.model import Alert, Transition
from collector.state import alerts, audit, deliveries, outbox, regions, users
from collector.state.alerts import AlertRow, Shown, TrailRow
from collector.state.audit import AuditRow
from collector.state.db import Database
from collector.state.deliveries import Delivery
from collector.state.outbox import Consumer, OutboxRow
from collector.state.users import Principal, Role, Token

Summarise = Callable[[Alert], Mapping[str, str]]
_WEEK = 7 * 86400 * 10**9


class State:
    """state.db. Any thread may call anything; a second process may open it meanwhile. Times are epoch ns.

    Opening raises Problems; a disk that fails, later on, sqlite3.Error.
    """

    def __init__(self, file: Path) -> None:
        self._db = Database(file)

    def close(self) -> None:
        """Release the file. Nothing committed is lost by not calling it."""
        self._db.close()

    def cursor(self) -> int:
        """The journal offset up to which alarming's decisions are committed; 0 at first."""
        cursor: int = self._db.read().execute("select cursor from position").fetchone()["cursor"]
        return cursor

    def commit(self, cursor: int, transitions: Sequence[Transition], summarise: Summarise) -> list[OutboxRow]:
        """Take in the decisions on the journal up to `cursor`, in one transaction: alerts, trail, outbox.

        What lies before the cursor committed last is passed over, so that a replay doubles nothing. Gives the
        rows that went into the outbox. Raises ValueError for a transition at or after `cursor`.
        """
        if any(t.offset >= cursor for t in transitions):
            raise ValueError(f"a transition lies at or after the cursor {cursor} that would cover it")
        told = []
        with self._db.write() as con:
            reached = con.execute("select cursor from position").fetchone()["cursor"]
            if cursor <= reached:
                return []
            for transition in transitions:
                if transition.offset >= reached:
                    told += _take_in(con, transition, summarise)
            con.execute("update position set cursor = ?", [cursor])
        return told

    def alerts(
        self,
        state: Shown = "active",
        site: str | None = None,
        severity: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[AlertRow]:
        """Alerts, newest first; `after` is the last one's `key` (ValueError if it is none).

        active: those whose condition is active; open: also those cleared but not acknowledged; all: pending
        and past ones too.
        """
        return alerts.page(self._db.read(), state, site, severity, limit, after)

    def alert(self, alert: str) -> AlertRow | None:
        """The alert of that id."""
        return alerts.one(self._db.read(), alert)

    def trail(self, alert: str) -> list[TrailRow]:
        """What happened to the alert, oldest first."""
        return alerts.trail(self._db.read(), alert)

    def transitions(self, after: int = 0, limit: int = 1000) -> list[TrailRow]:
        """All transitions in the order of commitment, after a `seq`."""
        return alerts.every_transition(self._db.read(), after, limit)

    def of_action(self, action: str) -> TrailRow | None:
        """What an operator's action led to (perhaps `refused`), once alarming has come to it."""
        return alerts.of_action(self._db.read(), action)

    def outbox(self, after: int, limit: int = 1000) -> list[OutboxRow]:
        """What the world is told, after a `seq`, oldest first."""
        return outbox.after(self._db.read(), after, limit)

    def outbox_bounds(self) -> tuple[int, int]:
        """(first, last) `seq`: the oldest still there, the newest ever; first = last + 1 if there is none."""
        return outbox.bounds(self._db.read())

    def prune_outbox(self, now: int, keep: int = 100_000, age: int = _WEEK, cap: int = 1_000_000) -> int:
        """Delete rows beyond the newest `keep` or older than `age` (ns) that all consumers have read.

        Unread rows stay, but never more than `cap` rows in all. The number deleted.
        """
        with self._db.write() as con:
            return outbox.prune(con, now - age, keep, cap)

    def consumer(self, name: str, start: int | None = None) -> Consumer:
        """Where the consumer stands. A new one begins after `start`; None: with what comes from now on."""
        found = outbox.consumer(self._db.read(), name)
        if found is not None:
            return found
        with self._db.write() as con:
            return outbox.register(con, name, outbox.bounds(con)[1] if start is None else start)

    def consumed(self, name: str, seq: int) -> None:
        """The consumer is done with everything up to `seq`."""
        with self._db.write() as con:
            outbox.consumed(con, name, seq)

    def keep_consumers(self, names: Collection[str]) -> None:
        """These are the consumers there are: the outbox keeps nothing for any other."""
        with self._db.write() as con:
            outbox.keep_only(con, names)
            deliveries.keep_only(con, names)

    def owed(self, channel: str) -> list[Delivery]:
        """What the channel could not deliver yet, oldest first."""
        return deliveries.owed(self._db.read(), channel)

    def owe(self, channel: str, seq: int, tries: int, why: str) -> None:
        """The channel failed so often to deliver that outbox row; with all before it, it is consumed."""
        with self._db.write() as con:
            deliveries.put(con, channel, seq, tries, why)
            outbox.consumed(con, channel, seq)

    def settle(self, channel: str, seq: int) -> None:
        """The channel delivered what it owed, or gave it up."""
        with self._db.write() as con:
            deliveries.settle(con, channel, seq)

    def create_token(self, role: Role, name: str, now: int, expires: int | None = None) -> str:
        """A new token in plain, the only time it is seen. Raises ValueError for a bad role or name."""
        with self._db.write() as con:
            return users.create_token(con, role, name, now, expires)

    def principal(self, token: str, now: int) -> Principal | None:
        """Whose token it is; None if it is unknown, revoked or expired."""
        return users.principal(self._db.read(), token, now)

    def revoke(self, token_id: int, now: int) -> bool:
        """End a token and its sessions; whether there was a live one."""
        with self._db.write() as con:
            return users.revoke(con, token_id, now)

    def list_tokens(self) -> list[Token]:
        """All tokens, never in plain."""
        return users.tokens(self._db.read())

    def create_session(self, who: Principal, now: int) -> str:
        """A secret for the cookie, good for 12 hours."""
        with self._db.write() as con:
            return users.create_session(con, who, now)

    def session(self, secret: str, now: int) -> Principal | None:
        """Whose session it is; None if it, or its token, has ended."""
        return users.session(self._db.read(), secret, now)

    def end_session(self, secret: str) -> None:
        """Log out."""
        with self._db.write() as con:
            users.end_session(con, secret)

    def audit(self, at: int, who: str, what: str, detail: Mapping[str, Any] | None = None) -> int:
        """Write down who did what; the row's number."""
        with self._db.write() as con:
            return audit.append(con, at, who, what, detail or {})

    def audit_rows(self, limit: int = 100, before: int | None = None) -> list[AuditRow]:
        """The newest first; `before` is the number of the last one seen."""
        return audit.page(self._db.read(), limit, before)

    def audited(self, what: str, limit: int) -> list[AuditRow]:
        """The rows of the audit that say `what`, the newest first."""
        return audit.of(self._db.read(), what, limit)

    def verify_audit(self) -> int | None:
        """None if nobody touched the audit; else the number of the first row that is wrong or gone."""
        return audit.verify(self._db.read())

    def put_region(self, region: str, files: Mapping[str, bytes]) -> None:
        """Keep a version of the region folder under its hash."""
        with self._db.write() as con:
            regions.put(con, region, files)

    def region(self, region: str) -> dict[str, bytes]:
        """The files of a version. Raises KeyError if it was never put."""
        return regions.get(self._db.read(), region)


def _take_in(con: Any, transition: Transition, summarise: Summarise) -> list[OutboxRow]:
    alerts.append(con, transition)
    alert = transition.alert
    if alert is None or transition.kind == "refused":
        return []
    if alerts.never_raised(transition):
        alerts.delete(con, alert.id)
        return []
    summary = summarise(alert)
    alerts.save(con, alert, summary)
    if transition.kind in outbox.QUIET:
        return []
    return [outbox.append(con, transition, alerts.body(alert, summary))]
