"""The hot path: tests a stretch of readings with two comparisons, steps only through series that may move."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from collector.alarms import deadlines, silence
from collector.alarms.world import NEVER, World
from collector.core.readings import F64, I64, NOT_EVALUATED, Bools, Quality, Readings

_STRETCH = 16_384  # rows tested at once: what a deadline cuts short is tested again, so this bounds the waste
_Numbers = npt.NDArray[np.intp]


def scan(world: World, rows: Readings, offsets: I64) -> None:
    """Take in all rows, letting deadlines pass between them."""
    kept = (rows.quality & int(Quality.RETAINED)) == 0
    if not kept.all():
        rows, offsets = rows.take(kept), offsets[kept]
    world.learn()
    at = 0
    while at < len(rows):
        at = _stretch(world, rows, offsets, at)


def _stretch(world: World, rows: Readings, offsets: I64, at: int) -> int:
    """Take rows from `at` on, up to the next deadline; returns where to go on."""
    deadlines.fire(world, int(rows.received[at]), int(offsets[at]))
    end = min(at + _STRETCH, len(rows))
    deadline = deadlines.soonest(world, int(rows.received[end - 1]))
    if deadline is not None:
        end = at + int(np.searchsorted(rows.received[at:end], deadline))
    part = slice(at, end)
    quality = rows.quality[part] & NOT_EVALUATED
    return at + _test(
        world,
        rows.series[part].astype(np.intp),
        rows.value[part],
        quality == 0 if quality.any() else None,
        rows.received[part],
        offsets[part],
    )


def _test(world: World, series: _Numbers, value: F64, live: Bools | None, received: I64, offsets: I64) -> int:
    """Test rows within which no deadline known by now falls; returns how many were taken.

    `live` tells which are evaluated; None: all.
    """
    columns = world.columns
    hit = value < columns.low.take(series)
    hit |= value > columns.high.take(series)
    if live is not None:
        hit &= live
    beyond = np.flatnonzero(hit)
    met = columns.meet(series[beyond], value[beyond])
    if met is not None:
        hit[beyond[met]] = False
    units = columns.unit.take(series)
    watched = world.devices.watch.take(units)
    new = silence.newcomers(world, units, watched, received)
    hit |= watched if new is None else watched & ~new
    end = len(series)
    if hit.any():
        end = _walk(world, hit, series, value, live, received, offsets)
    if new is not None:
        silence.welcome(world, units[:end][new[:end]])
    world.devices.heard[units[:end]] = received[:end]
    _remember(world, series[:end], value[:end], received[:end], None if live is None else live[:end])
    return end


def _remember(world: World, series: _Numbers, value: F64, received: I64, live: Bools | None) -> None:
    """Keep each series' newest live value: where an index stands twice, the last one stays."""
    if live is not None:
        series, value, received = series[live], value[live], received[live]
    world.columns.last[series] = value
    if world.watching_series:
        world.columns.seen[series] = received


def _walk(
    world: World, hit: Bools, series: _Numbers, value: F64, live: Bools | None, received: I64, offsets: I64
) -> int:
    """Step through the rows of each series that was hit, up to a deadline set on the way; returns how far."""
    rows = _affected(world, hit, series)
    world.cut = NEVER
    steps = zip(
        series[rows].tolist(),
        value[rows].tolist(),
        [True] * len(rows) if live is None else live[rows].tolist(),
        received[rows].tolist(),
        offsets[rows].tolist(),
        strict=True,
    )
    for number, reading, is_live, now, offset in steps:
        if now >= world.cut:
            break
        _row(world, number, reading, is_live, now, offset)
    return len(series) if world.cut == NEVER else int(np.searchsorted(received, world.cut))


def _affected(world: World, hit: Bools, series: _Numbers) -> _Numbers:
    """Which rows to step through: once a series is hit, the test of its later rows no longer holds."""
    touched, first = world.columns.touched, series[hit]
    touched[first] = True
    rows = np.flatnonzero(touched.take(series))
    touched[first] = False
    return rows


def _row(world: World, number: int, value: float, live: bool, now: int, offset: int) -> None:
    """One reading, in full."""
    columns = world.columns
    of = int(columns.unit[number])
    if world.devices.watch[of]:
        silence.heard(world, of, now, offset, reading=True)
    if not live or columns.low[number] <= value <= columns.high[number]:
        return
    columns.last[number], columns.seen[number] = value, now
    for target in world.hold_series(number):
        criterion = target.rule.criterion
        if criterion.silence:
            target.armed = True
            silence.broken(world, target, now, offset)
        else:
            world.feed(target, criterion.judge(value), value, now, offset)
    columns.settle(number)
