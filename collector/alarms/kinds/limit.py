"""`above` and `below`: violated strictly beyond a limit, clear strictly behind a clear limit.

Without clear_below or clear_above the clear limit is the limit's neighbour: not violating is enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

import numpy as np

from collector.alarms.kinds.criterion import NOTHING, Criterion, Interval, Judgement, Phase
from collector.alarms.kinds.kind import Complaint, Number, RuleKind, TomlTable, value_complaints
from collector.alarms.wording import figure
from collector.core.readings import F64
from devices.model import Kind, Metric

Side = Literal[1, -1]
"""Where a value violates: 1 above the limit, -1 below it."""


class AboveKeys(TomlTable):
    """The keys of `above`."""

    above: Number | None = None
    clear_below: Number | None = None


class BelowKeys(TomlTable):
    """The keys of `below`."""

    below: Number | None = None
    clear_above: Number | None = None


@dataclass(frozen=True)
class Limit(Criterion):
    """A limit, and the clear limit on its other side."""

    limit: float
    clear: float
    side: Side

    @cached_property
    def terms(self) -> Mapping[str, float]:
        """The limit and the clear limit."""
        above, below = ("above", "clear_below"), ("below", "clear_above")
        return dict(zip(above if self.side > 0 else below, (self.limit, self.clear), strict=True))

    def reason(self, judgement: Judgement) -> str:
        """On which side of which limit."""
        if judgement is Judgement.VIOLATES:
            return "above_limit" if self.side > 0 else "below_limit"
        return "within_limit" if judgement is Judgement.BETWEEN else "clear"

    def judge(self, value: float) -> Judgement:
        """What a reading says."""
        if self.side > 0:
            violates, clear = value > self.limit, value < self.clear
        else:
            violates, clear = value < self.limit, value > self.clear
        return Judgement.VIOLATES if violates else Judgement.CLEAR if clear else Judgement.BETWEEN

    def quiet(self, phase: Phase, armed: bool, present: float | None) -> Interval:
        """The values that change nothing."""
        return self._quiet[phase]

    @cached_property
    def _quiet(self) -> tuple[Interval, ...]:
        """By phase, worked out once: a storm asks for it at every step."""
        limit, clear = self.limit * self.side, self.clear * self.side
        above = (
            (-math.inf, limit),  # NORMAL
            (math.nextafter(limit, math.inf), math.inf),  # PENDING
            NOTHING,  # RESTART
            (clear, math.inf),  # ACTIVE
            (-math.inf, math.nextafter(clear, -math.inf)),  # CLEARING
        )
        return above if self.side > 0 else tuple((-high, -low) for low, high in above)

    def narrow(self, present: F64, low: F64, high: F64) -> None:
        """Up to the limit nothing changes."""
        if self.side > 0:
            np.minimum(high, self.limit, out=high)
        else:
            np.maximum(low, self.limit, out=low)

    def limit_text(self, boolean: bool, lang: str) -> str:
        """The limit as a figure."""
        return figure(self.limit, boolean, lang)


def _compile(name: str, clear_key: str, side: Side, keys: TomlTable, kind: Kind) -> Limit:
    limit, clear = getattr(keys, name), getattr(keys, clear_key)
    return Limit(limit, math.nextafter(limit, side * math.inf) if clear is None else clear, side)


def _complaints(
    name: str, clear_key: str, side: Side, keys: TomlTable, metric: Metric | None
) -> Iterator[Complaint]:
    limit, clear = getattr(keys, name), getattr(keys, clear_key)
    if clear is not None and clear * side > limit * side:
        wrong = f"{clear_key} = {clear:g} is on the wrong side of {name} = {limit:g}"
        yield ("when", clear_key), wrong, f"it must be {'at most' if side > 0 else 'at least'} {limit:g}"
    if metric is not None:
        yield from value_complaints(name, limit, metric)


def _kind(name: str, keys: type[TomlTable], clear_key: str, side: Side) -> RuleKind[TomlTable]:
    complaints = partial(_complaints, name, clear_key, side)
    return RuleKind(name, keys, complaints, partial(_compile, name, clear_key, side), clear_key)


ABOVE = _kind("above", AboveKeys, "clear_below", 1)
BELOW = _kind("below", BelowKeys, "clear_above", -1)
