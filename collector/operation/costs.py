"""What each device costs on disk, from the readings that came; and who sends more than its kind's plan."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from collector.core.contract import DAY, Costs, metrics_of, readings_a_day
from collector.core.holding import DeviceCost, KindCost
from collector.core.readings import I64, SeriesTable
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
    readings = np.bincount(place[:size], counts[:size], len(places))
    heard = np.bincount(place[:size], (counts[:size] > 0).astype(float), len(places))
    times = DAY / seconds
    found = []
    for number in np.flatnonzero(readings).tolist():
        site, name = places[number]
        device = devices.get(name)
        known = device is not None and device.site == site
        kind = device.kind if known and device is not None else UNCLAIMED
        a_day = float(readings[number]) * times
        planned = readings_a_day(kind) if known else 0.0
        fair = planned * ALLOWED / times + metrics_of(kind)
        size_a_day = _bytes(a_day, float(heard[number]), costs)
        found.append(
            DeviceCost(site, name, kind, a_day, size_a_day, planned, known and readings[number] > fair)
        )
    dearest = heapq.nlargest(most, found, key=lambda each: (each.over, each.bytes))
    return Bill(_kinds(found), tuple(dearest), sum(each.over for each in found))


def _bytes(readings: float, series: float, costs: Costs) -> float:
    """Bytes a day at rest: compacted raw readings and the roll-ups' rows."""
    each = readings / series if series else 0.0
    return readings * costs.cold + series * (min(1440.0, each) * costs.minute + min(24.0, each) * costs.hour)


def _kinds(found: list[DeviceCost]) -> tuple[KindCost, ...]:
    by_kind: dict[str, list[DeviceCost]] = defaultdict(list)
    for each in found:
        by_kind[each.kind].append(each)
    rows = [
        KindCost(
            kind,
            len(those),
            sum(each.readings for each in those),
            sum(each.bytes for each in those),
            sum(each.planned for each in those),
            sum(each.over for each in those),
        )
        for kind, those in by_kind.items()
    ]
    return tuple(sorted(rows, key=lambda row: -row.bytes))
