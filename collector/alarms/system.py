"""The alarm system: register, life, series and timers together, and what moves alarms through them all."""

from __future__ import annotations

from collections.abc import Callable

from collector.alarms.actions import unshelve
from collector.alarms.alarm import Alarm, expire, interrupt
from collector.alarms.fleet import Fleet
from collector.alarms.kinds.criterion import Judgement, Phase
from collector.alarms.life import ABSENCE, Life
from collector.alarms.register import DELAY, Register
from collector.alarms.rules.ruleset import RuleSet
from collector.alarms.series import SeriesLimits
from collector.alarms.timers import Key, Owner, TimerQueue
from collector.core.readings import SeriesKey, SeriesTable
from devices.region import Region

_NS = 10**9
SHELF = "shelf"
"""The owner of timers for a shelving that is over."""


class AlarmSystem:
    """The state of alarming. An alarm is in the register only while it is in another state than a new one.

    What `hold` gives must go to `settle` when it was changed.
    """

    def __init__(self, table: SeriesTable) -> None:
        self.hashes = ("", "")  # of the region and the rules that hold
        self.timers = TimerQueue()
        self.register = Register(self.timers)
        self.life = Life(self.timers, self.register)
        self.series = SeriesLimits(table, self.timers, self.register, self.life)
        self.timers.lookouts.append(self.life)
        self._own(ABSENCE, self.life.still, self._silent)
        self._own(DELAY, lambda alarm, at: at if alarm.due == at else None, self._expired)
        self._own(SHELF, lambda alarm, at: at if alarm.shelved_until == at else None, self._unshelved)

    @property
    def installed(self) -> bool:
        """Whether a region holds."""
        return bool(self.hashes[0])

    def pass_time(self, until: int, offset: int) -> None:
        """Let every deadline up to `until` pass; `offset` is the record before which they fall."""
        if not self.installed:
            raise RuntimeError("the engine has no region yet: the first record it is given must be a region")
        if self.register.orphans:
            self.register.retire_orphans(until, offset)
        self.timers.fire(until, offset)

    def install(self, region: Region, rules: RuleSet, now: int) -> list[Alarm]:
        """Let a region hold. Returns the alarms that have no place in it; call `restart` after."""
        before, register = self.register.alarms(), self.register
        register.of_device, register.of_series = {}, {}
        self.hashes = region.hash, rules.hash
        self.life.install(Fleet(region.devices.values(), rules.for_device), now)
        self.series.install(now)
        homeless = [alarm for alarm in before if not self._adopt(alarm, now)]
        for alarm in register.alarms():
            self.settle(alarm)
        return sorted(homeless, key=lambda alarm: alarm.name)

    def restart(self) -> None:
        """Set all timers anew from the alarms, and what each device's next sign of life would change."""
        self.timers.clear()
        self.life.restart()
        for alarm in self.register.alarms():
            alarm.silent = 0
            if alarm.due:
                self.timers.set(alarm.due, DELAY, alarm.name)
            if alarm.shelved_until:
                self.timers.set(alarm.shelved_until, SHELF, alarm.name)
            self.life.arm(alarm)

    def hold(self, rule: str, key: SeriesKey) -> Alarm | None:
        """The alarm of a rule on a series or a device, made if need be; None if no such rule is on it."""
        unit = self.life.fleet.find(key.site, key.device)
        if (rule, key.metric) not in {(each.name, each.metric) for each in self.life.fleet.rules(unit)}:
            return None
        alarms = self.series.hold(self.series.table.number(key)) if key.metric else self.life.hold(unit)
        return next(alarm for alarm in alarms if alarm.rule.name == rule)

    def settle(self, alarm: Alarm) -> None:
        """After a change: work out anew which readings matter; let go of what is as new again."""
        if alarm.series is None:
            self.life.settle(alarm.unit)
        elif alarm.series in self.register.of_series:
            self.series.settle(alarm.series)

    def last(self, alarm: Alarm) -> float | None:
        """The value that a deadline finds: the series' last. Silence has none."""
        of_value = alarm.series is not None and not alarm.rule.criterion.silence
        return float(self.series.last[alarm.series]) if of_value else None

    def _adopt(self, alarm: Alarm, now: int) -> bool:
        """Put an alarm into its place under the rules that hold now; whether it has one."""
        place = self.hold(alarm.rule.name, alarm.key)
        if place is None:
            return False
        if alarm.rule.logic != place.rule.logic:
            interrupt(alarm)
            alarm.since = now
        alarm.rule, alarm.unit = place.rule, place.unit
        group, number = self._group(alarm)
        group[number] = tuple(alarm if each is place else each for each in group[number])
        return True

    def _group(self, alarm: Alarm) -> tuple[dict[int, tuple[Alarm, ...]], int]:
        if alarm.series is None:
            return self.register.of_device, alarm.unit
        return self.register.of_series, alarm.series

    def _own(
        self,
        owner: str,
        still: Callable[[Alarm, int], int | None],
        fire: Callable[[Alarm, int, int], None],
    ) -> None:
        """Own timers whose keys are names of alarms; they are void when the alarm is as a new one."""

        def ask(key: Key, deadline: int) -> int | None:
            alarm = self._find(key)
            return None if alarm is None else still(alarm, deadline)

        def pass_on(key: Key, deadline: int, offset: int) -> None:
            alarm = self._find(key)
            if alarm is not None:
                fire(alarm, deadline, offset)

        self.timers.owners[owner] = Owner(ask, pass_on)

    def _find(self, name: Key) -> Alarm | None:
        """The alarm of that name, if it is in the register."""
        rule, site, device, metric = name
        if metric:
            number = self.series.table.find(SeriesKey(site, device, metric))
            found = None if number is None else self.register.of_series.get(number)
        else:
            found = self.register.of_device.get(self.life.fleet.find(site, device))
        return next((alarm for alarm in found or () if alarm.rule.name == rule), None)

    def _silent(self, alarm: Alarm, deadline: int, offset: int) -> None:
        alarm.silent = 0
        self.register.feed(alarm, Judgement.VIOLATES, None, deadline, offset)
        self._moved(alarm)

    def _expired(self, alarm: Alarm, deadline: int, offset: int) -> None:
        pending_silence = alarm.rule.criterion.silence and alarm.phase is Phase.PENDING
        if pending_silence and self.life.unknown(alarm.unit):
            # Its silence says nothing any more: it is watched again when the publisher is back.
            interrupt(alarm)
        elif (change := expire(alarm, self.last(alarm), deadline, offset)) is not None:
            reason, seconds = (
                ("for_over", alarm.rule.delay) if change == "raised" else ("keep_over", alarm.rule.keep)
            )
            evidence = {**alarm.rule.criterion.terms, reason.removesuffix("_over"): seconds / _NS}
            self.register.note(alarm, change, deadline, offset, reason, evidence)
        self._moved(alarm)

    def _unshelved(self, alarm: Alarm, deadline: int, offset: int) -> None:
        if unshelve(alarm):
            self.register.note(alarm, "unshelved", deadline, offset, "shelf_over")
        self.settle(alarm)

    def _moved(self, alarm: Alarm) -> None:
        """A deadline moved the alarm: a publisher whose own silence is active is gone."""
        if alarm.phase is Phase.ACTIVE and alarm.series is None and alarm.unit in self.life.fleet.behind:
            self.life.lose(alarm.unit)
        self.settle(alarm)
