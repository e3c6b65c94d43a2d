"""`equals`: violated at exactly one value, clear at any other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import BeforeValidator, StrictBool

from collector.alarms.kinds.criterion import NOTHING, Criterion, Interval, Judgement, Phase
from collector.alarms.kinds.kind import Complaint, Number, RuleKind, TomlTable, value_complaints
from collector.alarms.wording import figure
from collector.core.readings import F64
from devices.model import Kind, Metric


def _checked(value: object) -> object:
    if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value  # true and false are integers too
    raise ValueError(f"{value!r} is neither a number nor true or false; write equals = 1 or equals = true")


class EqualsKeys(TomlTable):
    """The key of `equals`."""

    equals: Annotated[StrictBool | Number | None, BeforeValidator(_checked)] = None


@dataclass(frozen=True, slots=True)
class Equals(Criterion):
    """The value that violates."""

    limit: float

    @property
    def terms(self) -> Mapping[str, float]:
        """The value."""
        return {"equals": self.limit}

    def reason(self, judgement: Judgement) -> str:
        """Equal or not."""
        return "equal" if judgement is Judgement.VIOLATES else "not_equal"

    def judge(self, value: float) -> Judgement:
        """What a reading says."""
        return Judgement.VIOLATES if value == self.limit else Judgement.CLEAR

    def quiet(self, phase: Phase, armed: bool, present: float | None) -> Interval:
        """The values that change nothing: only the side on which the present one lies is an interval."""
        if phase in (Phase.PENDING, Phase.ACTIVE):
            return self.limit, self.limit
        if present is None or present == self.limit:
            return NOTHING
        if present < self.limit:
            return -math.inf, math.nextafter(self.limit, -math.inf)
        return math.nextafter(self.limit, math.inf), math.inf

    def narrow(self, present: F64, low: F64, high: F64) -> None:
        """On the side of the present value nothing changes; without one, or at the limit, any value may."""
        under, over = present < self.limit, present > self.limit
        high[under] = np.minimum(high[under], math.nextafter(self.limit, -math.inf))
        low[over] = np.maximum(low[over], math.nextafter(self.limit, math.inf))
        low[~(under | over)], high[~(under | over)] = NOTHING

    def limit_text(self, boolean: bool, lang: str) -> str:
        """The value as a figure, or yes or no."""
        return figure(self.limit, boolean, lang)


def _complaints(keys: EqualsKeys, metric: Metric | None) -> Iterator[Complaint]:
    value = keys.equals
    if metric is None or value is None:
        return
    if isinstance(value, bool) and not metric.boolean:
        yield ("when", "equals"), f"{metric.name} is a number, never true or false", "give a number"
    else:
        yield from value_complaints("equals", float(value), metric, is_boolean=value in {0, 1})


def _compile(keys: EqualsKeys, kind: Kind) -> Equals:
    assert keys.equals is not None
    return Equals(float(keys.equals))


EQUALS = RuleKind("equals", EqualsKeys, _complaints, _compile)
