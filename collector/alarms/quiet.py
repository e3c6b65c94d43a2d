"""The values that change nothing: what lets a whole batch be passed over with two comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from collector.alarms.kinds.kind import EVERYTHING, NOTHING, Interval, Phase
from collector.alarms.lifecycle import Target
from collector.alarms.rules.ruleset import Rule
from collector.core.readings import F64


def quiet(targets: Iterable[Target], present: float | None) -> Interval:
    """The values that change nothing in any target of one series; `present` is its value now, if known."""
    low, high = EVERYTHING
    for target in targets:
        at, to = _one(target, present)
        low, high = max(low, at), min(high, to)
    return low, high


def calm(rules: Sequence[Rule], present: F64) -> tuple[F64, F64]:
    """The same for many series under the same rules with targets as new ones; a NaN is no value yet."""
    low, high = (np.full(len(present), end) for end in EVERYTHING)
    for rule in rules:
        rule.criterion.narrow(present, low, high)
    return low, high


def _one(target: Target, present: float | None) -> Interval:
    if target.phase is Phase.RESTART:
        return NOTHING
    return target.rule.criterion.quiet(target.phase, target.armed, present)
