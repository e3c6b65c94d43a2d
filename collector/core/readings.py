"""Readings in columns, and the table that numbers the series."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

NONE = -1
WIDE = 64
"""A device with so many series has a table of its own to find them by."""
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
    """Numbers series densely from 0, in the order first seen, and never anew. Safe across threads.

    Of a series it keeps three integers, no object: the device, the metric, and the device's series before
    it. A nation's millions of series cost little so, and the garbage collector never walks over them.
    """

    def __init__(self) -> None:
        self.keys: Sequence[SeriesKey] = _Keys(self)
        self._lock = threading.Lock()
        self._places: list[tuple[str, str]] = []
        self._place_ids: dict[tuple[str, str], int] = {}
        self._text = bytearray()  # the places once more, as a snapshot wants them
        self._metrics: list[str] = []
        self._metric_ids: dict[str, int] = {}
        self._sites: dict[str, list[int]] = {}  # the places at each
        self._newest = array("i")  # of each place, its newest series; NONE
        self._count = array("i")  # of each place, how many series it has
        self._place = array("i")  # of each series
        self._metric = array("i")
        self._before = array("i")  # the same place's series before it; NONE
        self._wide: dict[int, dict[int, int]] = {}  # place -> metric -> series, where there are very many

    def __len__(self) -> int:
        return len(self._before)

    def find(self, key: SeriesKey) -> int | None:
        """The series' number, or None if it was never seen."""
        site, device, metric = key
        place, name = self._place_ids.get((site, device)), self._metric_ids.get(metric)
        return None if place is None or name is None else self._find(place, name)

    def number(self, key: SeriesKey) -> int:
        """The series' number, given now if it is new."""
        found = self.find(key)
        if found is not None:
            return found
        with self._lock:
            return self._number(self._place_of(key.site, key.device), self._metric_of(key.metric))

    def numbers(
        self, places: Sequence[tuple[str, str]], metrics: Sequence[str], place: I32, metric: I32
    ) -> I32:
        """The numbers of many series at once: series i is `metrics[metric[i]]` of `places[place[i]]`.

        A place is (site, device).
        """
        with self._lock:
            place_ids = np.array([self._place_of(site, device) for site, device in places], np.int32)
            metric_ids = np.array([self._metric_of(name) for name in metrics], np.int32)
            pairs = zip(place_ids[place].tolist(), metric_ids[metric].tolist(), strict=True)
            return np.fromiter((self._number(*pair) for pair in pairs), np.int32, len(place))

    def siblings(self, number: int, metrics: Sequence[str]) -> Sequence[int]:
        """The numbers of metrics, all different, of the device that a series is of; given now to new ones."""
        with self._lock:
            place = self._place[number]
            wanted = [self._metric_of(metric) for metric in metrics]
            few = 0 < len(wanted) < WIDE - 1
            if few and self._count[place] == 1 and self._metric[number] not in wanted:
                return self._append(place, wanted)
            return [self._number(place, metric) for metric in wanted]

    def place(self, number: int) -> tuple[str, str]:
        """Site and device of a series."""
        return self._places[self._place[number]]

    def names_of(self, numbers: I32) -> tuple[list[str], list[str], list[str]]:
        """The sites, devices and metrics of series, in columns."""
        with self._lock:
            places = [self._places[self._place[number]] for number in numbers.tolist()]
            metrics = [self._metrics[self._metric[number]] for number in numbers.tolist()]
        return [site for site, _ in places], [device for _, device in places], metrics

    def names(self, start: int = 0) -> tuple[list[tuple[str, str]], list[str]]:
        """The places from `start` on, and all metrics, that `columns` speaks of. A copy."""
        with self._lock:
            return self._places[start:], self._metrics.copy()

    def columns(self, start: int = 0) -> tuple[I32, I32]:
        """Of each series from `start` on: its place and its metric, as indices into `names`. A copy."""
        with self._lock:
            return np.array(self._place[start:], np.int32), np.array(self._metric[start:], np.int32)

    def text(self) -> U8:
        """All places in one piece: a line for each, site and device parted by a blank. A copy."""
        with self._lock:
            return np.frombuffer(bytes(self._text[:-1]), np.uint8)

    def at_site(self, site: str) -> list[int]:
        """The numbers of the series at a site, rising."""
        with self._lock:
            places = list(self._sites.get(site, ()))
        return sorted(number for place in places for number in self._of(place))

    def at_device(self, site: str, device: str) -> list[int]:
        """The numbers of a device's series, rising; none if it was never heard of."""
        with self._lock:
            place = self._place_ids.get((site, device))
            return [] if place is None else sorted(self._of(place))

    def of_metric(self, metric: str) -> I32:
        """The numbers of the series of one metric, rising."""
        with self._lock:
            wanted = self._metric_ids.get(metric, NONE)
            return np.flatnonzero(np.array(self._metric, np.int32) == wanted).astype(np.int32)

    def _of(self, place: int) -> Iterator[int]:
        number = self._newest[place]
        while number != NONE:
            yield number
            number = self._before[number]

    def _find(self, place: int, metric: int) -> int | None:
        if place in self._wide:
            return self._wide[place].get(metric)
        metrics, before, number = self._metric, self._before, self._newest[place]
        while number != NONE and metrics[number] != metric:
            number = before[number]
        return None if number == NONE else number

    def _place_of(self, site: str, device: str) -> int:
        found = self._place_ids.get((site, device))
        if found is None:
            found = len(self._places)
            self._places.append((site, device))
            self._text += f"{site} {device}\n".encode()
            self._newest.append(NONE)
            self._count.append(0)
            self._sites.setdefault(site, []).append(found)
            self._place_ids[site, device] = found
        return found

    def _metric_of(self, metric: str) -> int:
        found = self._metric_ids.get(metric)
        if found is None:
            found = len(self._metrics)
            self._metrics.append(metric)
            self._metric_ids[metric] = found
        return found

    def _number(self, place: int, metric: int) -> int:
        found = self._find(place, metric)
        if found is not None:
            return found
        number = len(self._before)
        self._place.append(place)
        self._metric.append(metric)
        self._before.append(self._newest[place])  # its length is the table's: last of the columns
        self._newest[place] = number
        self._count[place] += 1
        if self._count[place] >= WIDE:
            self._widen(place, metric, number)
        return number

    def _append(self, place: int, metrics: list[int]) -> range:
        """Number a device's metrics that are all new, in a row."""
        first, count = len(self._before), len(metrics)
        row = range(first, first + count)
        self._place.extend([place] * count)
        self._metric.extend(metrics)
        self._before.extend([self._newest[place], *row[:-1]])
        self._newest[place] = row[-1]
        self._count[place] += count
        return row

    def _widen(self, place: int, metric: int, number: int) -> None:
        """Keep a place with very many series findable: whoever invents metrics must not make us search."""
        if place in self._wide:
            self._wide[place][metric] = number
        else:
            self._wide[place] = {self._metric[each]: each for each in self._of(place)}


class _Keys(Sequence[SeriesKey]):
    """The table's keys by number, each made when it is asked for."""

    def __init__(self, table: SeriesTable) -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, index: int) -> SeriesKey: ...
    @overload
    def __getitem__(self, index: slice) -> list[SeriesKey]: ...
    def __getitem__(self, index: int | slice) -> SeriesKey | list[SeriesKey]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        table, size = self._table, len(self)
        if not -size <= index < size:
            raise IndexError(index)
        number = index % size
        site, device = table._places[table._place[number]]
        return SeriesKey(site, device, table._metrics[table._metric[number]])


def grown(column: npt.NDArray[np.generic], size: int, fill: object) -> npt.NDArray[np.generic]:
    """The column with room for `size` entries (a quarter to spare), new places filled with `fill`."""
    if size <= len(column):
        return column
    wider = np.full(max(size + size // 4, 64), fill, column.dtype)
    wider[: len(column)] = column
    return wider
