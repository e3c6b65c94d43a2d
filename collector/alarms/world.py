"""What the parts of the engine share: devices, series, targets, timers, alerts; and how moves are booked."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from collector.alarms.columns import Columns
from collector.alarms.field import Field
from collector.alarms.kinds.kind import Judgement
from collector.alarms.lifecycle import Target, feed, interrupt
from collector.alarms.model import Alert, Transition, TransitionKind
from collector.alarms.rules.ruleset import RuleSet
from collector.alarms.timers import Entry, Timer, Timers
from collector.alarms.vigil import Vigil
from collector.core.readings import DEVICE, SeriesKey, SeriesTable
from collector.core.records import Action
from devices.region import Region

NEVER = 2**63 - 1
_SPOKEN = ("", "", "")


class World:
    """The engine's state.

    A target, a rule on a series or a device, exists as an object only while it is in another state than a new
    one: `hold` makes it, `settle` lets go of it. All others are columns of `columns` and `devices`, and what
    they wait for is in no timer but in the `vigil`.
    """

    def __init__(self, table: SeriesTable) -> None:
        self.columns = Columns(table)
        self.installed: Field | None = None
        self.hashes = ("", "")  # of the region and the rules that hold
        self.timers = Timers()
        self.vigil = Vigil()
        self.alerts: dict[str, Alert] = {}
        self.owners: dict[str, Target] = {}  # by alert id
        self.out: list[Transition] = []
        self.floor = 0  # the newest gap's end: no silence is counted from before it
        self.cut = NEVER  # the soonest deadline set since somebody last looked
        self.orphans: list[Alert] = []  # of a snapshot under other rules: retired with the next record
        self.watching_series = False  # whether any rule watches for a metric's own silence
        self._since = 0  # when the present region came to hold

    @property
    def devices(self) -> Field:
        """The devices of the region that holds."""
        if self.installed is None:
            raise RuntimeError("the engine has no region yet: the first record it is given must be a region")
        return self.installed

    def install(self, region: Region, rules: RuleSet, now: int) -> list[Target]:
        """Let a region hold; returns held targets without a place in it. The caller restarts the timers."""
        before = list(self.targets()) if self.installed else []
        field = Field(region, rules, now)
        if self.installed is not None:
            field.carry(self.installed, now)
        self.installed, self.hashes, self._since = field, (region.hash, rules.hash), now
        self.columns.relearn(field)
        self.watching_series |= any(
            rule.criterion.silence and bool(rule.metric) for each in field.sets for rule in each
        )
        homeless = [target for target in before if not self._adopt(target)]
        for target in self.targets():
            self.settle(target)
        return sorted(homeless, key=lambda target: (target.rule.name, target.key))

    def learn(self) -> None:
        """Take in series that are new in the table."""
        self.columns.learn(self.devices)

    def targets(self) -> Iterator[Target]:
        """All that are held, as they are now: a copy."""
        groups = [*self.columns.targets.values(), *self.devices.absences.values()]
        return chain.from_iterable(groups)

    def held(self, rule: str, key: SeriesKey) -> Target | None:
        """The target of a rule on a series or a device, if it is held."""
        targets: tuple[Target, ...] | None
        if key.metric:
            number = self.columns.table.find(key)
            targets = None if number is None else self.columns.targets.get(number)
        else:
            targets = self.devices.absences.get(self.devices.find(key.site, key.device))
        return next((target for target in targets or () if target.rule.name == rule), None)

    def hold(self, key: SeriesKey) -> tuple[Target, ...]:
        """The targets on a series or a device, made if there are none: in the end give one to `settle`."""
        if key.metric:
            return self.columns.hold(self.columns.table.number(key), self._since)
        return self.hold_device(self.devices.find(key.site, key.device))

    def hold_series(self, number: int) -> tuple[Target, ...]:
        """The same by the series' number."""
        return self.columns.hold(number, self._since)

    def hold_device(self, unit: int) -> tuple[Target, ...]:
        """The same by the device's number, of its own silence."""
        field = self.devices
        found = field.absences.get(unit)
        if found is None:
            device, armed = field.devices[unit - 1], bool(field.armed[unit])
            key = SeriesKey(device.site, device.id, DEVICE)
            rows = enumerate(field.silences[field.set_of[unit]])
            found = tuple(
                [Target(rule, key, armed=armed, since=int(field.since[row, unit])) for row, rule in rows]
            )
            field.absences[unit] = found
            field.held[unit] = True
        return found

    def unit(self, target: Target) -> int:
        """The number of a target's device."""
        unit = self.devices.find(target.key.site, target.key.device)
        if not unit:
            raise LookupError(f"{'/'.join(target.key)} has a rule but no device")
        return unit

    def number(self, target: Target) -> int | None:
        """The number of the target's series; None for a device's own."""
        return self.columns.table.find(target.key) if target.key.metric else None

    def last(self, target: Target) -> float | None:
        """The value that a deadline finds: the series' last. Silence has none."""
        number = self.number(target)
        return None if number is None or target.rule.criterion.silence else float(self.columns.last[number])

    def feed(self, target: Target, verdict: Judgement, value: float | None, now: int, offset: int) -> None:
        """Move the target by a verdict, and book what comes of it."""
        due = target.due
        kind = feed(target, verdict, value, now, offset)
        if target.due and target.due != due:
            self.push(target, target.due, Timer.STEP)
        if kind is not None:
            self.note(target, kind, now, offset)

    def push(self, target: Target, deadline: int, timer: Timer) -> None:
        """Set a deadline. A publisher's silence goes before that of the devices behind it."""
        rank = 0 if timer is Timer.SILENCE and self.unit(target) in self.devices.behind else 1
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

    def await_silence(self, unit: int) -> None:
        """From here on a device's silence counts, that no target counts."""
        deadline = self.vigil.add(self.devices, self.floor, unit)
        if deadline is not None:
            self.cut = min(self.cut, deadline)

    def settle(self, target: Target) -> None:
        """After a change: work out anew which readings matter; let go of what is as new again."""
        if target.key.metric:
            number = self.columns.table.find(target.key)
            if number in self.columns.targets:
                self.columns.settle(number)
        else:
            self.settle_device(self.unit(target))

    def settle_device(self, unit: int) -> None:
        """The same of a device's own silence."""
        field = self.devices
        if not any(target.busy for target in field.absences.get(unit, ())):
            field.held[unit] = False
            if field.absences.pop(unit, ()):
                self.await_silence(unit)
        field.rewatch(unit)

    def _adopt(self, target: Target) -> bool:
        """Put a target into its place under the rules that hold now; whether it has one."""
        key = target.key
        unit = self.devices.find(key.site, key.device)
        rules = self.devices.rules(unit)
        rule = next((r for r in rules if (r.name, r.metric) == (target.rule.name, key.metric)), None)
        if rule is None:
            return False
        if target.rule.logic != rule.logic:
            interrupt(target)
            target.since = self._since
        target.rule = rule
        held = tuple(target if each.rule.name == rule.name else each for each in self.hold(key))
        if key.metric:
            self.columns.targets[self.columns.table.number(key)] = held  # it is held already
        else:
            self.devices.absences[unit] = held
        return True
