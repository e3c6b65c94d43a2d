"""Of every series its newest value, in memory: what a page shows first."""

from __future__ import annotations

import threading

import numpy as np

from collector.core.bundle import BundleError
from collector.core.readings import F64, I32, I64, U8, Readings, SeriesTable, grown
from collector.core.roster import Part, by_roster

NEVER = np.iinfo(np.int64).min
_FILLS = {"value": np.nan, "quality": 0, "received": 0, "time": NEVER}  # `of` goes by the time: it grows last


class Lasts:
    """Columns by series number. One thread writes; others read by `of`, `all` and `at_site`."""

    def __init__(self, table: SeriesTable) -> None:
        self._table = table
        self._lock = threading.Lock()  # a new time is never seen beside an old value
        self.time: I64 = np.empty(0, np.int64)
        self.value: F64 = np.empty(0, np.float64)
        self.quality: U8 = np.empty(0, np.uint8)
        self.received: I64 = np.empty(0, np.int64)

    def take(self, rows: Readings) -> None:
        """Learn from rows that are each newer than what their series had, in journal order."""
        with self._lock:
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

    def of(self, series: I32) -> Readings:
        """The newest readings of these series; those that never had one are left out. From any thread."""
        with self._lock:
            known = series[series < len(self.time)]
            known = known[self.time[known] != NEVER]
            return Readings(
                known, self.time[known], self.value[known], self.quality[known], self.received[known]
            )

    def all(self) -> Readings:
        """The newest reading of every series. From any thread."""
        return self.of(np.arange(len(self._table), dtype=np.int32))

    def at_site(self, site: str) -> Readings:
        """The newest readings of a site's series. From any thread."""
        return self.of(np.array(self._table.at_site(site), np.int32))

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
