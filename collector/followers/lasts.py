"""Of every series its newest value, in memory: what a page shows first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collector.core.bundle import BundleError
from collector.core.readings import DEVICE, F64, I32, I64, U8, Readings, SeriesKey, SeriesTable, grown
from collector.core.roster import Part, by_roster

NEVER = np.iinfo(np.int64).min
_FILLS = {
    "value": np.nan,
    "quality": 0,
    "received": 0,
    "time": NEVER,
}  # who reads goes by the time: it is last


@dataclass(frozen=True, slots=True)
class Last:
    """A series' newest value. `time` and `received` in epoch ns."""

    key: SeriesKey
    time: int
    value: float
    quality: int
    received: int


class Lasts:
    """Columns by series number. One thread writes; others may read."""

    def __init__(self, table: SeriesTable) -> None:
        self._table = table
        self.time: I64 = np.empty(0, np.int64)
        self.value: F64 = np.empty(0, np.float64)
        self.quality: U8 = np.empty(0, np.uint8)
        self.received: I64 = np.empty(0, np.int64)

    def take(self, rows: Readings) -> None:
        """Learn from rows that are each newer than what their series had, in journal order."""
        self._grow()
        self.time[rows.series] = rows.time  # of several of one series the last one stays
        self.value[rows.series] = rows.value
        self.quality[rows.series] = rows.quality
        self.received[rows.series] = rows.received

    def seed(self, series: I32, time: I64, value: F64) -> None:
        """Learn from what a store remembers."""
        self._grow()
        self.time[series], self.value[series], self.received[series] = time, value, time

    def times(self) -> I64:
        """By series its newest time (ns), NEVER for none: one for each series of the table at least."""
        self._grow()
        return self.time

    def at(self, site: str | None = None) -> list[Last]:
        """The newest values at a site, or everywhere."""
        table = self._table
        numbers = range(len(table)) if site is None else table.at_site(site)
        size = len(self.time)
        there = [number for number in numbers if number < size and self.time[number] != NEVER]
        return [last for last in map(self._last, there) if last.key.metric != DEVICE]

    def _last(self, number: int) -> Last:
        time, value = int(self.time[number]), float(self.value[number])
        return Last(
            self._table.keys[number], time, value, int(self.quality[number]), int(self.received[number])
        )

    def _grow(self) -> None:
        size = len(self._table)
        if size > len(self.time):
            for name, fill in _FILLS.items():
                setattr(self, name, grown(getattr(self, name), size, fill))

    def save(self, size: int) -> Part:
        """All of it, by the table's first `size` series."""
        columns = {name: by_roster(getattr(self, name), size, fill) for name, fill in _FILLS.items()}
        return Part({}, columns)

    @classmethod
    def load(cls, table: SeriesTable, part: Part, numbers: I32) -> Lasts:
        """What `save` gave, its series numbered so here. Raises BundleError."""
        self = cls(table)
        self._grow()
        try:
            for name in _FILLS:
                getattr(self, name)[numbers] = part.columns[name]
        except (KeyError, ValueError, IndexError) as error:
            raise BundleError(f"the newest values are damaged ({error})") from None
        return self
