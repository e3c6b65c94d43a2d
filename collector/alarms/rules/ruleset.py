"""The rules as they hold for each device: selection and overrides resolved, limits exact, durations in ns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from collector.alarms.kinds.criterion import Criterion
from collector.alarms.model import Alert, Severity
from collector.alarms.rules.tables import DeviceSelect, OverrideTable, RuleTable
from collector.alarms.wording import figure
from collector.core.readings import DEVICE
from devices.catalogue import KINDS
from devices.model import Device, Kind, Metric
from devices.region import Region

_NS = 1_000_000_000
Likeness = tuple[str, tuple[bool, ...]]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as it holds for some devices. Durations in ns."""

    name: str
    version: str
    severity: Severity
    metric: str  # DEVICE for the device itself
    criterion: Criterion
    delay: int  # the file's `for`
    keep: int
    unit: str
    boolean: bool
    summary: Mapping[str, str] = field(hash=False)

    @property
    def logic(self) -> tuple[object, ...]:
        """What decides; two rules alike in it may carry each other's state on."""
        return self.metric, self.criterion, self.delay, self.keep


class RuleSet:
    """All rules of a region, checked. `hash` names their content."""

    def __init__(
        self, region: Region, rules: Sequence[RuleTable], overrides: Sequence[OverrideTable]
    ) -> None:
        self.rules = tuple(sorted(rules, key=lambda rule: rule.name))
        self.overrides = tuple(overrides)
        self.hash = _digest(
            [table.model_dump(mode="json", by_alias=True) for table in (*self.rules, *overrides)]
        )
        self._region = region
        self._cache: dict[tuple[str, tuple[int, ...], str], Rule | None] = {}
        self._choosy: dict[str, tuple[DeviceSelect, ...]] = {}
        self._sets: dict[Likeness, tuple[Rule, ...]] = {}

    def for_device(self, device: Device) -> tuple[Rule, ...]:
        """The rules that hold for a device, by name: one tuple for all devices that are alike."""
        likeness = self.likeness(device)
        found = self._sets.get(likeness)
        if found is None:
            rules = (self._rule(table, device) for table in self.rules)
            found = self._sets[likeness] = tuple(rule for rule in rules if rule is not None)
        return found

    def likeness(self, device: Device) -> Likeness:
        """All that rules can tell of a device: its kind, and which choosier selections it is in."""
        choosy = self._choosy.get(device.kind)
        if choosy is None:
            selects = [rule.select for rule in self.rules], [over.select for over in self.overrides]
            choosy = tuple(each for each in chain(*selects) if _is_choosy(each, device.kind))
            self._choosy[device.kind] = choosy
        return device.kind, tuple([matches(each, device, self._region) for each in choosy])

    def find(self, name: str, device: str) -> Rule | None:
        """The rule of that name as it holds for a device of the region; None if it does not (any more)."""
        known = self._region.devices.get(device)
        rules = self.for_device(known) if known else ()
        return next((rule for rule in rules if rule.name == name), None)

    def summary(self, alert: Alert, lang: str) -> str:
        """The alert in one line, in a language (`id` or `en`; any other reads English)."""
        site = self._region.sites.get(alert.site)
        return summary(self.find(alert.rule, alert.device), alert, site.name if site else alert.site, lang)

    def combination(self, table: RuleTable, device: Device) -> tuple[int, ...]:
        """Which overrides change the rule for the device: their places in `overrides`."""
        return tuple(
            place
            for place, override in enumerate(self.overrides)
            if override.rule == table.name and matches(override.select, device, self._region)
        )

    def _rule(self, table: RuleTable, device: Device) -> Rule | None:
        kind = KINDS.get(device.kind)
        if kind is None or not matches(table.select, device, self._region):
            return None
        if table.select.metric and table.select.metric not in kind.metrics:
            return None
        key = (table.name, self.combination(table, device), device.kind)
        if key not in self._cache:
            merged = overridden(table, [self.overrides[place] for place in key[1]])
            self._cache[key] = _effective(merged, kind) if merged.enabled else None
        return self._cache[key]


def _is_choosy(select: DeviceSelect, kind: str) -> bool:
    """Whether the selection tells devices of that kind apart."""
    more = select.site, select.device, select.agency, select.area, select.labels or None
    return select.kind in {None, kind} and any(each is not None for each in more)


def matches(select: DeviceSelect, device: Device, region: Region) -> bool:
    """Whether the device is among those selected."""
    site = region.sites[device.site]
    return (
        select.kind in {None, device.kind}
        and select.device in {None, device.id}
        and (select.site is None or region.site_id(select.site) == site.id)
        and select.agency in {None, site.agency}
        and (select.area is None or lies_in(select.area, site.id, region))
        and all(device.labels.get(name) == value for name, value in select.labels.items())
    )


def lies_in(area: str, site: str, region: Region) -> bool:
    """Whether the site's id begins with the area, or the site lies in it (by its parents)."""
    return site.startswith(area) or area in region.areas_of(site)


def overridden(table: RuleTable, overrides: Sequence[OverrideTable]) -> RuleTable:
    """The rule with the overrides laid over it, one after the other."""
    for override in overrides:
        changes: dict[str, object] = {"when": override.when.over(table.when)}
        if override.severity is not None:
            changes["severity"] = override.severity
        if override.enabled is not None:
            changes["enabled"] = override.enabled
        table = table.model_copy(update=changes)
    return table


def summary(rule: Rule | None, alert: Alert, site: str, lang: str) -> str:
    """The alert in one line; without its rule (gone from the region) just what is known."""
    if rule is None:
        return " · ".join(part for part in (alert.rule, site, alert.device, alert.metric) if part)
    text = rule.summary.get(lang) or rule.summary["en"]
    return text.format(
        value="–" if alert.value is None else figure(alert.value, rule.boolean, lang),
        limit=rule.criterion.limit_text(rule.boolean, lang),
        unit=rule.unit,
        site=site,
        device=alert.device,
        metric=alert.metric,
        rule=alert.rule,
    )


def _effective(table: RuleTable, kind: Kind) -> Rule:
    when = table.when
    metric = kind.metrics[table.select.metric] if table.select.metric else Metric(DEVICE, "")
    (chosen,) = when.kinds
    return Rule(
        name=table.name,
        version=_digest(table.model_dump(mode="json", by_alias=True)),
        severity=table.severity,
        metric=metric.name,
        criterion=chosen.compile(when, kind),
        delay=_ns(when.for_ or 0.0),
        keep=_ns(when.keep or 0.0),
        unit=metric.unit,
        boolean=metric.boolean,
        summary={"id": table.summary.id, "en": table.summary.en},
    )


def _ns(seconds: float) -> int:
    return round(seconds * _NS)


def _digest(content: object) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
