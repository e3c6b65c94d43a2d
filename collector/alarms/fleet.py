"""The fleet: a region's devices by number, the rules on each, and through whom each speaks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

import numpy as np
import numpy.typing as npt

from collector.alarms.rules.ruleset import Rule
from collector.core.bundle import joined
from collector.core.readings import DEVICE, I32, I64, U8
from devices.model import Device

Indices = npt.NDArray[np.intp]


class Fleet:
    """The devices of one version of a region, numbered from 1; 0 stands for one that it does not know.

    Columns are by that number. Many devices are under the same rules: `sets` holds each combination once,
    `set_of` which of them is a device's. Of each set `silences` are the rules on a device's own silence, and
    `stale` has a row for each place in it: the silence that is too long (ns), 0 where there is no such rule.
    """

    def __init__(self, devices: Iterable[Device], rules: Callable[[Device], tuple[Rule, ...]]) -> None:
        self.devices = list(devices)
        self._by_id = {device.id: number for number, device in enumerate(self.devices, 1)}
        self.sets: list[tuple[Rule, ...]] = [()]
        self.set_of: I32 = np.zeros(len(self) + 1, np.int32)
        self._group(rules)
        self.voice: I32 = np.arange(len(self) + 1, dtype=np.int32)
        """Who speaks for each: itself, or its publisher."""
        self.behind: dict[int, list[int]] = {}
        """Of each publisher, for whom else it speaks."""
        self._attach()
        self.silences = [tuple(rule for rule in each if rule.metric == DEVICE) for each in self.sets]
        limits = np.zeros((max(map(len, self.silences)), len(self.sets)), np.int64)
        for number, silences in enumerate(self.silences):
            limits[: len(silences), number] = [rule.criterion.silence for rule in silences]
        self.stale: I64 = limits[:, self.set_of]
        self.shortest = int(limits[limits > 0].min(initial=2**62))
        """No rule on a device's silence waits for less, ns."""

    def _group(self, rules: Callable[[Device], tuple[Rule, ...]]) -> None:
        numbers: dict[int, int] = {}
        for unit, device in enumerate(self.devices, 1):
            holding = rules(device)  # the very same tuple for all that are alike
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

    def unit(self, device: str) -> int:
        """The number of a device by its id; 0 for one that is not known."""
        return self._by_id.get(device, 0)

    @cached_property
    def names(self) -> U8:
        """Sites and ids of all devices, joined, as a snapshot wants them."""
        return joined((device.site, device.id) for device in self.devices)

    def find(self, site: str, device: str) -> int:
        """The device's number, if the region knows it at that site; else 0."""
        number = self._by_id.get(device, 0)
        return number if number and self.devices[number - 1].site == site else 0

    def rules(self, unit: int) -> tuple[Rule, ...]:
        """The rules on a device and its series."""
        return self.sets[int(self.set_of[unit])]

    def own_silence(self, unit: int) -> tuple[Rule, ...]:
        """The rules on a device's own silence, a row of `stale` each."""
        return self.silences[int(self.set_of[unit])]

    def stays(self, old: Fleet) -> tuple[Indices, Indices]:
        """The numbers in the old fleet, and in this one, of the devices that are in both."""
        pairs = [(old.find(device.site, device.id), unit) for unit, device in enumerate(self.devices, 1)]
        both = np.array([pair for pair in pairs if pair[0]], np.intp).reshape(-1, 2)
        return both[:, 0], both[:, 1]

    def same_silences(self, old: Fleet, before: Indices, here: Indices) -> Iterator[tuple[int, int, Indices]]:
        """(row in the old fleet, row in this one, places in `before` and `here`).

        Of each rule on devices' own silence that decides as it did in the old fleet.
        """
        sets = np.stack([old.set_of[before], self.set_of[here]], axis=1)
        for was, now_is in np.unique(sets, axis=0).tolist():
            alike = np.flatnonzero((sets == (was, now_is)).all(axis=1))
            known = {rule.name: (row, rule) for row, rule in enumerate(old.silences[was])}
            for row, rule in enumerate(self.silences[now_is]):
                place, other = known.get(rule.name, (0, None))
                if other is not None and other.logic == rule.logic:
                    yield place, row, alike
