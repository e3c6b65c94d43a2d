"""The values that change nothing: what lets a whole batch be passed over with two comparisons."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from collector.alarms.lifecycle import Phase, Target
from collector.alarms.ruleset import Rule
from collector.core.readings import F64

Interval = tuple[float, float]
"""Both ends included."""

ALL: Interval = (-math.inf, math.inf)
NONE: Interval = (math.inf, -math.inf)


def quiet(targets: Iterable[Target], present: float | None) -> Interval:
    """The values that change nothing in any target of one series; `present` is its value now, if known."""
    low, high = ALL
    for target in targets:
        at, to = _one(target, present)
        low, high = max(low, at), min(high, to)
    return low, high


def calm(rules: Sequence[Rule], present: F64) -> tuple[F64, F64]:
    """The same for many series under the same rules with targets as new ones; a NaN is no value yet."""
    low, high = (np.full(len(present), end) for end in ALL)
    for rule in rules:
        if rule.test == "above":
            np.minimum(high, rule.limit, out=high)
        elif rule.test == "below":
            np.maximum(low, rule.limit, out=low)
        elif rule.test == "absent":
            low[:], high[:] = NONE
        else:
            under, over = present < rule.limit, present > rule.limit
            high[under] = np.minimum(high[under], math.nextafter(rule.limit, -math.inf))
            low[over] = np.maximum(low[over], math.nextafter(rule.limit, math.inf))
            low[~(under | over)], high[~(under | over)] = NONE
    return low, high


def _one(target: Target, present: float | None) -> Interval:
    test = target.rule.test
    if target.phase is Phase.RESTART:
        return NONE
    if test == "absent":
        # A reading matters only to a silence that is open or not yet watched.
        settled = target.armed and target.phase in {Phase.NORMAL, Phase.CLEARING}
        return ALL if settled else NONE
    if test == "equals":
        return _equals(target, present)
    return _above(target) if test == "above" else _below(target)


def _above(target: Target) -> Interval:
    limit, clear = target.rule.limit, target.rule.clear
    if target.phase is Phase.NORMAL:
        return -math.inf, limit
    if target.phase is Phase.PENDING:
        return math.nextafter(limit, math.inf), math.inf
    if target.phase is Phase.ACTIVE:
        return clear, math.inf
    return -math.inf, math.nextafter(clear, -math.inf)


def _below(target: Target) -> Interval:
    limit, clear = target.rule.limit, target.rule.clear
    if target.phase is Phase.NORMAL:
        return limit, math.inf
    if target.phase is Phase.PENDING:
        return -math.inf, math.nextafter(limit, -math.inf)
    if target.phase is Phase.ACTIVE:
        return -math.inf, clear
    return math.nextafter(clear, math.inf), math.inf


def _equals(target: Target, present: float | None) -> Interval:
    limit = target.rule.limit
    if target.phase in {Phase.PENDING, Phase.ACTIVE}:
        return limit, limit
    if present is None or present == limit:
        return NONE
    if present < limit:
        return -math.inf, math.nextafter(limit, -math.inf)
    return math.nextafter(limit, math.inf), math.inf
