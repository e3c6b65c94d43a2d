"""Reads the region's rule files and refuses, with file and line, everything wrong with them at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from collector.alarms.kinds.kind import Complaint
from collector.alarms.rules.check import (
    choose,
    device_complaints,
    rule_complaints,
    select_complaints,
    when_complaints,
)
from collector.alarms.rules.lines import Block, blocks, line_of
from collector.alarms.rules.ruleset import Likeness, RuleSet, overridden
from collector.alarms.rules.tables import OverrideTable, RuleFile, RuleTable, Select
from devices.model import Device
from devices.problems import Problem, Problems
from devices.region import Region

_Table = TypeVar("_Table", RuleTable, OverrideTable)
_NAMES = ("kind", "site", "area", "agency", "device", "metric")


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a table stands."""

    file: str
    block: Block

    def problem(self, complaint: Complaint) -> Problem:
        path, what, mend = complaint
        key = ".".join(path)
        return Problem(
            f"{self.file}:{self.block.line(*path)}",
            f"{self.block.name} {key}: {what}".replace(" :", ":"),
            mend,
        )


@dataclass(slots=True)
class _Found:
    rules: list[tuple[_Origin, RuleTable]] = field(default_factory=list)
    overrides: list[tuple[_Origin, OverrideTable]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def parse_rules(files: Mapping[str, bytes], region: Region) -> RuleSet:
    """The rules of the files (name → TOML) for this region. Raises Problems with everything wrong at once."""
    found = _Found()
    for name in sorted(files):
        _read(name, files[name], found, region)
    _check_rules(found, region)
    _check_overrides(found, region)
    if not found.problems:
        rules = RuleSet(region, [rule for _, rule in found.rules], [over for _, over in found.overrides])
        _check_combinations(found, rules, region)
        if not found.problems:
            return rules
    raise Problems(found.problems)


def _read(name: str, raw: bytes, found: _Found, region: Region) -> None:
    try:
        text = raw.decode("utf-8")
        tree = tomllib.loads(text)
    except UnicodeDecodeError as error:
        found.problems.append(Problem(name, f"is not UTF-8 text ({error})", "save it as UTF-8"))
        return
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        where = f"{name}:{line[1]}" if line else name
        found.problems.append(Problem(where, f"is not TOML: {error}", "mend that line"))
        return
    for key in tree.keys() - RuleFile.model_fields.keys():
        where = f"{name}:{line_of(text, key)}"
        found.problems.append(
            Problem(where, f"{key!r} is not known", choose(key, ("[[rule]]", "[[override]]")))
        )
    places = blocks(text)
    found.rules += _tables(name, tree.get("rule", []), places.get("rule", []), RuleTable, found, region)
    found.overrides += _tables(
        name, tree.get("override", []), places.get("override", []), OverrideTable, found, region
    )


def _tables(
    name: str, tables: Any, places: list[Block], model: type[_Table], found: _Found, region: Region
) -> list[tuple[_Origin, _Table]]:
    title = "rule" if model is RuleTable else "override"
    if not isinstance(tables, list):
        found.problems.append(
            Problem(name, f"{title} is no list of tables", f"begin each one with [[{title}]]")
        )
        return []
    if len(tables) != len(places):  # written inline, or a text that looks like a header: no lines then
        places = [Block(title, 1, ())] * len(tables)
    read = []
    for table, block in zip(tables, places, strict=True):
        place = _Origin(name, block)
        try:
            read.append((place, model.model_validate(table)))
        except ValidationError as error:
            found.problems += map(place.problem, _complaints(error, model))
            found.problems += map(place.problem, _rest(table, region))
    return read


def _check_rules(found: _Found, region: Region) -> None:
    first: dict[str, _Origin] = {}
    for place, rule in found.rules:
        found.problems += map(place.problem, rule_complaints(rule, region))
        if (other := first.setdefault(rule.name, place)) is not place:
            what = f"{rule.name!r} stands in {other.file}:{other.block.line('name')} already"
            found.problems.append(place.problem((("name",), what, "give each rule a name of its own")))


def _check_overrides(found: _Found, region: Region) -> None:
    rules = {rule.name: rule for _, rule in found.rules}
    for place, override in found.overrides:
        found.problems += map(place.problem, device_complaints(override.select, region))
        base = rules.get(override.rule)
        if base is not None:
            found.problems += map(place.problem, when_complaints(overridden(base, [override])))
        elif not found.problems:
            what = f"there is no rule {override.rule!r}"
            found.problems.append(place.problem((("rule",), what, choose(override.rule, rules))))


def _check_combinations(found: _Found, rules: RuleSet, region: Region) -> None:
    done: set[tuple[str, tuple[int, ...]]] = set()
    unlike: dict[Likeness, Device] = {}
    for device in region.devices.values():
        unlike.setdefault(rules.likeness(device), device)
    for device in unlike.values():
        for table in rules.rules:
            places = rules.combination(table, device)
            if len(places) < 2 or (table.name, places) in done:
                continue
            done.add((table.name, places))
            merged = overridden(table, [rules.overrides[place] for place in places])
            last, _ = found.overrides[places[-1]]
            for path, what, mend in when_complaints(merged):
                told = f"{what} (with the other overrides for {device.id})"
                found.problems.append(last.problem((path, told, mend)))


def _rest(table: Any, region: Region) -> Iterable[Complaint]:
    """What else is wrong with a table that does not read: its selection can be checked all the same."""
    select = table.get("select") if isinstance(table, dict) else None
    if isinstance(select, dict):
        sound = {key: name for key, name in select.items() if key in _NAMES and isinstance(name, str)}
        yield from select_complaints(Select(**sound), [], region)


def _complaints(error: ValidationError, model: type[BaseModel]) -> Iterable[Complaint]:
    seen: set[tuple[str, ...]] = set()
    for detail in error.errors():
        path = _path(detail["loc"], model)
        if path not in seen:
            seen.add(path)
            yield _complaint(path, detail, model)


def _complaint(path: tuple[str, ...], detail: Any, model: type[BaseModel]) -> Complaint:
    if detail["type"] == "extra_forbidden":
        return path, "is no key here", choose(path[-1], _keys(path[:-1], model))
    if detail["type"] == "missing":
        return path, "is missing", "add it"
    message = str(detail["msg"]).removeprefix("Value error, ")
    what, _, mend = message.partition("; ")
    return path, what[:1].lower() + what[1:], mend or f"got {detail['input']!r}"


def _path(loc: tuple[int | str, ...], model: type[BaseModel]) -> tuple[str, ...]:
    """The keys of an error's place; what pydantic adds to them (a union's branch) is left out."""
    path: list[str] = []
    for part in map(str, loc):
        if len(path) == 2 or (path and path[0] not in {"select", "when", "summary"}):
            break
        path.append(part)
    return tuple(path)


def _keys(path: tuple[str, ...], model: type[BaseModel]) -> list[str]:
    for name in path:
        model = model.model_fields[name].annotation  # type: ignore[assignment]
    return [info.alias or name for name, info in model.model_fields.items()]
