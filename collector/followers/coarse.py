"""Readings as a store keeps them whose times are coarser than ours.

A server may keep milliseconds only. Devices stamp in those, but a reading without a time is dated by
receipt, to the nanosecond: two of one series within a millisecond are one to such a server. There the first
journaled wins, as everywhere, and the other one is booked as a duplicate (a conflict where it differs), so
that the accounts never speak of a reading that is nowhere.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from collector.core.readings import I32, I64, Bools
from collector.ingest.dating import Dated


def coarse(dated: Dated, last: I64, resolution: int) -> Dated:
    """The batch with times rounded down to multiples of `resolution` (ns).

    `last` has by series the newest time before the batch (ns, any low number for none). `newer` then says
    which rows are newer also at that resolution.
    """
    if resolution == 1 or not len(dated.readings):
        return dated
    rows = replace(dated.readings, time=dated.readings.time // resolution * resolution)
    newer = dated.newer.copy()
    rising = np.flatnonzero(newer)
    before = np.maximum(last[rows.series[rising]], 0) // resolution * resolution  # NEVER has no multiple
    newer[rising] = _steps(rows.series[rising], rows.time[rising], before)
    return replace(dated, readings=rows, newer=newer)


def _steps(series: I32, time: I64, last: I64) -> Bools:
    """Of times that never fall within a series: which are above the one before; the first, above its last."""
    order = np.argsort(series, kind="stable")
    number, when, before = series[order], time[order], last[order]
    same = np.flatnonzero(number[1:] == number[:-1]) + 1
    before[same] = when[same - 1]
    above = np.empty(len(order), np.bool_)
    above[order] = when > before
    return above
