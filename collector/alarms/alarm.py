"""One alarm, a rule on one series: how a reading or a deadline moves its alert. Knows nothing of others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from collector.alarms.kinds.criterion import NOTHING, Interval, Judgement, Phase
from collector.alarms.model import Alert, TransitionKind
from collector.alarms.rules.ruleset import Rule
from collector.core.readings import SeriesKey


@dataclass(slots=True, eq=False)
class Alarm:
    """A rule on a series or a device, with what is known of it. Times in epoch ns; 0 is never."""

    rule: Rule
    key: SeriesKey
    unit: int  # the number of its device in the fleet
    series: int | None  # the number of its series; None: the device's own silence
    phase: Phase = Phase.NORMAL
    due: int = 0  # when `for` or `keep` is over
    alert: Alert | None = None
    shelved_until: int = 0  # outlives the alert: who shelves a flapping alarm means the alarm
    armed: bool = False  # of silence: something has been heard, so that silence means something
    since: int = 0  # of silence: the rule holds since then; what was before does not count
    silent: int = 0  # of silence: the deadline of its timer, 0 = it has none

    @property
    def name(self) -> tuple[str, ...]:
        """Rule, site, device and metric: the key of its timers."""
        return (self.rule.name, *self.key)

    @property
    def busy(self) -> bool:
        """Whether it is in another state than a new one, but for what its device's first reading arms."""
        return bool(self.phase or self.alert or self.shelved_until)

    def quiet(self, present: float | None) -> Interval:
        """The values that change nothing in it; `present` is its series' newest value, None without one."""
        if self.phase is Phase.RESTART:
            return NOTHING
        return self.rule.criterion.quiet(self.phase, self.armed, present)


Move = Callable[[Alarm, float | None, int, int], TransitionKind | None]


def feed(
    alarm: Alarm, judgement: Judgement, value: float | None, now: int, offset: int
) -> TransitionKind | None:
    """Move the alarm by a judgement at `now`; says what became of its alert, None if nothing did."""
    move = _MOVES[alarm.phase][judgement]
    return move(alarm, value, now, offset) if move else None


def expire(alarm: Alarm, value: float | None, now: int, offset: int) -> TransitionKind | None:
    """Move the alarm by its `for` or `keep` being over at `now`."""
    if alarm.phase is Phase.PENDING:
        return _raise(alarm, value, now, offset)
    if alarm.phase is Phase.CLEARING:
        return _clear(alarm, value, now, offset)
    return None


def interrupt(alarm: Alarm) -> None:
    """We could not listen: what was waiting for time to pass waits for the next reading first."""
    if alarm.phase is Phase.PENDING:
        alarm.phase, alarm.due = Phase.RESTART, 0
    elif alarm.phase is Phase.CLEARING:
        alarm.phase, alarm.due = Phase.ACTIVE, 0


def alert_id(rule: str, key: SeriesKey, offset: int) -> str:
    """The id of the alert that a record at `offset` opens: the same in every process."""
    text = "\0".join((rule, *key, str(offset)))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _open(alarm: Alarm, value: float | None, now: int, offset: int) -> TransitionKind | None:
    if not alarm.rule.delay:
        return _raise(alarm, value, now, offset)
    alarm.phase, alarm.due = Phase.PENDING, now + alarm.rule.delay
    alarm.alert = _met(alarm, value, now, offset)
    return "pending"


def _met(alarm: Alarm, value: float | None, now: int, offset: int) -> Alert:
    """The alert with its condition met at `now`: the one that is not gone yet, or a new one."""
    changes: dict[str, object] = {
        "rule_version": alarm.rule.version,
        "severity": alarm.rule.severity,
        "condition": "pending",
        "at": now,
        "value": value,
        "raised_at": None,
        "cleared_at": None,
    }
    return (alarm.alert or _new(alarm, now, offset)).but(**changes)


def _new(alarm: Alarm, now: int, offset: int) -> Alert:
    rule, key = alarm.rule, alarm.key
    shelved = alarm.shelved_until > now
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
        shelved_until=alarm.shelved_until if shelved else None,
    )


def _raise(alarm: Alarm, value: float | None, now: int, offset: int) -> TransitionKind:
    alert = alarm.alert if alarm.phase is Phase.PENDING else None
    alert = alert or _met(alarm, value, now, offset)
    alarm.phase, alarm.due = Phase.ACTIVE, 0
    alarm.alert = alert.but(
        condition="active", value=value, raised_at=now, count=alert.count + 1, acked=False
    )
    return "raised"


def _withdraw(alarm: Alarm, value: float | None, now: int, offset: int) -> TransitionKind | None:
    alarm.phase, alarm.due = Phase.NORMAL, 0
    if alarm.alert is None:
        return None
    never = alarm.alert.count == 0  # nobody was told of it: there is nothing left to acknowledge
    alarm.alert = alarm.alert.but(condition="cleared", cleared_at=now, acked=alarm.alert.acked or never)
    return "withdrawn"


def _ease(alarm: Alarm, value: float | None, now: int, offset: int) -> TransitionKind | None:
    if not alarm.rule.keep:
        return _clear(alarm, value, now, offset)
    alarm.phase, alarm.due = Phase.CLEARING, now + alarm.rule.keep
    return None


def _clear(alarm: Alarm, value: float | None, now: int, offset: int) -> TransitionKind | None:
    alarm.phase, alarm.due = Phase.NORMAL, 0
    if alarm.alert is None:
        return None
    alarm.alert = alarm.alert.but(condition="cleared", cleared_at=now)
    return "cleared"


def _relapse(alarm: Alarm, value: float | None, now: int, offset: int) -> TransitionKind | None:
    alarm.phase, alarm.due = Phase.ACTIVE, 0
    return None


_MOVES: tuple[tuple[Move | None, ...], ...] = (
    # VIOLATES, BETWEEN, CLEAR
    (_open, None, None),  # NORMAL
    (None, _withdraw, _withdraw),  # PENDING
    (_open, _withdraw, _withdraw),  # RESTART
    (None, None, _ease),  # ACTIVE
    (_relapse, _relapse, None),  # CLEARING
)
