"""What may stand in a rule file: pydantic models of `[[rule]]` and `[[override]]`, and their JSON Schema."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, model_validator

from collector.alarms.model import Severity
from devices.duration import seconds

PLACEHOLDERS = ("value", "limit", "unit", "site", "device", "metric", "rule")
"""What a summary may name in braces."""

_PATTERN = r"^\d+(\.\d+)?\s*(ms|s|m|h|d)?$"
_WRITTEN: dict[str, Any] = {
    "anyOf": [{"type": "string", "pattern": _PATTERN}, {"type": "number", "minimum": 0}]
}

Duration = Annotated[float, BeforeValidator(seconds, json_schema_input_type=Any), Field(ge=0)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


def _silence(value: object) -> object:
    if value is False:
        raise ValueError(
            'absent = false says nothing; write true or a duration like "5m", or delete the rule'
        )
    return True if value is True else seconds(value)


Silence = Annotated[Literal[True] | float, BeforeValidator(_silence, json_schema_input_type=Any)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)


class Place(_Table):
    """Which devices: each key given must match. `area` is a site's id, a prefix of it, or what it lies in."""

    kind: str | None = None
    site: str | None = None
    area: str | None = None
    agency: str | None = None
    device: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)


class Select(Place):
    """Which series: the devices, and their metric (only `absent` may do without)."""

    metric: str | None = None


class When(_Table):
    """The condition: exactly one of above, below, equals, absent; durations such as "90s", "10m", "1d"."""

    above: Number | None = None
    clear_below: Number | None = None
    below: Number | None = None
    clear_above: Number | None = None
    equals: StrictBool | Number | None = None
    absent: Silence | None = Field(None, json_schema_extra={"anyOf": [{"const": True}, *_WRITTEN["anyOf"]]})
    for_: Duration | None = Field(None, alias="for", json_schema_extra=dict(_WRITTEN))
    keep: Duration | None = Field(None, json_schema_extra=dict(_WRITTEN))

    @property
    def tests(self) -> list[str]:
        """Which of the four conditions are given."""
        return [name for name in ("above", "below", "equals", "absent") if getattr(self, name) is not None]

    def over(self, base: When) -> When:
        """`base` with what this one gives put over it."""
        return base.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})


class Summary(_Table):
    """One line for the operator, in each language. Placeholders: {value} {limit} {unit} {site} {device} …"""

    id: str = Field(min_length=1)
    en: str = Field(min_length=1)


class RuleTable(_Table):
    """A `[[rule]]`: when the condition holds on a selected series, an alert of this severity."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    select: Select = Select()
    when: When
    severity: Severity
    summary: Summary
    enabled: StrictBool = True


class OverrideTable(_Table):
    """An `[[override]]`: for the devices selected, the named rule with other limits or severity, or none.

    Overrides are laid over the rule in turn (files by name, then as they stand): the last one wins.
    """

    rule: str
    select: Place
    when: When = When()
    severity: Severity | None = None
    enabled: StrictBool | None = None

    @model_validator(mode="after")
    def _says_something(self) -> OverrideTable:
        if not (self.when.model_fields_set or self.severity or self.enabled is not None):
            raise ValueError("changes nothing; give when, severity or enabled, or delete it")
        return self


class RuleFile(_Table):
    """A file of the region's `rules/` folder."""

    rule: list[RuleTable] = Field(default_factory=list)
    override: list[OverrideTable] = Field(default_factory=list)


def schema() -> dict[str, Any]:
    """The JSON Schema of a rule file, for editors that check and complete as you type."""
    return RuleFile.model_json_schema(by_alias=True)
