"""What a store consists of at one moment: the tables of hot rows, the cold parts, and what was shed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from collector.store.base import Tier
from collector.store.tiers import ALWAYS, DAY, SHARED, SPAN, UNIT

Key = tuple[Tier, bool, int]
"""Tier, shared, number: what makes a partition."""


@dataclass(frozen=True, slots=True)
class Partition:
    """A tier's stretch of time. `shared`: one of SHARED ns, for the days in it that have few rows each."""

    tier: Tier
    shared: bool
    number: int  # of its span, since the epoch

    @property
    def key(self) -> Key:
        """What it is called by in a layout."""
        return self.tier, self.shared, self.number

    @property
    def span(self) -> int:
        """How long it is, ns."""
        return SHARED if self.shared else SPAN[self.tier]

    @property
    def start(self) -> int:
        """Where it begins, epoch ns."""
        return self.number * self.span

    @property
    def end(self) -> int:
        """Where it ends, epoch ns; the end is not part of it."""
        return self.start + self.span

    @property
    def places(self) -> int:
        """Places of one series in it. A row's `place` is series · places + place: one rising column."""
        return self.span // UNIT[self.tier]


@dataclass(frozen=True, slots=True)
class PartFile(Partition):
    """A closed partition: one immutable file. The fields are a row of the manifest."""

    generation: int
    rows: int
    readings: int  # how many readings the rows tell of
    bytes: int
    oldest: int  # epoch ns
    newest: int

    @property
    def file(self) -> str:
        """The file's name in the folder of parts."""
        return f"{self.tier}-{'shared-' * self.shared}{self.number}-{self.generation}.duckdb"

    @property
    def name(self) -> str:
        """The name it is attached by."""
        return f"{self.tier}_{'s' * self.shared}{self.number}_{self.generation}".replace("-", "m")


class HotTable(NamedTuple):
    """A table of the main file with rows of so many UTC days, in no order. The same days may have several.

    Without days it is a table of the past: of all days that have no table of their own.
    """

    first: int  # day since the epoch
    days: int
    number: int

    @property
    def name(self) -> str:
        """The table's name, quoted."""
        return f'"hot_{self.first}_{self.days}_{self.number}"'

    @staticmethod
    def named(name: str) -> HotTable:
        """The table of that (unquoted) name."""
        _, first, days, number = name.split("_")
        return HotTable(int(first), int(days), int(number))

    def meets(self, start: int, end: int) -> bool:
        """Whether it may have rows with start <= time < end (epoch ns)."""
        return not self.days or (self.first * DAY < end and (self.first + self.days) * DAY > start)


@dataclass(frozen=True)
class Layout:
    """One state, never changed: a change makes the next one. `floors`: before these a tier was shed."""

    version: int = 0
    hot: tuple[HotTable, ...] = ()  # in order of time
    parts: dict[Key, PartFile] = field(default_factory=dict)
    floors: dict[Tier, int] = field(default_factory=dict)

    def floor(self, tier: Tier) -> int:
        """Nothing of the tier from before this (epoch ns) is shown any more."""
        return self.floors.get(tier, ALWAYS)

    def past(self) -> list[HotTable]:
        """The tables of the days that have none of their own."""
        return [table for table in self.hot if not table.days]

    def hot_in(self, start: int, end: int) -> list[HotTable]:
        """The tables that may have rows with start <= time < end, oldest day first."""
        return [table for table in self.hot if table.meets(start, end)]

    def parts_in(self, tier: Tier, start: int, end: int) -> list[PartFile]:
        """The tier's parts that may have rows with start <= time < end, oldest first."""
        found = [
            part
            for part in self.parts.values()
            if part.tier == tier and part.start < end and part.end > start
        ]
        return sorted(found, key=lambda part: part.start)

    def raw_of(self, days: list[int]) -> list[PartFile]:
        """The parts with the raw readings of those days."""
        keys: Iterator[Key] = (
            key for day in days for key in (("raw", False, day), ("raw", True, day * DAY // SHARED))
        )
        return [self.parts[key] for key in dict.fromkeys(keys) if key in self.parts]
