"""Readings in columns, and the table that numbers the series."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import IntFlag
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

DEVICE = ""
"""The metric of a device's own series: its presence, which `absent` watches. It has no values."""


class Quality(IntFlag):
    """What is known about a reading's time and origin; 0 is a live reading of a known device."""

    LATE = 1  # older than the live window or than its series' last: stored, evaluated in its own time only
    OLD = 2  # older than 24 h: stored, never evaluated
    CLOCK = 4  # the device's clock is wrong: dated by receipt, evaluated as live
    RETAINED = 8  # a retained message: stored, never evaluated
    UNCLAIMED = 16  # the inventory does not know the device or the metric: stored, never acted on


NOT_EVALUATED = int(Quality.LATE | Quality.OLD | Quality.RETAINED | Quality.UNCLAIMED)


@dataclass(frozen=True, slots=True)
class Readings:
    """A batch of readings: five columns of equal length, in journal order."""

    series: I32  # number in the SeriesTable
    time: I64  # epoch ns: when it was measured, as far as that is believed
    value: F64  # finite
    quality: U8  # Quality flags
    received: I64  # epoch ns: the journal's stamp

    def __len__(self) -> int:
        return len(self.series)

    def take(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Readings:
        """Those rows only (a mask or indices), in the order given."""
        return Readings(
            self.series[rows], self.time[rows], self.value[rows], self.quality[rows], self.received[rows]
        )

    @staticmethod
    def concat(parts: list[Readings]) -> Readings:
        """The parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        return Readings(
            np.concatenate([p.series for p in parts]) if parts else np.empty(0, np.int32),
            np.concatenate([p.time for p in parts]) if parts else np.empty(0, np.int64),
            np.concatenate([p.value for p in parts]) if parts else np.empty(0, np.float64),
            np.concatenate([p.quality for p in parts]) if parts else np.empty(0, np.uint8),
            np.concatenate([p.received for p in parts]) if parts else np.empty(0, np.int64),
        )


class SeriesKey(NamedTuple):
    """What a series measures. The same in every process; its number is this process's own."""

    site: str
    device: str
    metric: str


class SeriesTable:
    """Numbers series densely from 0, in the order first seen, and never anew. Safe across threads."""

    def __init__(self) -> None:
        self.keys: list[SeriesKey] = []
        self._ids: dict[SeriesKey, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, key: SeriesKey) -> int | None:
        """The series' number, or None if it was never seen."""
        return self._ids.get(key)

    def number(self, key: SeriesKey) -> int:
        """The series' number, given now if it is new."""
        found = self._ids.get(key)
        if found is not None:
            return found
        with self._lock:
            found = self._ids.get(key)
            if found is None:
                found = len(self.keys)
                self.keys.append(key)
                self._ids[key] = found
            return found


def grown(column: npt.NDArray[np.generic], size: int, fill: object) -> npt.NDArray[np.generic]:
    """The column with room for `size` entries (doubling), new places filled with `fill`."""
    if size <= len(column):
        return column
    wider = np.full(max(size, 2 * len(column), 64), fill, column.dtype)
    wider[: len(column)] = column
    return wider
