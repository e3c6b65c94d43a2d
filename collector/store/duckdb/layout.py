"""What a store consists of at one moment: the tables of hot rows, the cold parts, and what was shed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from collector.store.base import Tier
from collector.store.tiers import DAY, SPAN


class PartFile(NamedTuple):
    """A closed partition: one immutable file. The fields are a row of the manifest."""

    tier: Tier
    number: int  # partitions since the epoch
    generation: int
    rows: int
    readings: int  # how many readings the rows tell of
    bytes: int
    oldest: int  # epoch ns
    newest: int

    @property
    def file(self) -> str:
        """The file's name in the folder of parts."""
        return f"{self.tier}-{self.number}-{self.generation}.duckdb"

    @property
    def name(self) -> str:
        """The name it is attached by."""
        return f"{self.tier}_{self.number}_{self.generation}".replace("-", "m")

    @property
    def start(self) -> int:
        """Where it begins, epoch ns."""
        return self.number * SPAN[self.tier]


class HotTable(NamedTuple):
    """A table of the main file with rows of one UTC day, in no order. A day may have several."""

    day: int  # since the epoch
    number: int

    @property
    def name(self) -> str:
        """The table's name, quoted."""
        return f'"hot_{self.day}_{self.number}"'

    @staticmethod
    def named(name: str) -> HotTable | None:
        """The table of that (unquoted) name; None if it is another one's."""
        head, _, rest = name.partition("_")
        day, _, number = rest.partition("_")
        return HotTable(int(day), int(number)) if head == "hot" and number else None


@dataclass(frozen=True)
class Layout:
    """One state, never changed: a change makes the next one. `floors`: before these a tier was shed."""

    version: int = 0
    hot: dict[int, tuple[HotTable, ...]] = field(default_factory=dict)
    parts: dict[tuple[Tier, int], PartFile] = field(default_factory=dict)
    floors: dict[Tier, int] = field(default_factory=dict)

    def hot_in(self, start: int, end: int) -> Iterator[HotTable]:
        """The tables that may have rows with start <= time < end, oldest day first."""
        for day in sorted(self.hot):
            if day * DAY < end and (day + 1) * DAY > start:
                yield from self.hot[day]

    def parts_in(self, tier: Tier, start: int, end: int) -> list[PartFile]:
        """The tier's parts that may have rows with start <= time < end, oldest first."""
        span = SPAN[tier]
        found = [
            part
            for (kind, number), part in self.parts.items()
            if kind == tier and number * span < end and (number + 1) * span > start
        ]
        return sorted(found, key=lambda part: part.number)
