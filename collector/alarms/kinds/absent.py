"""`absent`: violated by a silence that is too long, clear at any sign of life.

Without a metric it watches the device, armed by its first reading of any metric, so that planned devices are
silent. With one it watches that series' evaluated readings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from collector.alarms.kinds.criterion import EVERYTHING, NOTHING, Criterion, Interval, Judgement, Phase
from collector.alarms.kinds.kind import DURATION_SCHEMA, RuleKind, TomlTable, no_complaints
from collector.alarms.wording import span
from collector.core.readings import F64
from devices.duration import seconds
from devices.model import Kind

_NS = 1_000_000_000


def _silence(value: object) -> object:
    if value is True or value is None:
        return value
    length = 0.0 if value is False else seconds(value)
    if not length:
        said = str(value).lower()
        raise ValueError(
            f'absent = {said} says nothing; write true or a duration like "5m", or delete the rule'
        )
    return length


class AbsentKeys(TomlTable):
    """The key of `absent`: seconds, or true for as long as the kind of device may be silent."""

    absent: Annotated[Literal[True] | float | None, BeforeValidator(_silence, json_schema_input_type=Any)] = (
        Field(None, json_schema_extra={"anyOf": [{"const": True}, *DURATION_SCHEMA["anyOf"]]})
    )


@dataclass(frozen=True, slots=True)
class Absent(Criterion):
    """The silence that is too long, ns."""

    silence: int = 0

    @property
    def terms(self) -> Mapping[str, float]:
        """Seconds."""
        return {"absent": self.silence / _NS}

    def reason(self, judgement: Judgement) -> str:
        """Silence, or its end."""
        return "silence" if judgement is Judgement.VIOLATES else "heard"

    def judge(self, value: float) -> Judgement:
        """Any reading breaks the silence."""
        return Judgement.CLEAR

    def quiet(self, phase: Phase, armed: bool, present: float | None) -> Interval:
        """A reading matters only to a silence that is open or not yet watched."""
        return EVERYTHING if armed and phase in {Phase.NORMAL, Phase.CLEARING} else NOTHING

    def narrow(self, present: F64, low: F64, high: F64) -> None:
        """The first reading arms."""
        low[:], high[:] = NOTHING

    def limit_text(self, boolean: bool, lang: str) -> str:
        """The silence as a stretch of time."""
        return span(self.silence / _NS, lang)


def _compile(keys: AbsentKeys, kind: Kind) -> Absent:
    length = kind.stale_after_s if keys.absent is True else keys.absent or 0.0
    return Absent(max(1, round(length * _NS)))


ABSENT = RuleKind(
    "absent", AbsentKeys, no_complaints, _compile, durations=frozenset({"absent"}), needs_metric=False
)
