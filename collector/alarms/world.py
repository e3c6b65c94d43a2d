"""What the parts of the engine share: devices, series, targets, timers, alerts; and how moves are booked."""

from __future__ import annotations

from collector.alarms.columns import Columns
from collector.alarms.field import Field, Unit
from collector.alarms.lifecycle import Target, Verdict, feed, interrupt
from collector.alarms.model import Alert, Transition, TransitionKind
from collector.alarms.ruleset import Rule, RuleSet
from collector.alarms.timers import Entry, Timer, Timers
from collector.core.readings import DEVICE, SeriesKey, SeriesTable
from collector.core.records import Action
from devices.region import Region

NEVER = 2**63 - 1
_SPOKEN = ("", "", "")

TargetKey = tuple[str, SeriesKey]
"""A rule's name and a series."""


class World:
    """The engine's state."""

    def __init__(self, table: SeriesTable) -> None:
        self.columns = Columns(table)
        self.installed: Field | None = None
        self.hashes = ("", "")  # of the region and the rules that hold
        self.targets: dict[TargetKey, Target] = {}
        self.timers = Timers()
        self.alerts: dict[str, Alert] = {}
        self.owners: dict[str, Target] = {}  # by alert id
        self.out: list[Transition] = []
        self.floor = 0  # the newest gap's end: no silence is counted from before it
        self.cut = NEVER  # the soonest deadline set since somebody last looked
        self.orphans: list[Alert] = []  # of a snapshot under other rules: retired with the next record
        self.watching_series = False  # whether any rule watches for a metric's own silence
        self._since = 0  # when the present region came to hold
        self._before: dict[TargetKey, Target] = {}

    @property
    def devices(self) -> Field:
        """The devices of the region that holds."""
        if self.installed is None:
            raise RuntimeError("the engine has no region yet: the first record it is given must be a region")
        return self.installed

    def install(self, region: Region, rules: RuleSet, now: int) -> list[Target]:
        """Let a region hold; returns the targets without a place in it. The caller restarts the timers."""
        field = Field(region, rules)
        if self.installed is not None:
            field.carry(self.installed)
        self.installed, self.hashes, self._since = field, (region.hash, rules.hash), now
        self._before, self.targets = self.targets, {}
        for unit in field.units:
            key = SeriesKey(unit.device.site, unit.device.id, DEVICE)
            unit.absences = [self._adopt(rule, key) for rule in unit.rules if rule.metric == DEVICE]
            for target in unit.absences:
                target.armed = unit.armed
        self.columns.relearn(field, self._adopt)
        left, self._before = self._before, {}
        return [target for _, target in sorted(left.items())]

    def learn(self) -> None:
        """Take in series that are new in the table."""
        self.columns.learn(self.devices, self._adopt)

    def unit(self, target: Target) -> Unit:
        """The device of a target."""
        unit = self.devices.find(target.key.site, target.key.device)
        if unit is None:
            raise LookupError(f"{'/'.join(target.key)} has a rule but no device")
        return unit

    def number(self, target: Target) -> int | None:
        """The number of the target's series; None for a device's own."""
        return self.columns.table.find(target.key) if target.key.metric else None

    def last(self, target: Target) -> float | None:
        """The value that a deadline finds: the series' last. Silence has none."""
        number = self.number(target)
        return None if number is None or target.rule.test == "absent" else float(self.columns.last[number])

    def feed(self, target: Target, verdict: Verdict, value: float | None, now: int, offset: int) -> None:
        """Move the target by a verdict, and book what comes of it."""
        due = target.due
        kind = feed(target, verdict, value, now, offset)
        if target.due and target.due != due:
            self.push(target, target.due, Timer.STEP)
        if kind is not None:
            self.note(target, kind, now, offset)

    def push(self, target: Target, deadline: int, timer: Timer) -> None:
        """Set a deadline. A publisher's silence goes before that of the devices behind it."""
        rank = 0 if timer is Timer.SILENCE and self.unit(target).behind else 1
        self.timers.push(Entry(deadline, rank, target.rule.name, *target.key, timer))
        self.cut = min(self.cut, deadline)

    def note(
        self, target: Target, kind: TransitionKind, now: int, offset: int, action: Action | None = None
    ) -> None:
        """Write down what became of the target's alert; one that is gone leaves."""
        alert = target.alert
        if alert is None:
            return
        spoken = (action.by, action.comment, action.id) if action else _SPOKEN
        self.out.append(Transition(kind, now, offset, alert, *spoken))
        if alert.gone:
            target.alert = None
            self.alerts.pop(alert.id, None)
            self.owners.pop(alert.id, None)
        else:
            self.alerts[alert.id], self.owners[alert.id] = alert, target

    def retire(self, alert: Alert, now: int, offset: int) -> None:
        """Close an alert whose rule or device is gone: there is nothing left to clear or acknowledge."""
        over = alert.but(condition="cleared", acked=True, cleared_at=now)
        self.out.append(Transition("retired", now, offset, over))
        self.alerts.pop(alert.id, None)
        self.owners.pop(alert.id, None)

    def settle(self, target: Target) -> None:
        """After a change that no reading brought: work out anew which readings matter."""
        number = self.number(target)
        if number is not None:
            self.columns.settle(number)
        elif not target.key.metric:
            self.devices.rewatch(self.unit(target))

    def _adopt(self, rule: Rule, key: SeriesKey) -> Target:
        """The rule's target on the series: the one there was, or a new one."""
        target = self._before.pop((rule.name, key), None)
        if target is None:
            target = Target(rule, key, since=self._since)
        elif target.rule.logic != rule.logic:
            interrupt(target)
            target.since = self._since
        target.rule = rule
        self.targets[rule.name, key] = target
        self.watching_series |= rule.test == "absent" and bool(rule.metric)
        return target
