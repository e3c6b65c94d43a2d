"""One rule on one series: how a judgement or a deadline moves its alert. Knows nothing of other series."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from collector.alarms.kinds.kind import Judgement, Phase
from collector.alarms.model import Alert, TransitionKind
from collector.alarms.rules.ruleset import Rule
from collector.core.readings import SeriesKey


@dataclass(slots=True, eq=False)
class Target:
    """A rule on a series, with what is known of it. Times in epoch ns; 0 is never."""

    rule: Rule
    key: SeriesKey
    phase: Phase = Phase.NORMAL
    due: int = 0  # when `for` or `keep` is over
    alert: Alert | None = None
    shelved_until: int = 0  # outlives the alert: who shelves a flapping alarm means the alarm
    armed: bool = False  # absent: something has been heard, so that silence means something
    since: int = 0  # absent: the rule holds since then; silence before it does not count
    silent: int = 0  # absent: the deadline of its entry among the timers, 0 = it has none

    @property
    def open(self) -> bool:
        """Whether it is in any other phase than normal."""
        return self.phase is not Phase.NORMAL

    @property
    def busy(self) -> bool:
        """Whether it is in another state than a new one, but for what its device's first reading arms."""
        return bool(self.phase or self.alert or self.shelved_until)


Move = Callable[[Target, float | None, int, int], TransitionKind | None]


def feed(
    target: Target, judgement: Judgement, value: float | None, now: int, offset: int
) -> TransitionKind | None:
    """Move the target by a judgement at `now`; says what became of its alert, None if nothing did."""
    move = _MOVES.get((target.phase, judgement))
    return move(target, value, now, offset) if move else None


def expire(target: Target, value: float | None, now: int, offset: int) -> TransitionKind | None:
    """Move the target by its `for` or `keep` being over at `now`."""
    if target.phase is Phase.PENDING:
        return _raise(target, value, now, offset)
    if target.phase is Phase.CLEARING:
        return _clear(target, value, now, offset)
    return None


def interrupt(target: Target) -> None:
    """We could not listen: what was waiting for time to pass waits for the next reading first."""
    if target.phase is Phase.PENDING:
        target.phase, target.due = Phase.RESTART, 0
    elif target.phase is Phase.CLEARING:
        target.phase, target.due = Phase.ACTIVE, 0


def alert_id(rule: str, key: SeriesKey, offset: int) -> str:
    """The id of the alert that a record at `offset` opens: the same in every process."""
    text = "\0".join((rule, *key, str(offset)))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _open(target: Target, value: float | None, now: int, offset: int) -> TransitionKind | None:
    if not target.rule.delay:
        return _raise(target, value, now, offset)
    target.phase, target.due = Phase.PENDING, now + target.rule.delay
    target.alert = _met(target, value, now, offset)
    return "pending"


def _met(target: Target, value: float | None, now: int, offset: int) -> Alert:
    """The alert with its condition met at `now`: the one that is not gone yet, or a new one."""
    changes: dict[str, object] = {
        "rule_version": target.rule.version,
        "severity": target.rule.severity,
        "condition": "pending",
        "at": now,
        "value": value,
        "raised_at": None,
        "cleared_at": None,
    }
    return (target.alert or _new(target, now, offset)).but(**changes)


def _new(target: Target, now: int, offset: int) -> Alert:
    rule, key = target.rule, target.key
    shelved = target.shelved_until > now
    return Alert(
        id=alert_id(rule.name, key, offset),
        rule=rule.name,
        rule_version=rule.version,
        site=key.site,
        device=key.device,
        metric=key.metric,
        severity=rule.severity,
        condition="pending",
        at=now,
        value=None,
        holds=("shelved",) if shelved else (),
        shelved_until=target.shelved_until if shelved else None,
    )


def _raise(target: Target, value: float | None, now: int, offset: int) -> TransitionKind:
    alert = target.alert if target.phase is Phase.PENDING else None
    alert = alert or _met(target, value, now, offset)
    target.phase, target.due = Phase.ACTIVE, 0
    target.alert = alert.but(
        condition="active", value=value, raised_at=now, count=alert.count + 1, acked=False
    )
    return "raised"


def _withdraw(target: Target, value: float | None, now: int, offset: int) -> TransitionKind | None:
    target.phase, target.due = Phase.NORMAL, 0
    if target.alert is None:
        return None
    never = target.alert.count == 0  # nobody was told of it: there is nothing left to acknowledge
    target.alert = target.alert.but(condition="cleared", cleared_at=now, acked=target.alert.acked or never)
    return "withdrawn"


def _ease(target: Target, value: float | None, now: int, offset: int) -> TransitionKind | None:
    if not target.rule.keep:
        return _clear(target, value, now, offset)
    target.phase, target.due = Phase.CLEARING, now + target.rule.keep
    return None


def _clear(target: Target, value: float | None, now: int, offset: int) -> TransitionKind | None:
    target.phase, target.due = Phase.NORMAL, 0
    if target.alert is None:
        return None
    target.alert = target.alert.but(condition="cleared", cleared_at=now)
    return "cleared"


def _relapse(target: Target, value: float | None, now: int, offset: int) -> TransitionKind | None:
    target.phase, target.due = Phase.ACTIVE, 0
    return None


_MOVES: dict[tuple[Phase, Judgement], Move] = {
    (Phase.NORMAL, Judgement.VIOLATES): _open,
    (Phase.PENDING, Judgement.BETWEEN): _withdraw,
    (Phase.PENDING, Judgement.CLEAR): _withdraw,
    (Phase.RESTART, Judgement.VIOLATES): _open,
    (Phase.RESTART, Judgement.BETWEEN): _withdraw,
    (Phase.RESTART, Judgement.CLEAR): _withdraw,
    (Phase.ACTIVE, Judgement.CLEAR): _ease,
    (Phase.CLEARING, Judgement.VIOLATES): _relapse,
    (Phase.CLEARING, Judgement.BETWEEN): _relapse,
}
