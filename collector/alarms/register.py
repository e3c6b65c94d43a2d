"""The register: alarms in another state than a new one, their alerts, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

from collector.alarms.alarm import Alarm, feed
from collector.alarms.kinds.criterion import Judgement
from collector.alarms.model import Alert, Transition, TransitionKind
from collector.alarms.timers import TimerQueue
from collector.core.decision import NO_EVIDENCE, Decision
from collector.core.records import Action

DELAY = "delay"
"""The owner of timers for a `for` or `keep` that is over."""


class Register:
    """Alarms by the number of their device (its own silence) or series, one for each rule on it."""

    def __init__(self, timers: TimerQueue) -> None:
        self.of_device: dict[int, tuple[Alarm, ...]] = {}
        self.of_series: dict[int, tuple[Alarm, ...]] = {}
        self.alerts: dict[str, Alert] = {}
        self.alarm_of: dict[str, Alarm] = {}  # by alert id
        self.orphans: list[Alert] = []  # of a snapshot under other rules: retired with the next record
        self.out: list[Decision] = []
        self._timers = timers

    def alarms(self) -> list[Alarm]:
        """All that are held now."""
        return list(chain(*self.of_series.values(), *self.of_device.values()))

    def feed(self, alarm: Alarm, judgement: Judgement, value: float | None, now: int, offset: int) -> None:
        """Move the alarm by a judgement, and note what comes of it."""
        due = alarm.due
        change = feed(alarm, judgement, value, now, offset)
        if alarm.due and alarm.due != due:
            self._timers.set(alarm.due, DELAY, alarm.name)
        if change is not None:
            criterion = alarm.rule.criterion
            evidence = dict(criterion.terms)
            if value is not None:
                evidence["value"] = value
            self.note(alarm, change, now, offset, criterion.reason(judgement), evidence)

    def note(
        self,
        alarm: Alarm,
        change: TransitionKind,
        now: int,
        offset: int,
        reason: str,
        evidence: Mapping[str, Any] = NO_EVIDENCE,
        action: Action | None = None,
    ) -> None:
        """Write down what became of the alarm's alert, and why; one that is gone leaves."""
        alert = alarm.alert
        if alert is None:
            return
        made = Transition(change, now, offset, alert, reason=reason, evidence=evidence)
        if action:
            made = replace(made, by=action.by, comment=action.comment, action=action.id)
        self.out.append(made)
        if alert.gone:
            alarm.alert = None
            self._forget(alert)
        else:
            self.enter(alert, alarm)

    def enter(self, alert: Alert, alarm: Alarm) -> None:
        """Know the alert, as it is now, by its id."""
        self.alerts[alert.id], self.alarm_of[alert.id] = alert, alarm

    def retire(self, alert: Alert, now: int, offset: int) -> None:
        """Close an alert whose rule or device is gone: there is nothing left to clear or acknowledge."""
        over = alert.but(condition="cleared", acked=True, cleared_at=now)
        self.out.append(Transition("retired", now, offset, over, reason="not_in_region"))
        self._forget(alert)

    def retire_orphans(self, now: int, offset: int) -> None:
        """Close the alerts that came from a snapshot and have no rule any more."""
        orphans, self.orphans = self.orphans, []
        for alert in orphans:
            self.retire(alert, now, offset)

    def refuse(self, action: Action, why: str, alert: Alert | None, now: int, offset: int) -> None:
        """Note that an action makes no sense."""
        said = Transition("refused", now, offset, alert, reason="operator", by=action.by, comment=why)
        self.out.append(replace(said, action=action.id))

    def drain(self) -> list[Decision]:
        """What was noted since the last drain, in order."""
        out, self.out = self.out, []
        return out

    def _forget(self, alert: Alert) -> None:
        self.alerts.pop(alert.id, None)
        self.alarm_of.pop(alert.id, None)
