"""The devices as alarming sees them: when each was last heard, and through whom it speaks."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from collector.alarms.kinds.kind import Phase
from collector.alarms.lifecycle import Target
from collector.alarms.rules.ruleset import Rule, RuleSet
from collector.core.bundle import joined
from collector.core.readings import DEVICE, I32, I64, U8, Bools
from devices.model import Device
from devices.region import Region

_ANSWERED = frozenset({Phase.NORMAL, Phase.CLEARING})


class Field:
    """All devices of a region in columns, numbered from 1; 0 stands for one that the region does not know.

    Times in epoch ns, 0 = never. A rule that watches for a device's own silence has a row in `stale` and
    `since`; most devices are in no alarm, and these columns are all that is kept of such a rule for them. Of
    the others `absences` holds the targets, one for each row of theirs.
    """

    def __init__(self, region: Region, rules: RuleSet, now: int) -> None:
        self.devices: list[Device] = list(region.devices.values())
        size = len(self.devices) + 1
        self.sets: list[tuple[Rule, ...]] = [()]
        self.set_of: I32 = np.zeros(size, np.int32)  # which of `sets` holds for a device
        self._by_id = {device.id: number for number, device in enumerate(self.devices, 1)}
        self.heard: I64 = np.zeros(size, np.int64)
        self.armed: Bools = np.zeros(size, np.bool_)  # a first reading came: silence means something
        self.gone: Bools = np.zeros(size, np.bool_)  # as a publisher: those behind it are unknown
        self.returned: I64 = np.zeros(size, np.int64)  # as a publisher: when it last came back
        self.voice: I32 = np.arange(size, dtype=np.int32)  # whoever speaks for it: itself, or its publisher
        self.behind: dict[int, list[int]] = {}  # of each publisher, for whom else it speaks
        self.watch: Bools = np.zeros(size, np.bool_)  # the next sign of life changes something
        self.held: Bools = np.zeros(size, np.bool_)  # it is among `absences`
        self.absences: dict[int, tuple[Target, ...]] = {}
        self.series_absences: dict[int, list[int]] = {}  # the series of each that a rule wants to hear of
        self._group(rules)
        self._attach()
        self.silences = [tuple(rule for rule in each if rule.metric == DEVICE) for each in self.sets]
        most = max(map(len, self.silences))
        limits = np.zeros((most, len(self.sets)), np.int64)
        for number, silences in enumerate(self.silences):
            limits[: len(silences), number] = [rule.criterion.silence for rule in silences]
        self.stale: I64 = limits[:, self.set_of]  # by row and device; 0: there is no such rule
        self.shortest = int(limits[limits > 0].min(initial=2**62))  # no rule waits for less, ns
        self.since: I64 = np.full((most, size), now, np.int64)  # the rule holds since then

    def _group(self, rules: RuleSet) -> None:
        numbers: dict[int, int] = {}
        for unit, device in enumerate(self.devices, 1):
            holding = rules.for_device(device)  # the very same tuple for all that are alike
            number = numbers.get(id(holding))
            if number is None:
                number = numbers[id(holding)] = len(self.sets)
                self.sets.append(holding)
            self.set_of[unit] = number

    def _attach(self) -> None:
        for unit, device in enumerate(self.devices, 1):
            publisher = self._by_id.get(device.via, 0) if device.via else 0
            if publisher:
                self.voice[unit] = publisher
                self.behind.setdefault(publisher, []).append(unit)

    def __len__(self) -> int:
        return len(self.devices)

    @cached_property
    def names(self) -> U8:
        """Sites and ids of all devices, joined, as a snapshot wants them."""
        return joined((device.site, device.id) for device in self.devices)

    def find(self, site: str, device: str) -> int:
        """The device's number, if the region knows it at that site; else 0."""
        number = self._by_id.get(device, 0)
        return number if number and self.devices[number - 1].site == site else 0

    def rules(self, unit: int) -> tuple[Rule, ...]:
        """The rules that hold for a device."""
        return self.sets[int(self.set_of[unit])]

    def unknown(self, unit: int) -> bool:
        """Whether its silence says nothing about it, because its publisher is gone."""
        voice = self.voice[unit]
        return bool(voice != unit and self.gone[voice])

    def spoken_of(self, unit: int) -> int:
        """Since when its publisher speaks again; 0 for one that speaks for itself."""
        voice = self.voice[unit]
        return int(self.returned[voice]) if voice != unit else 0

    def carry(self, old: Field, now: int) -> None:
        """Take over what is known of the devices that stay. A rule that decides as before holds as long."""
        pairs = [(old.find(device.site, device.id), unit) for unit, device in enumerate(self.devices, 1)]
        stays = np.array([pair for pair in pairs if pair[0]], np.intp).reshape(-1, 2)
        before, here = stays[:, 0], stays[:, 1]
        for name in ("heard", "armed", "gone", "returned"):
            getattr(self, name)[here] = getattr(old, name)[before]
        kinds = np.stack([old.set_of[before], self.set_of[here]], axis=1)
        for was, now_is in np.unique(kinds, axis=0).tolist():
            alike = np.flatnonzero((kinds == (was, now_is)).all(axis=1))
            known = {rule.name: (row, rule) for row, rule in enumerate(old.silences[was])}
            for row, rule in enumerate(self.silences[now_is]):
                place, other = known.get(rule.name, (0, None))
                if other is not None and other.logic == rule.logic:
                    self.since[row, here[alike]] = old.since[place, before[alike]]

    def rewatch(self, unit: int) -> None:
        """Decide anew whether the next sign of life of the device changes anything."""
        self.watch[unit] = (
            not self.armed[unit]
            or self.gone[self.voice[unit]]
            or any(target.armed and target.phase not in _ANSWERED for target in self.absences.get(unit, ()))
        )

    def rewatch_behind(self, publisher: int) -> None:
        """The same, for a publisher and all behind it."""
        for unit in (publisher, *self.behind.get(publisher, ())):
            self.rewatch(unit)

    def rewatch_all(self) -> None:
        """The same, for all."""
        np.logical_or(~self.armed, self.gone[self.voice], out=self.watch)
        self.watch[0] = False
        for unit in self.absences:
            self.rewatch(unit)

    def deadlines(self, row: int, floor: int) -> I64:
        """Of each device when its silence is too long by that row's rule; never where nobody waits."""
        last: I64 = np.maximum(self.heard, self.since[row])
        np.maximum(last, floor, out=last)
        counts = self.armed & ~self.held & (self.stale[row] > 0)
        if self.behind:
            behind = self.voice != np.arange(len(self.voice))
            np.maximum(last, np.where(behind, self.returned[self.voice], 0), out=last)
            counts &= ~(behind & self.gone[self.voice])
        last += self.stale[row]
        last[~counts] = np.iinfo(np.int64).max
        return last

    def deadline(self, row: int, unit: int, floor: int) -> int | None:
        """The same of one device; None if it is not waited for."""
        stale = int(self.stale[row, unit])
        if not stale or not self.armed[unit] or self.held[unit] or self.unknown(unit):
            return None
        known = int(self.heard[unit]), int(self.since[row, unit]), floor, self.spoken_of(unit)
        return max(known) + stale
