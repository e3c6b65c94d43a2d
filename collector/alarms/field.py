"""The devices as alarming sees them: when each was last heard, and through whom it speaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from collector.alarms.lifecycle import Phase, Target
from collector.alarms.ruleset import Rule, RuleSet
from collector.core.readings import I64
from devices.model import Device
from devices.region import Region

_ANSWERED = frozenset({Phase.NORMAL, Phase.CLEARING})


@dataclass(slots=True, eq=False)
class Unit:
    """A device of the region, and whether its publisher can be heard. Times in epoch ns, 0 = never."""

    number: int
    device: Device
    rules: tuple[Rule, ...]
    publisher: Unit | None = None  # None: it speaks for itself
    behind: list[Unit] = field(default_factory=list)
    absences: list[Target] = field(default_factory=list)  # of the device itself
    series_absences: list[Target] = field(default_factory=list)  # of its metrics
    armed: bool = False  # a first reading came: from now on silence means something
    gone: bool = False  # as a publisher: those behind it are unknown
    returned: int = 0  # as a publisher: when it last came back

    @property
    def voice(self) -> Unit:
        """Whoever speaks for it, itself included."""
        return self.publisher or self

    @property
    def unknown(self) -> bool:
        """Whether its silence says nothing about it, because its publisher is gone."""
        return self.publisher is not None and self.publisher.gone

    def silences(self) -> Iterator[Target]:
        """All its targets that watch for silence."""
        yield from self.absences
        yield from self.series_absences


class Field:
    """All devices of a region, numbered from 1; 0 stands for a device that the region does not know."""

    def __init__(self, region: Region, rules: RuleSet) -> None:
        devices = list(region.devices.values())
        self.units = [Unit(n, device, rules.for_device(device)) for n, device in enumerate(devices, 1)]
        self.heard: I64 = np.zeros(len(devices) + 1, np.int64)
        self.watch: npt.NDArray[np.bool_] = np.ones(len(devices) + 1, np.bool_)
        self.watch[0] = False
        self._by_id = {unit.device.id: unit for unit in self.units}
        for unit in self.units:
            if unit.device.via in self._by_id:
                unit.publisher = self._by_id[unit.device.via]
                unit.publisher.behind.append(unit)

    def find(self, site: str, device: str) -> Unit | None:
        """The device, if the region knows it at that site."""
        unit = self._by_id.get(device)
        return unit if unit and unit.device.site == site else None

    def unit(self, number: int) -> Unit:
        """The device of a number from 1 on."""
        return self.units[number - 1]

    def carry(self, old: Field) -> None:
        """Take over what is known of the devices that stay."""
        for unit in self.units:
            before = old.find(unit.device.site, unit.device.id)
            if before is not None:
                unit.armed, unit.gone, unit.returned = before.armed, before.gone, before.returned
                self.heard[unit.number] = old.heard[before.number]

    def rewatch(self, unit: Unit) -> None:
        """Decide anew whether the next sign of life of the device changes anything."""
        self.watch[unit.number] = (
            not unit.armed
            or unit.voice.gone
            or any(target.armed and target.phase not in _ANSWERED for target in unit.absences)
        )

    def rewatch_behind(self, publisher: Unit) -> None:
        """The same, for a publisher and all behind it."""
        for unit in (publisher, *publisher.behind):
            self.rewatch(unit)
