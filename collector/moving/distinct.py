"""Readings of one store as another one can keep them: coarser times, and of each series one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from collector.core.readings import Readings


def distinct(pieces: Iterable[Readings], resolution: int) -> Iterator[tuple[Readings, int]]:
    """The pieces again, their times multiples of `resolution` (ns), each series once at each time.

    Of several the one received first stays: the first journaled wins. With each piece comes a time (epoch
    ns): all readings from before it have been given, and none from it on. `pieces` follow each other in time.
    """
    held = Readings.concat([])
    for piece in pieces:
        if not len(piece):
            continue
        rows = Readings.concat([held, replace(piece, time=piece.time // resolution * resolution)])
        newest = int(rows.time.max())
        ready = rows.time < newest
        held = rows.take(~ready)
        if ready.any():
            yield _once(rows.take(ready)), newest
    if len(held):
        yield _once(held), int(held.time[0]) + resolution


def _once(rows: Readings) -> Readings:
    order = np.lexsort((rows.received, rows.series, rows.time))
    series, time = rows.series[order], rows.time[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (series[1:] != series[:-1]) | (time[1:] != time[:-1])
    return rows.take(order[first])
