"""What can be wrong with a rule that reads well: names that are not there, limits that make no sense."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from string import Formatter
from typing import Any

from collector.alarms.kinds import RULE_KINDS
from collector.alarms.kinds.kind import Complaint, RuleKind
from collector.alarms.rules.ruleset import lies_in
from collector.alarms.rules.tables import PLACEHOLDERS, DeviceSelect, RuleTable, Select, Summary, When
from devices.catalogue import KINDS
from devices.model import Metric
from devices.region import Region


def rule_complaints(rule: RuleTable, region: Region) -> Iterator[Complaint]:
    """Everything wrong with one rule in itself."""
    yield from select_complaints(rule.select, rule.when.kinds, region)
    yield from when_complaints(rule)
    yield from _summary_complaints(rule.summary)


def select_complaints(select: Select, kinds: list[RuleKind[Any]], region: Region) -> Iterator[Complaint]:
    """Everything that a rule's selection names and nobody knows; most kinds of rules need a metric."""
    yield from device_complaints(select, region)
    yield from _metric_complaints(select, kinds)


def device_complaints(select: DeviceSelect, region: Region) -> Iterator[Complaint]:
    """Everything that a selection names and the region does not know."""
    checks: tuple[tuple[str, str | None, Callable[[str], bool], Iterable[str]], ...] = (
        ("kind", select.kind, KINDS.__contains__, KINDS),
        ("site", select.site, lambda name: region.site_id(name) in region.sites, region.sites),
        (
            "area",
            select.area,
            lambda name: any(lies_in(name, site, region) for site in region.sites),
            region.areas,
        ),
        ("agency", select.agency, _agencies(region).__contains__, _agencies(region)),
        ("device", select.device, region.devices.__contains__, region.devices),
    )
    for key, name, known, names in checks:
        if name is not None and not (name and known(name)):
            yield ("select", key), f"the {key} {name!r} does not exist", choose(name, names)


def when_complaints(rule: RuleTable) -> Iterator[Complaint]:
    """Everything wrong with a condition."""
    names = [kind.name for kind in rule.when.kinds]
    if len(names) != 1:
        given = " and ".join(names) or "no condition"
        yield ("when", *names[1:2]), f"gives {given}", f"give exactly one of {', '.join(RULE_KINDS)}"
        return
    chosen = RULE_KINDS[names[0]]
    strays = list(_stray_complaints(rule.when, chosen))
    yield from strays or chosen.complaints(rule.when, _metric(rule))


def choose(name: str, names: Iterable[str]) -> str:
    """The mend for a name that is not there: the likely one, or the list."""
    known = sorted(names)
    close = get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    listed = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return f"one of {listed}" if known else "the region has none; delete it"


def _metric_complaints(select: Select, kinds: list[RuleKind[Any]]) -> Iterator[Complaint]:
    name, kind = select.metric, KINDS.get(select.kind or "")
    if name is None:
        needs = next((kind.name for kind in kinds if kind.needs_metric), None)
        if needs:
            yield ("select",), "names no metric", f"{needs} needs one: select = {{ metric = … }}"
        return
    if select.kind is not None and kind is None:
        return
    known = kind.metrics if kind else {metric for each in KINDS.values() for metric in each.metrics}
    if name not in known:
        of = f"the kind {kind.name}" if kind else "any kind"
        yield ("select", "metric"), f"{name!r} is no metric of {of}", choose(name, known)


def _metric(rule: RuleTable) -> Metric | None:
    name, kind = rule.select.metric, KINDS.get(rule.select.kind or "")
    kinds = [kind] if kind else KINDS.values()
    return next((each.metrics[name] for each in kinds if name in each.metrics), None) if name else None


def _stray_complaints(when: When, chosen: RuleKind[Any]) -> Iterator[Complaint]:
    """Keys of other kinds than the one that is chosen."""
    for kind in RULE_KINDS.values():
        for key in kind.keys.model_fields:
            if key not in chosen.keys.model_fields and getattr(when, key) is not None:
                mend = f"use it with {kind.name}, or delete it"
                if key == kind.clear and chosen.clear:
                    mend = f"{chosen.name} clears by {chosen.clear}"
                yield ("when", key), f"{key} does not go with {chosen.name}", mend


def _summary_complaints(summary: Summary) -> Iterator[Complaint]:
    for lang in ("id", "en"):
        try:
            parts = list(Formatter().parse(getattr(summary, lang)))
        except ValueError as error:
            yield ("summary", lang), f"the braces do not match ({error})", "write a placeholder like {value}"
            continue
        for _, name, spec, conversion in parts:
            if name is not None and (name not in PLACEHOLDERS or spec or conversion):
                known = ", ".join(f"{{{each}}}" for each in PLACEHOLDERS)
                yield ("summary", lang), f"{{{name}}} is no placeholder", f"one of {known}"


def _agencies(region: Region) -> set[str]:
    return {site.agency for site in region.sites.values() if site.agency}
