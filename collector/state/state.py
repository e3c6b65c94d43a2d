"""The one door to state.db: what alarming decided, what the world is told, who may ask, who did what."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from collector.alarms.model import Alert, Transition
from collector.core.decision import Decision
from collector.state import alerts, audit, decisions, deliveries, outbox, regions, users
from collector.state.alerts import AlertRow, Shown
from collector.state.audit import AuditRow
from collector.state.db import StateFile
from collector.state.decisions import DecisionRow, Encoded
from collector.state.deliveries import Delivery
from collector.state.errors import StateError, without_sqlite
from collector.state.outbox import Consumer, OutboxRow
from collector.state.users import Principal, Role, Token

log = logging.getLogger(__name__)
Summarise = Callable[[Alert], Mapping[str, str]]
_WEEK = 7 * 86400 * 10**9
_LONG = 400 * 86400 * 10**9


@without_sqlite(lambda state, error: state._db.told(error))
class State:
    """state.db. Any thread may call anything; a second process may open it meanwhile. Times are epoch ns.

    Opening raises Problems; a disk that fails, later on, StateError.
    """

    def __init__(self, file: Path) -> None:
        self._db = StateFile(file)
        self._seal = audit.Seal(file.with_name("audit.key"))
        self._quota = audit.Quota()

    @property
    def damage(self) -> str:
        """What was found wrong with the file, in a sentence; empty if nothing was."""
        return self._db.damage

    def check(self) -> str:
        """Look through the whole file, however long it takes; gives, and logs once, what is wrong."""
        return self._db.check()

    def notice_loss(self, reached: int, *, journaled: bool, now: int) -> bool:
        """Say it, in the log and the audit, if this is not the file that alarming committed to before.

        `reached`: an offset up to which it certainly did; `journaled`: the journal holds something from an
        earlier run. What is read from there again makes alerts anew; tokens, comments and audit are lost.
        """
        cursor = self.cursor()
        lost = cursor < reached or (self._db.fresh and journaled)
        if lost:
            log.critical(
                "%s is empty, or older than what was committed before: tokens, comments and audit are lost; "
                "put it back from a backup, or go on: alerts are made again from the journal",
                self._db.file,
            )
            self.audit(now, "collector", "state.lost", {"cursor": cursor, "reached": reached})
        return lost

    def close(self) -> None:
        """Release the file. Nothing committed is lost by not calling it."""
        with contextlib.suppress(StateError):
            self._tell_left_out(self._quota.end(), self._quota.last)
        self._db.close()

    def cursor(self) -> int:
        """The journal offset up to which alarming's decisions are committed; 0 at first."""
        cursor: int = self._db.read().execute("select cursor from position").fetchone()["cursor"]
        return cursor

    def commit(self, cursor: int, decided: Sequence[Decision], summarise: Summarise) -> list[OutboxRow]:
        """Take in the decisions on the journal up to `cursor`, in one transaction: things, trail, outbox.

        What lies before the cursor committed last is passed over, so that a replay doubles nothing. Gives the
        rows that went into the outbox. Raises ValueError for a decision at or after `cursor`.
        """
        if any(decision.offset >= cursor for decision in decided):
            raise ValueError(f"a decision lies at or after the cursor {cursor} that would cover it")
        told = []
        with self._db.write() as con:
            reached = con.execute("select cursor from position").fetchone()["cursor"]
            if cursor <= reached:
                return []
            for decision in decided:
                if decision.offset >= reached:
                    decisions.append(con, decision)
                    keep = _KEEP.get(decision.kind)
                    told += keep(con, decision, summarise) if keep else []
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

        active: those whose condition is active; open: also those raised before and not acknowledged yet,
        whether cleared or pending again; all: pending and past ones too.
        """
        return alerts.page(self._db.read(), state, site, severity, limit, after)

    def alert(self, alert: str) -> AlertRow | None:
        """The alert of that id."""
        return alerts.one(self._db.read(), alert)

    def trail(self, alert: str, after: int = 0, limit: int = -1) -> list[DecisionRow]:
        """What happened to the alert after a `seq`, oldest first."""
        return decisions.of_subject(self._db.read(), Transition.kind, alert, after, limit)

    def decisions(self, after: int = 0, limit: int = 1000) -> list[DecisionRow]:
        """All decisions in the order of commitment, after a `seq`."""
        return decisions.page(self._db.read(), after, limit)

    def encoded_decisions(self, first: int, stop: int) -> Iterator[Encoded]:
        """The decisions that records from offset `first` to before `stop` caused, as rows."""
        return decisions.stretch(self._db.read(), first, stop)

    def of_action(self, action: str) -> DecisionRow | None:
        """What an operator's action led to (perhaps `refused`), once alarming has come to it."""
        return decisions.of_action(self._db.read(), action)

    def outbox(self, after: int, limit: int = 1000) -> list[OutboxRow]:
        """What the world is told, after a `seq`, oldest first."""
        return outbox.after(self._db.read(), after, limit)

    def outbox_bounds(self) -> tuple[int, int]:
        """(first, last) `seq`: the oldest still there, the newest ever; first = last + 1 if there is none."""
        return outbox.bounds(self._db.read())

    def prune_outbox(self, now: int, keep: int = 100_000, age: int = _WEEK, cap: int = 1_000_000) -> int:
        """Delete rows beyond the newest `keep` or older than `age` (ns) that all consumers have read.

        Unread rows stay, but never more than `cap` rows in all. The number deleted. Decisions that are no
        alert's go after 400 days.
        """
        with self._db.write() as con:
            decisions.prune(con, now - _LONG)
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

    def audit(self, at: int, who: str, what: str, detail: Mapping[str, Any] | None = None) -> int | None:
        """Write down who did what; the row's number; None where the day has enough of its kind."""
        self._tell_left_out(self._quota.over(at), at)
        if not self._quota.takes(what):
            return None
        with self._db.write() as con:
            return audit.append(con, self._seal, at, who, what, detail or {})

    def _tell_left_out(self, left: dict[str, int], at: int) -> None:
        if left:
            with self._db.write() as con:
                audit.append(con, self._seal, at, "collector", audit.LEFT_OUT, left)

    def audit_rows(self, limit: int = 100, before: int | None = None) -> list[AuditRow]:
        """The newest first; `before` is the number of the last one seen."""
        return audit.page(self._db.read(), limit, before)

    def audited(self, what: str, limit: int) -> list[AuditRow]:
        """The rows of the audit that say `what`, the newest first."""
        return audit.of(self._db.read(), what, limit)

    def verify_audit(self) -> int | None:
        """None if nobody touched the audit; else the number of the first row that is wrong or gone."""
        return audit.verify(self._db.read(), self._seal)

    def put_region(self, region: str, files: Mapping[str, bytes]) -> None:
        """Keep a version of the region folder under its hash."""
        with self._db.write() as con:
            regions.put(con, region, files)

    def region(self, region: str) -> dict[str, bytes]:
        """The files of a version. Raises KeyError if it was never put."""
        return regions.get(self._db.read(), region)


def _keep_alert(con: Any, decision: Decision, summarise: Summarise) -> list[OutboxRow]:
    assert isinstance(decision, Transition)
    alert = decision.alert
    if alert is None or decision.change == "refused":
        return []
    if alerts.never_raised(decision):
        alerts.delete(con, alert.id)
        return []
    summary = summarise(alert)
    alerts.save(con, alert, summary)
    if decision.change in alerts.QUIET:
        return []
    return [outbox.append(con, decision, alerts.body(alert, summary))]


_KEEP: Mapping[str, Callable[[Any, Decision, Summarise], list[OutboxRow]]] = {Transition.kind: _keep_alert}
"""What is kept of a kind of decision beside its row, and told to the world. Without an entry: nothing."""
