"""A simulation of the ring region for tests: faults in, what the outside saw out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from devices.catalogue import KINDS
from devices.model import Command
from devices.region import Region, load, read_folder
from simulators.publisher import Item
from simulators.scenario import Scenario, parse
from simulators.simulation import Simulation
from simulators.truth import Broken

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "deploy" / "padang-pariaman"
MONDAY = datetime(2026, 1, 12, 1, 0, tzinfo=UTC)
"""08:00 in the region: everybody is at work."""
HOUR, DAY = 3600.0, 86_400.0
WHOLE_RING = ("fo-9901012001-odp", "fo-9901012002-jc-01")
"""Cut both, and of the whole region only the site Hulu still hears the centre over fibre."""


@cache
def ring() -> Region:
    """The small region with two rings of fibre, without rules."""
    return load(read_folder(ROOT / "tests" / "regions" / "ring"))


@cache
def regency() -> Region:
    """The shipped region."""
    return load(read_folder(SHIPPED))


def toml(*faults: Mapping[str, object], duration: str = "30d", **head: object) -> bytes:
    """A scenario's file. `lasts` stands for the key `for`, which is a word of Python's own."""
    lines = ['name = "test"', f'duration = "{duration}"', *_pairs(head)]
    for fault in faults:
        lines += ["", "[[fault]]", *_pairs(fault)]
    return "\n".join(lines).encode()


def _pairs(table: Mapping[str, object]) -> list[str]:
    return [f"{'for' if key == 'lasts' else key} = {_value(value)}" for key, value in table.items()]


def _value(value: object) -> str:
    return f"{{ {', '.join(_pairs(value))} }}" if isinstance(value, dict) else json.dumps(value)


class Story:
    """What happens under these faults. Times are seconds from the start."""

    def __init__(
        self,
        *faults: Mapping[str, object],
        region: Region | None = None,
        seed: int = 1,
        start: datetime = MONDAY,
        habits: float = 0.0,
        every: float | Mapping[str, float] | None = None,
        skip: Iterable[str] = (),
        duration: str = "30d",
    ) -> None:
        self.region = region or ring()
        rhythm = dict.fromkeys(KINDS, every) if isinstance(every, int | float) else every or {}
        plan = parse(toml(*faults, duration=duration), self.region)
        self.scenario: Scenario = replace(plan, start=start, switched_off=habits, every=rhythm)
        self.sim = Simulation(self.region, self.scenario, seed=seed, skip=skip)
        self.items: list[Item] = []

    def play(self, until: float) -> Story:
        """Go on to that second."""
        self.items += self.sim.until(round(until * 1000))
        return self

    def sent(self, device: str, suffix: str = "tele") -> list[tuple[float, bytes]]:
        """What was published on a device's topic: (second, payload)."""
        end = f"/{device}/{suffix}"
        return [(item.at / 1000, item.payload) for item in self.items if item.topic.endswith(end)]

    def tele(self, device: str, begin: float = 0.0, end: float = 1e9) -> list[tuple[float, dict[str, Any]]]:
        """A device's readings that the broker got in that time: (second, payload)."""
        return [(at, json.loads(payload)) for at, payload in self.sent(device) if begin <= at < end]

    def values(self, device: str, metric: str, begin: float = 0.0, end: float = 1e9) -> list[Any]:
        """One metric of those readings."""
        found = [payload["values"] for _, payload in self.tele(device, begin, end)]
        return [values[metric] for values in found if metric in values]

    def states(self, publisher: str) -> list[tuple[float, str]]:
        """What its retained state said, and when."""
        return [(at, payload.decode()) for at, payload in self.sent(publisher, "state")]

    def obey(self, device: str, name: str, **args: object) -> str:
        """Give a command now."""
        return self.sim.obey(device, Command("c1", name, args, 0))

    @property
    def broken(self) -> list[Broken]:
        """What the scenario broke."""
        return [record for record in self.sim.truth.broken if not record.ambient]

    def outages(self, site: str) -> list[tuple[str, float, float | None]]:
        """A site's times without fibre: (lte or down, from, until)."""
        return [(each.state, each.at, each.until) for each in self.sim.truth.outages if each.site == site]
