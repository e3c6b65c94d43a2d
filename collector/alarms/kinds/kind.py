"""What a kind of rule is in a rule file: its keys, what can be wrong with them, the criterion they make."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from collector.alarms.kinds.criterion import Criterion
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


class TomlTable(BaseModel):
    """A table of a rule file: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)


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


def value_complaints(key: str, limit: float, metric: Metric, is_boolean: bool = False) -> Iterator[Complaint]:
    """What is wrong with a limit on a metric. `is_boolean`: it may be compared with true and false."""
    low, high = metric.low, metric.high
    if metric.boolean and not is_boolean:
        yield ("when", key), f"{metric.name} is true or false", "use equals = true or equals = false"
    elif (low is not None and limit < low) or (high is not None and limit > high):
        span = f"{'-∞' if low is None else f'{low:g}'}…{'∞' if high is None else f'{high:g}'} {metric.unit}"
        yield ("when", key), f"{key} = {limit:g} is beyond what {metric.name} can say", span.strip()


def no_complaints(keys: TomlTable, metric: Metric | None) -> Iterator[Complaint]:
    """Of a kind with which nothing can be wrong that its keys' types do not say."""
    yield from ()
