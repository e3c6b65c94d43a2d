"""The alarm engine: journal records in, decisions out; the same journal gives the same decisions.

A sign of life of a device is any reading of it that is not retained (late ones too), an event, an answer, a
live `online`. Silence is armed by its first reading. A series' own silence (`absent` with a metric) is broken
by evaluated readings only: a series that delivers nothing but its past is still silent. A publisher is gone
from its `offline`, or its own absence being raised, until it or a device behind it gives a sign of life.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from collector.alarms import snapshot
from collector.alarms.actions import Refused, act
from collector.alarms.alarm import interrupt
from collector.alarms.model import Alert
from collector.alarms.rules.ruleset import RuleSet
from collector.alarms.system import SHELF, AlarmSystem
from collector.core.decision import Decision
from collector.core.readings import I64, Quality, Readings, SeriesKey, SeriesTable
from collector.core.records import Action
from collector.core.roster import Part
from devices.model import Presence
from devices.region import Region

_STRETCH = 16_384  # rows tested at once: what a deadline cuts short is tested again, so this bounds the waste


class Engine:
    """Alarming for one region. Call `region` first; then each record in the journal's order, exactly once.

    Every call moves time to its record's stamp first: timers due by then fire, stamped with their deadlines.
    So call `advance` for watermarks only; how rows are cut into batches makes no difference.
    """

    def __init__(self, table: SeriesTable) -> None:
        self._system = AlarmSystem(table)

    @property
    def alerts(self) -> Mapping[str, Alert]:
        """All alerts that are not gone, by id: pending, active, and cleared but not acknowledged. A copy."""
        return self._system.register.alerts.copy()

    def region(self, region: Region, rules: RuleSet, now: int, offset: int) -> None:
        """From here on this version of inventory and rules holds.

        Rules that decide as before keep all state. Of a changed rule an active alert stays active until a
        reading clears it by the new limits; what was waiting waits for the next reading. Alerts whose rule or
        device is gone are retired.
        """
        system = self._system
        if system.installed:
            system.pass_time(now, offset)
        for alarm in system.install(region, rules, now):
            if alarm.alert is not None:
                system.register.retire(alarm.alert, now, offset)
        system.restart()

    def rows(self, rows: Readings, offsets: I64) -> None:
        """Readings between two other records, in the journal's order, each with its record's offset.

        Retained ones are passed over, as if they were not in the journal.
        """
        kept = (rows.quality & int(Quality.RETAINED)) == 0
        if not kept.all():
            rows, offsets = rows.take(kept), offsets[kept]
        self._system.series.learn()
        at = 0
        while at < len(rows):
            self._system.pass_time(int(rows.received[at]), int(offsets[at]))
            stretch = slice(at, self._until_deadline(rows.received, at))
            at += self._system.series.test(rows, offsets, stretch)

    def _until_deadline(self, received: I64, at: int) -> int:
        """Where the stretch of rows from `at` on ends: at the next deadline, as is known now."""
        end = min(at + _STRETCH, len(received))
        deadline = self._system.timers.soonest(int(received[end - 1]))
        return end if deadline is None else at + int(np.searchsorted(received[at:end], deadline))

    def heard(self, device: SeriesKey, now: int, offset: int) -> None:
        """A sign of life without values (the key's metric does not matter). It arms nothing."""
        self._system.pass_time(now, offset)
        life = self._system.life
        unit = life.fleet.find(device.site, device.device)
        if unit:
            life.hear(unit, now, offset, reading=False)

    def state(
        self, site: str, device: str, online: bool, now: int, offset: int, *, retained: bool = False
    ) -> None:
        """A state message. It raises nothing; a live `online` is a sign of life, a retained one is none.

        Of a device that the region does not know at that site it says nothing.
        """
        self._system.pass_time(now, offset)
        life = self._system.life
        unit = life.fleet.find(site, device)
        if unit and online and not retained:
            life.hear(unit, now, offset, reading=False)
        if unit:
            life.say(unit, online, now, offset)

    def presence_of(self, device: str) -> Presence | None:
        """As in `presence`, of one device; None where nothing is known. From any thread."""
        return self._system.life.presence_of(device)

    def presence(self) -> Mapping[str, Presence]:
        """By device id, of those whose presence is known, or unknown because their publisher is gone.

        From any thread.
        """
        return self._system.life.presence()

    def gap(self, start: int, end: int, offset: int) -> None:
        """From `start` to `end`, the record's stamp, we could not listen: only shelves ran out meanwhile."""
        system = self._system
        system.pass_time(start, offset)
        system.life.floor = max(system.life.floor, end)
        for alarm in system.register.alarms():
            waiting = alarm.phase
            interrupt(alarm)
            if alarm.phase is not waiting:
                system.settle(alarm)
                system.life.arm(alarm)
        system.pass_time(end, offset)

    def action(self, action: Action, now: int, offset: int) -> None:
        """An operator's action. One that makes no sense gives a `refused` transition with the reason."""
        system, register = self._system, self._system.register
        system.pass_time(now, offset)
        alarm = register.alarm_of.get(action.alert)
        if alarm is None:
            why = "there is no such alert, or it is over: cleared and acknowledged"
            register.refuse(action, why, None, now, offset)
            return
        try:
            kind = act(alarm, action, now)
        except Refused as refused:
            register.refuse(action, str(refused), alarm.alert, now, offset)
            return
        if kind == "shelved":
            system.timers.set(alarm.shelved_until, SHELF, alarm.name)
        register.note(alarm, kind, now, offset, "operator", action=action)
        system.settle(alarm)

    def advance(self, now: int, offset: int) -> None:
        """A watermark: nothing came until `now`, and we were listening."""
        self._system.pass_time(now, offset)

    def drain(self) -> list[Decision]:
        """What happened since the last drain, in order."""
        return self._system.register.drain()

    def save(self) -> Part:
        """The whole state but for undrained transitions: drain first. A copy; series go by name."""
        return snapshot.save(self._system)

    @classmethod
    def load(cls, table: SeriesTable, region: Region, rules: RuleSet, part: Part) -> Engine:
        """The engine as it was when `save` gave the part.

        Raises ValueError on a damaged part, or one of another region. Under other rules (the collector's own
        may change with its version) alerts go on by the new ones as after a gap, and those without a rule are
        retired with the next record.
        """
        engine = cls(table)
        snapshot.load(engine._system, region, rules, part)
        return engine
