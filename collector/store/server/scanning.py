"""All that a server keeps, a stretch of time after the other: as long as it may be for one answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from collector.core.readings import F64, I64, U8, SeriesKey
from collector.store.server.lines import FIELD, PROBE, QUALITY, speakable
from collector.store.server.remote import Piece

MOST = 300_000
"""Readings in one piece; more are asked for in shorter stretches."""
FEW = 30_000
_ENOUGH = 20  # of one series: a shorter stretch would not be worth its question
_CALM = 4  # a stretch that was too long is gone through in so many; then they may be longer again
_HOUR = 3_600 * 10**9

ScanColumn = tuple[SeriesKey, str, I64, F64]
"""Series, field (value or quality), epoch ns rising, what the field had then."""


def pieces(ask: Callable[[int, int], Piece | None], start: int, end: int, unit: int) -> Iterator[Piece]:
    """The pieces that `ask` gives of start <= t < end (ns): None, where a stretch has too many readings.

    Stretches are multiples of `unit` (ns), and of one unit `ask` has to give all.
    """
    span, calm = _HOUR, _CALM
    while start < end:
        until = min(start + span, end)
        piece = ask(start, until)
        if piece is None:
            span, calm = max((until - start) // _CALM // unit, 1) * unit, 0
            continue
        if len(piece.time):
            yield piece
        start = until
        calm = calm + 1 if len(piece.time) < FEW else 0
        if calm >= _CALM:
            span *= _CALM


def too_many(count: int, columns: int, series: int) -> bool:
    """Whether a stretch has too many readings, of which so many columns (with `count`) have come.

    Told early from the columns so far, if there are so many series: to read on would cost seconds.
    """
    each = count / max(columns, 1)
    return count > MOST or (each > _ENOUGH and each * series > MOST)


def piece(columns: Iterable[ScanColumn]) -> Piece:
    """One piece of what was found, in order of time; what is not ours is left out."""
    values: dict[SeriesKey, list[tuple[I64, F64]]] = {}
    flags: dict[SeriesKey, list[tuple[I64, F64]]] = {}
    for key, field, when, value in columns:
        if key.metric != PROBE and speakable(key):
            (values if field == FIELD else flags).setdefault(key, []).append((when, value))
    keys = list(values)
    parts = [_joined(values[key]) for key in keys]
    quality = [_quality(when, flags.get(key)) for key, (when, _) in zip(keys, parts, strict=True)]
    which = np.repeat(np.arange(len(keys), dtype=np.int64), [len(when) for when, _ in parts])
    time = np.concatenate([np.empty(0, np.int64), *(when for when, _ in parts)])
    order = np.argsort(time, kind="stable")
    value = np.concatenate([np.empty(0), *(value for _, value in parts)])
    return Piece(
        keys,
        which[order],
        time[order],
        value[order],
        np.concatenate([np.empty(0, np.uint8), *quality])[order],
    )


def field_of(name: str) -> tuple[str, str]:
    """The metric and the field that VictoriaMetrics names so."""
    for field in (FIELD, QUALITY):
        if name.endswith("_" + field):
            return name.removesuffix("_" + field), field
    return name, FIELD


def _joined(parts: list[tuple[I64, F64]]) -> tuple[I64, F64]:
    when = np.concatenate([when for when, _ in parts])
    order = np.argsort(when, kind="stable")
    return when[order], np.concatenate([value for _, value in parts])[order]


def _quality(when: I64, flags: list[tuple[I64, F64]] | None) -> U8:
    """The flags of readings at those times; 0 where there are none."""
    quality = np.zeros(len(when), np.uint8)
    if flags is not None:
        flagged, said = _joined(flags)
        at = np.searchsorted(flagged, when)
        there = (at < len(flagged)) & (flagged[np.minimum(at, len(flagged) - 1)] == when)
        quality[there] = said[at[there]].astype(np.uint8)
    return quality
