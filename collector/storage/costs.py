"""What each device costs on disk, from the readings that came; and who sends more than its kind's plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from collector.core.readings import F64, I64, SeriesTable
from collector.storage.contract import DAY, Costs, metrics_of, readings_a_day
from collector.storage.holding import DeviceCost, KindCost
from devices.catalogue import KINDS
from devices.model import Device

ALLOWED = 1.5
"""So many times its kind's planned rate a device may send."""
UNCLAIMED = "unclaimed"
"""The kind under which devices go that the region does not know."""


@dataclass(frozen=True, slots=True)
class Bill:
    """The costs by kind, the dearest devices, and how many devices are over their kind's plan."""

    kinds: tuple[KindCost, ...] = ()
    devices: tuple[DeviceCost, ...] = ()
    over: int = 0


def bill(
    table: SeriesTable, counts: I64, seconds: float, devices: Mapping[str, Device], costs: Costs, most: int
) -> Bill:
    """What the readings of so many seconds come to in a day; at most `most` devices, those over first."""
    place, _ = table.columns()
    places, _ = table.names()
    size = min(len(place), len(counts))
    came: F64 = np.bincount(place[:size], counts[:size], len(places)).astype(np.float64)
    series: F64 = np.bincount(place[:size], counts[:size] > 0, len(places)).astype(np.float64)
    heard = np.flatnonzero(came)
    kinds = [*KINDS, UNCLAIMED]
    number = {kind: n for n, kind in enumerate(kinds)}
    kind = np.array(
        [number.get(_kind(places[each], devices), number[UNCLAIMED]) for each in heard.tolist()], np.intp
    )
    planned = np.array([*(readings_a_day(kind) for kind in KINDS), 0.0])[kind]
    spare = np.array([*map(metrics_of, KINDS), 0])[kind]  # a message more or less
    times = DAY / seconds
    over = (kind < len(KINDS)) & (came[heard] > planned * ALLOWED / times + spare)
    readings = came[heard] * times
    size_a_day = _bytes(readings, series[heard], costs)
    columns = np.stack([np.ones(len(heard)), readings, size_a_day, planned, over])
    sums = np.stack([np.bincount(kind, column, len(kinds)) for column in columns], axis=1)
    found = [
        KindCost(name, int(count), each, byte, plan, int(above))
        for name, (count, each, byte, plan, above) in zip(kinds, sums.tolist(), strict=True)
        if count
    ]
    dearest = [
        DeviceCost(
            places[heard[row]][0],
            places[heard[row]][1],
            kinds[kind[row]],
            float(readings[row]),
            float(size_a_day[row]),
            float(planned[row]),
            bool(over[row]),
        )
        for row in np.lexsort((-size_a_day, ~over))[:most].tolist()
    ]
    return Bill(tuple(sorted(found, key=lambda row: -row.bytes)), tuple(dearest), int(over.sum()))


def _kind(place: tuple[str, str], devices: Mapping[str, Device]) -> str:
    site, name = place
    device = devices.get(name)
    return device.kind if device is not None and device.site == site else UNCLAIMED


def _bytes(readings: F64, series: F64, costs: Costs) -> F64:
    """Bytes a day at rest: compacted raw readings and the roll-ups' rows."""
    each = readings / series
    rows = np.minimum(1440.0, each) * costs.minute + np.minimum(24.0, each) * costs.hour
    return readings * costs.cold + series * rows
