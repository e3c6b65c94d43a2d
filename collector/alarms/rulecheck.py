"""What can be wrong with a rule that reads well: names that are not there, limits that make no sense."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from string import Formatter

from collector.alarms.rulefile import PLACEHOLDERS, Place, RuleTable, Select, Summary, When
from collector.alarms.ruleset import lies_in
from devices.catalogue import KINDS
from devices.model import Metric
from devices.region import Region

Complaint = tuple[tuple[str, ...], str, str]
"""The path of the key in its table, what is wrong, and the mend."""


def rule_complaints(rule: RuleTable, region: Region) -> Iterator[Complaint]:
    """Everything wrong with one rule in itself."""
    yield from select_complaints(rule.select, rule.when.tests, region)
    yield from when_complaints(rule)
    yield from _summary_complaints(rule.summary)


def select_complaints(select: Select, tests: list[str], region: Region) -> Iterator[Complaint]:
    """Everything that a rule's selection names and nobody knows; all tests but `absent` need a metric."""
    yield from place_complaints(select, region)
    yield from _metric_complaints(select, tests)


def place_complaints(place: Place, region: Region) -> Iterator[Complaint]:
    """Everything that a selection names and the region does not know."""
    checks: tuple[tuple[str, str | None, Callable[[str], bool], Iterable[str]], ...] = (
        ("kind", place.kind, KINDS.__contains__, KINDS),
        ("site", place.site, lambda name: region.site_id(name) in region.sites, region.sites),
        (
            "area",
            place.area,
            lambda name: any(lies_in(name, site, region) for site in region.sites),
            region.areas,
        ),
        ("agency", place.agency, _agencies(region).__contains__, _agencies(region)),
        ("device", place.device, region.devices.__contains__, region.devices),
    )
    for key, name, known, names in checks:
        if name is not None and not (name and known(name)):
            yield ("select", key), f"the {key} {name!r} does not exist", choose(name, names)


def when_complaints(rule: RuleTable) -> Iterator[Complaint]:
    """Everything wrong with a condition."""
    when = rule.when
    if len(when.tests) != 1:
        given = " and ".join(when.tests) or "no condition"
        yield ("when", *when.tests[1:2]), f"gives {given}", "give exactly one of above, below, equals, absent"
        return
    yield from _clear_complaints(when)
    metric = _metric(rule)
    if metric is not None:
        yield from _value_complaints(when, metric)


def choose(name: str, names: Iterable[str]) -> str:
    """The mend for a name that is not there: the likely one, or the list."""
    known = sorted(names)
    close = get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    listed = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return f"one of {listed}" if known else "the region has none; delete it"


def _metric_complaints(select: Select, tests: list[str]) -> Iterator[Complaint]:
    name, kind = select.metric, KINDS.get(select.kind or "")
    if name is None:
        if tests and tests != ["absent"]:
            yield ("select",), "names no metric", f"{tests[0]} needs one: select = {{ metric = … }}"
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


def _clear_complaints(when: When) -> Iterator[Complaint]:
    for test, right, wrong in (
        ("above", "clear_below", "clear_above"),
        ("below", "clear_above", "clear_below"),
    ):
        limit, clear = getattr(when, test), getattr(when, right)
        if clear is not None and limit is None:
            mend = f"use it with {test}, or delete it"
            if getattr(when, "below" if test == "above" else "above") is not None:
                mend = f"{when.tests[0]} clears by {wrong}"
            yield ("when", right), f"{right} does not go with {when.tests[0]}", mend
        elif clear is not None and (clear > limit if test == "above" else clear < limit):
            side = "at most" if test == "above" else "at least"
            yield (
                ("when", right),
                f"{right} = {clear:g} is on the wrong side of {test} = {limit:g}",
                f"it must be {side} {limit:g}",
            )


def _value_complaints(when: When, metric: Metric) -> Iterator[Complaint]:
    test = when.tests[0]
    if test == "absent":
        return
    if metric.boolean and test != "equals":
        yield ("when", test), f"{metric.name} is true or false", "use equals = true or equals = false"
        return
    if isinstance(when.equals, bool) and not metric.boolean:
        yield ("when", "equals"), f"{metric.name} is a number, never true or false", "give a number"
        return
    if metric.boolean and when.equals not in {0, 1}:
        yield ("when", "equals"), f"{metric.name} is true or false", "use equals = true or equals = false"
        return
    limit = float(getattr(when, test))
    if (metric.low is not None and limit < metric.low) or (metric.high is not None and limit > metric.high):
        low = "-∞" if metric.low is None else f"{metric.low:g}"
        high = "∞" if metric.high is None else f"{metric.high:g}"
        yield (
            ("when", test),
            f"{test} = {limit:g} is beyond what {metric.name} can say",
            f"{low}…{high} {metric.unit}".strip(),
        )


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
