"""The tiers that readings are kept in, and which of them answers a question: pure, in whole numbers of ns.

raw: every reading. minute, hour: one row per series and bucket (least, most, mean, count, last), which can be
merged with each other and with raw readings. A partition of a tier spans SPAN, numbered since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

from collector.store.base import Tier

NS = 10**9
DAY = 86_400 * NS
TIERS: tuple[Tier, ...] = ("raw", "minute", "hour")
"""In the order in which they are shed."""
WIDTH: dict[Tier, int] = {"raw": 1, "minute": 60 * NS, "hour": 3_600 * NS}
SPAN: dict[Tier, int] = {"raw": DAY, "minute": DAY, "hour": 32 * DAY}
UNIT: dict[Tier, int] = {"raw": 10**6, "minute": 60 * NS, "hour": 3_600 * NS}
"""A row's place within its partition is counted in these."""
SHARED = 32 * DAY
"""So many days share a partition of the raw and the minute tier where each of them has few rows."""
ALWAYS = -(2**63)


class Stretch(NamedTuple):
    """A stretch of time, start <= t < end (epoch ns), and the tier that tells of it."""

    tier: Tier
    start: int
    end: int


def coarsest(step: int | None) -> Tier:
    """The coarsest tier whose buckets fill those of `step` (ns; None = raw) exactly."""
    if step is None:
        return "raw"
    return next(tier for tier in reversed(TIERS) if step % WIDTH[tier] == 0)


def plan(start: int, end: int, step: int | None, floors: Mapping[Tier, int]) -> list[Stretch]:
    """How start <= t < end is answered, oldest first; `floors` are the times before which a tier was shed.

    The middle comes from the coarsest tier that fits, what is left at both ends from finer ones. Where the
    fitting tier was shed the next coarser one stands in, its rows dated by their buckets' starts.
    """
    pieces: list[Stretch] = []
    for segment in _split(coarsest(step), start, end):
        for piece in _standing(segment, floors):
            if pieces and (pieces[-1].tier, pieces[-1].end) == (piece.tier, piece.start):
                pieces[-1] = Stretch(piece.tier, pieces[-1].start, piece.end)
            else:
                pieces.append(piece)
    return pieces


def _split(tier: Tier, start: int, end: int) -> Iterator[Stretch]:
    if start >= end:
        return
    if tier == "raw":
        yield Stretch(tier, start, end)
        return
    finer, width = TIERS[TIERS.index(tier) - 1], WIDTH[tier]
    first, last = -(-start // width) * width, end // width * width
    if first >= last:
        yield from _split(finer, start, end)
        return
    yield from _split(finer, start, first)
    yield Stretch(tier, first, last)
    yield from _split(finer, last, end)


def _standing(segment: Stretch, floors: Mapping[Tier, int]) -> Iterator[Stretch]:
    """The segment, by tiers that are still there."""
    cuts = sorted(
        {segment.start, segment.end, *(f for f in floors.values() if segment.start < f < segment.end)}
    )
    at = TIERS.index(segment.tier)
    order = (*TIERS[at:], *reversed(TIERS[:at]))
    for start, end in pairwise(cuts):
        tier = next((tier for tier in order if floors.get(tier, ALWAYS) <= start), None)
        if tier is not None:
            yield Stretch(tier, start, end)
