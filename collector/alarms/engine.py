"""The alarm engine: journal records in, transitions out; the same journal gives the same transitions.

A sign of life of a device is any reading of it that is not retained (late ones too), an event, an answer, a
live `online`. Silence is armed by its first reading. A series' own silence (`absent` with a metric) is broken
by evaluated readings only: a series that delivers nothing but its past is still silent. A publisher is gone
from its `offline`, or its own absence being raised, until it or a device behind it gives a sign of life.
"""

from __future__ import annotations

from collections.abc import Mapping

from collector.alarms import deadlines, scan, silence, snapshot
from collector.alarms.actions import Refused, act
from collector.alarms.lifecycle import interrupt
from collector.alarms.model import Alert, Transition
from collector.alarms.rules.ruleset import RuleSet
from collector.alarms.timers import Timer
from collector.alarms.world import World
from collector.core.readings import I64, Readings, SeriesKey, SeriesTable
from collector.core.records import Action
from collector.core.roster import Part
from devices.region import Region


class Engine:
    """Alarming for one region. Call `region` first; then each record in the journal's order, exactly once.

    Every call moves time to its record's stamp first: timers due by then fire, stamped with their deadlines.
    So call `advance` for watermarks only; how rows are cut into batches makes no difference.
    """

    def __init__(self, table: SeriesTable) -> None:
        self._world = World(table)

    @property
    def alerts(self) -> Mapping[str, Alert]:
        """All alerts that are not gone, by id: pending, active, and cleared but not acknowledged. A copy."""
        return self._world.alerts.copy()

    def region(self, region: Region, rules: RuleSet, now: int, offset: int) -> None:
        """From here on this version of inventory and rules holds.

        Rules that decide as before keep all state. Of a changed rule an active alert stays active until a
        reading clears it by the new limits; what was waiting waits for the next reading. Alerts whose rule or
        device is gone are retired.
        """
        world = self._world
        if world.installed is not None:
            deadlines.fire(world, now, offset)
        for target in world.install(region, rules, now):
            if target.alert is not None:
                world.retire(target.alert, now, offset)
        deadlines.restart(world)

    def rows(self, rows: Readings, offsets: I64) -> None:
        """Readings between two other records, in the journal's order, each with its record's offset.

        Retained ones are passed over, as if they were not in the journal.
        """
        scan.scan(self._world, rows, offsets)

    def heard(self, device: SeriesKey, now: int, offset: int) -> None:
        """A sign of life without values (the key's metric does not matter). It arms nothing."""
        deadlines.fire(self._world, now, offset)
        unit = self._world.devices.find(device.site, device.device)
        if unit:
            silence.heard(self._world, unit, now, offset, reading=False)

    def presence(self, site: str, device: str, online: bool, now: int, offset: int) -> None:
        """A live (not retained) state message. `offline` makes those behind a publisher unknown, no more."""
        deadlines.fire(self._world, now, offset)
        unit = self._world.devices.find(site, device)
        if not unit:
            return
        if online:
            silence.heard(self._world, unit, now, offset, reading=False)
        else:
            silence.lose(self._world, unit)

    def gap(self, start: int, end: int, offset: int) -> None:
        """From `start` to `end`, the record's stamp, we could not listen: only shelves ran out meanwhile."""
        world = self._world
        deadlines.fire(world, start, offset)
        world.floor = max(world.floor, end)
        for target in world.targets():
            waiting = target.phase
            interrupt(target)
            if target.phase is not waiting:
                world.settle(target)
                silence.arm(world, target)
        deadlines.fire(world, end, offset)

    def action(self, action: Action, now: int, offset: int) -> None:
        """An operator's action. One that makes no sense gives a `refused` transition with the reason."""
        world = self._world
        deadlines.fire(world, now, offset)
        target = world.owners.get(action.alert)
        if target is None:
            why = "there is no such alert, or it is over: cleared and acknowledged"
            self._refuse(action, why, None, now, offset)
            return
        try:
            kind = act(target, action, now)
        except Refused as refused:
            self._refuse(action, str(refused), target.alert, now, offset)
            return
        if kind == "shelved":
            world.push(target, target.shelved_until, Timer.SHELF)
        world.note(target, kind, now, offset, action)
        world.settle(target)

    def _refuse(self, action: Action, why: str, alert: Alert | None, now: int, offset: int) -> None:
        self._world.out.append(Transition("refused", now, offset, alert, action.by, why, action.id))

    def advance(self, now: int, offset: int) -> None:
        """A watermark: nothing came until `now`, and we were listening."""
        deadlines.fire(self._world, now, offset)

    def drain(self) -> list[Transition]:
        """What happened since the last drain, in order."""
        out, self._world.out = self._world.out, []
        return out

    def save(self) -> Part:
        """The whole state but for undrained transitions: drain first. A copy; series go by name."""
        return snapshot.save(self._world)

    @classmethod
    def load(cls, table: SeriesTable, region: Region, rules: RuleSet, part: Part) -> Engine:
        """The engine as it was when `save` gave the part.

        Raises ValueError on a damaged part, or one of another region. Under other rules (the collector's own
        may change with its version) alerts go on by the new ones as after a gap, and those without a rule are
        retired with the next record.
        """
        engine = cls(table)
        snapshot.load(engine._world, region, rules, part)
        deadlines.restart(engine._world)
        return engine
