"""What may stand in a rule file: pydantic models of `[[rule]]` and `[[override]]`, and their JSON Schema."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field, StrictBool, model_validator

from collector.alarms.kinds import RULE_KINDS
from collector.alarms.kinds.kind import DURATION_SCHEMA, Duration, RuleKind, TomlTable
from collector.alarms.model import Severity

PLACEHOLDERS = ("value", "limit", "unit", "site", "device", "metric", "rule")
"""What a summary may name in braces."""


class DeviceSelect(TomlTable):
    """Which devices: each key given must match. `area` is a site's id, a prefix of it, or what it lies in."""

    kind: str | None = None
    site: str | None = None
    area: str | None = None
    agency: str | None = None
    device: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)


class Select(DeviceSelect):
    """Which series: the devices, and their metric (only `absent` may do without)."""

    metric: str | None = None


class When(*(kind.keys for kind in reversed(RULE_KINDS.values())), TomlTable):  # type: ignore[misc]
    """The condition: the keys of exactly one kind of rule; durations such as "90s", "10m", "1d"."""

    model_config = ConfigDict(
        json_schema_extra={
            "description": f"The condition: exactly one of {', '.join(RULE_KINDS)}; "
            'durations such as "90s", "10m", "1d".'
        }
    )

    for_: Duration | None = Field(None, alias="for", json_schema_extra=dict(DURATION_SCHEMA))
    keep: Duration | None = Field(None, json_schema_extra=dict(DURATION_SCHEMA))

    @property
    def kinds(self) -> list[RuleKind[Any]]:
        """The kinds that are chosen: in a rule without mistakes one."""
        return [kind for name, kind in RULE_KINDS.items() if getattr(self, name) is not None]

    def over(self, base: When) -> When:
        """`base` with what this one gives put over it."""
        return base.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})


DURATIONS = frozenset({"for", "keep"}).union(*(kind.durations for kind in RULE_KINDS.values()))
"""The keys of `when` that may hold a duration."""


class Summary(TomlTable):
    """One line for the operator, in each language. Placeholders: {value} {limit} {unit} {site} {device} …"""

    id: str = Field(min_length=1)
    en: str = Field(min_length=1)


class RuleTable(TomlTable):
    """A `[[rule]]`: when the condition holds on a selected series, an alert of this severity."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    select: Select = Select()
    when: When
    severity: Severity
    summary: Summary
    enabled: StrictBool = True


class OverrideTable(TomlTable):
    """An `[[override]]`: for the devices selected, the named rule with other limits or severity, or none.

    Overrides are laid over the rule in turn (files by name, then as they stand): the last one wins.
    """

    rule: str
    select: DeviceSelect
    when: When = When()
    severity: Severity | None = None
    enabled: StrictBool | None = None

    @model_validator(mode="after")
    def _says_something(self) -> OverrideTable:
        if not (self.when.model_fields_set or self.severity or self.enabled is not None):
            raise ValueError("changes nothing; give when, severity or enabled, or delete it")
        return self


class RuleFile(TomlTable):
    """A file of the region's `rules/` folder."""

    rule: list[RuleTable] = Field(default_factory=list)
    override: list[OverrideTable] = Field(default_factory=list)


def schema() -> dict[str, Any]:
    """The JSON Schema of a rule file, for editors that check and complete as you type."""
    return RuleFile.model_json_schema(by_alias=True)
