"""What every kind of rule has: its keys in a rule file, what can be wrong with them, and its criterion."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any, Generic, TypeVar

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from collector.core.readings import F64
from devices.duration import seconds
from devices.model import Kind, Metric

Complaint = tuple[tuple[str, ...], str, str]
"""The path of the key in its table, what is wrong, and the mend."""

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Duration = Annotated[float, BeforeValidator(seconds, json_schema_input_type=Any), Field(ge=0)]
"""Seconds, written as a number or like "90s"."""

_NUMBER, _UNIT = r"\d+(\.\d+)?", "(ms|s|m|h|d|y)"
DURATION_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "pattern": rf"^{_NUMBER}(\s*{_UNIT}(\s*{_NUMBER}{_UNIT})*)?$"},
        {"type": "number", "minimum": 0},
    ]
}
"""A duration in the JSON Schema."""

Interval = tuple[float, float]
"""Values from the first to the second, both included."""

EVERYTHING: Interval = (-np.inf, np.inf)
NOTHING: Interval = (np.inf, -np.inf)


class TomlTable(BaseModel):
    """A table of a rule file: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)


class Phase(IntEnum):
    """Where an alarm stands."""

    NORMAL = 0
    PENDING = 1  # violated, waiting for `for`
    RESTART = 2  # pending, but we could not listen: `for` starts again at the next reading
    ACTIVE = 3
    CLEARING = 4  # active and clear, waiting for `keep`


class Judgement(IntEnum):
    """What a reading says: beyond the limit, back behind the clear limit, or neither."""

    VIOLATES = 0
    BETWEEN = 1
    CLEAR = 2


class Criterion(ABC):
    """What a rule decides by, for one kind of device. Equal ones may carry each other's state on."""

    __slots__ = ()

    silence: int = 0
    """ns without a reading that violate; 0: readings decide by their values."""

    @abstractmethod
    def judge(self, value: float) -> Judgement:
        """What a reading says."""

    @abstractmethod
    def quiet(self, phase: Phase, armed: bool, present: float | None) -> Interval:
        """The values that change nothing in one alarm of that phase, never RESTART.

        `armed`: something was heard of it. `present`: its series' newest value, None if there is none.
        """

    @abstractmethod
    def narrow(self, present: F64, low: F64, high: F64) -> None:
        """Narrow the intervals `low`..`high` of many series to the values that change nothing in new alarms.

        The three columns are of equal length; `present` holds the newest values, NaN where there is none.
        """

    @abstractmethod
    def limit_text(self, boolean: bool, lang: str) -> str:
        """How the limit reads in a summary, in `id` or `en`. `boolean`: the metric is true or false."""


Keys = TypeVar("Keys", bound=TomlTable)


@dataclass(frozen=True, slots=True)
class RuleKind(Generic[Keys]):
    """One kind of rule. `keys` are its part of `when`; the one of the kind's own name chooses it."""

    name: str
    keys: type[Keys]
    complaints: Callable[[Keys, Metric | None], Iterator[Complaint]]
    """What is wrong with its keys. The metric is None if the rule names none, or one that nobody knows."""
    compile: Callable[[Keys, Kind], Criterion]
    """The criterion for a kind of device."""
    clear: str = ""  # the key of its clear limit
    durations: frozenset[str] = frozenset()  # those of its keys that are durations
    needs_metric: bool = True


def out_of_range(key: str, limit: float, metric: Metric) -> Iterator[Complaint]:
    """The complaint about a limit that no reading of the metric can reach."""
    low, high = metric.low, metric.high
    if (low is not None and limit < low) or (high is not None and limit > high):
        span = f"{'-∞' if low is None else f'{low:g}'}…{'∞' if high is None else f'{high:g}'} {metric.unit}"
        yield ("when", key), f"{key} = {limit:g} is beyond what {metric.name} can say", span.strip()


def wants_equals(key: str, metric: Metric) -> Complaint:
    """The complaint about a metric that is true or false and is compared as a number."""
    return ("when", key), f"{metric.name} is true or false", "use equals = true or equals = false"
