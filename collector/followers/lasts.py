"""Of every series its newest value, in memory: what a page shows first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from collector.core.bundle import pack, unpack
from collector.core.readings import DEVICE, F64, I32, I64, U8, Readings, SeriesKey, SeriesTable, grown

NEVER = np.iinfo(np.int64).min
_FORM = "nagari-lasts-1"


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
        self._sites: dict[str, list[int]] = {}
        self._indexed = 0

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

    def at(self, site: str | None = None) -> list[Last]:
        """The newest values at a site, or everywhere."""
        self._index()
        numbers = range(self._indexed) if site is None else self._sites.get(site, ())
        size = len(self.time)
        return [self._last(number) for number in numbers if number < size and self.time[number] != NEVER]

    def _last(self, number: int) -> Last:
        time, value = int(self.time[number]), float(self.value[number])
        return Last(
            self._table.keys[number], time, value, int(self.quality[number]), int(self.received[number])
        )

    def _index(self) -> None:
        keys = self._table.keys
        for number in range(self._indexed, len(keys)):
            if keys[number].metric != DEVICE:
                self._sites.setdefault(keys[number].site, []).append(number)
        self._indexed = len(keys)

    def _grow(self) -> None:
        size = len(self._table)
        if size > len(self.time):
            self.time, self.value = _wider(self.time, size, NEVER), _wider(self.value, size, np.nan)
            self.quality, self.received = _wider(self.quality, size, 0), _wider(self.received, size, 0)

    def snapshot(self) -> bytes:
        """All of it, by series' names."""
        known = np.flatnonzero(self.time != NEVER)
        head = {"series": [list(self._table.keys[number]) for number in known.tolist()]}
        columns = {name: getattr(self, name)[known] for name in ("time", "value", "quality", "received")}
        return pack(_FORM, head, columns)

    @classmethod
    def restore(cls, table: SeriesTable, data: bytes) -> Lasts:
        """What `snapshot` gave. Raises BundleError."""
        head, columns = unpack(_FORM, data)
        self = cls(table)
        numbers = np.array([table.number(SeriesKey(*key)) for key in head["series"]], np.int64)
        self._grow()
        for name, column in columns.items():
            getattr(self, name)[numbers] = column
        return self


def _wider(column: npt.NDArray[Any], size: int, fill: object) -> npt.NDArray[Any]:
    return grown(column, size, fill)
