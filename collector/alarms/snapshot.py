"""The engine's state as a part of a snapshot: devices in columns, held targets as rows. Series go by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np

from collector.alarms.field import Field
from collector.alarms.kinds.kind import Phase
from collector.alarms.lifecycle import Target, interrupt
from collector.alarms.model import Alert
from collector.alarms.rules.ruleset import RuleSet
from collector.alarms.world import World
from collector.core.bundle import parted
from collector.core.readings import I64, SeriesKey
from collector.core.roster import Part
from devices.region import Region

_COLUMNS = ("armed", "gone", "returned", "heard")
_ALERT = tuple(field.name for field in fields(Alert))
_OWN = ("phase", "due", "shelved_until", "armed", "since")
"""What a target's row keeps of it, between its rule and series and the series' last stamp and value."""


def save(world: World) -> Part:
    """A copy of the state; the same state gives the same part."""
    field = world.devices
    rows = [_row(world, target) for target in world.targets() if _matters(target)]
    watching = sorted({rule.name for rules in field.silences for rule in rules})
    region, rules = world.hashes
    head = {
        "region": region,
        "rules": rules,
        "floor": world.floor,
        "orphans": [_plain(alert) for alert in world.orphans],
        "targets": sorted(rows, key=lambda row: (row[0], row[1])),
        "since": watching,
    }
    columns = {name: getattr(field, name)[1:].copy() for name in _COLUMNS}
    columns |= {f"since{number}": _since(field, rule) for number, rule in enumerate(watching)}
    return Part(head, {"names": field.names, **columns})


def load(world: World, region: Region, rules: RuleSet, part: Part) -> None:
    """Put a part into a new world; timers are left to the caller.

    Raises ValueError on damage, or a part of another region.
    """
    try:
        _load(world, region, rules, part)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ValueError(f"the alarm snapshot cannot be used: {error}") from None


def _load(world: World, region: Region, rules: RuleSet, part: Part) -> None:
    head = part.head
    if head["region"] != region.hash:
        raise ValueError(f"it is of region {head['region']}, not of {region.hash}")
    for _, key, *_ in head["targets"]:
        if key[2]:
            world.columns.table.number(SeriesKey(*key))
    world.install(region, rules, 0)
    world.floor = head["floor"]
    world.orphans = [_alert(plain) for plain in head["orphans"]]
    _load_devices(part, world.devices)
    same = head["rules"] == rules.hash
    if not same:  # a new rule on silence must not fire in the past
        world.floor = max(world.floor, int(world.devices.heard.max()))
    for row in head["targets"]:
        _load_target(world, row, same)
    for target in world.targets():
        world.settle(target)
    world.alerts |= {alert.id: alert for alert in world.orphans}


def _load_target(world: World, row: list[Any], same: bool) -> None:
    name, key, *own, seen, last, plain = row
    target = _place(world, name, SeriesKey(*key))
    if target is None:
        world.orphans += [_alert(plain)] if plain else []
        return
    target.phase, target.due, target.shelved_until, target.armed, target.since = Phase(own[0]), *own[1:]
    if plain:
        alert = target.alert = _alert(plain)
        world.alerts[alert.id], world.owners[alert.id] = alert, target
    if not same:
        interrupt(target)  # its limits may be others now: what waited for time to pass waits for a reading
    number = world.number(target)
    if number is not None:
        world.columns.seen[number] = max(seen, world.columns.seen[number])
        if last is not None:
            world.columns.last[number] = last


def _place(world: World, name: str, key: SeriesKey) -> Target | None:
    """The target under the rules that hold now."""
    rules = world.devices.rules(world.devices.find(key.site, key.device))
    if (name, key.metric) not in {(rule.name, rule.metric) for rule in rules}:
        return None
    return next(target for target in world.hold(key) if target.rule.name == name)


def _matters(target: Target) -> bool:
    """Whether it is in another state than a new one; what arms a device's own silence is in the columns."""
    return target.busy or (target.armed and bool(target.key.metric))


def _row(world: World, target: Target) -> list[Any]:
    number = world.number(target)
    seen = 0 if number is None else int(world.columns.seen[number])
    last = world.last(target) if target.phase is Phase.PENDING else None
    own = [getattr(target, name) for name in _OWN]
    alert = _plain(target.alert) if target.alert else None
    return [target.rule.name, list(target.key), *own, seen, last, alert]


def _since(field: Field, rule: str) -> I64:
    """Since when the rule holds for each device that is armed; 0 for the others."""
    found = np.zeros(len(field) + 1, np.int64)
    for row, number in _rows_of(field, rule):
        there = field.armed & (field.set_of == number)
        found[there] = field.since[row, there]
    return found[1:]


def _rows_of(field: Field, rule: str) -> Iterator[tuple[int, int]]:
    """(row, set of rules): where the field keeps what it knows of that rule on devices' own silence."""
    for number, rules in enumerate(field.silences):
        yield from ((row, number) for row, each in enumerate(rules) if each.name == rule)


def _load_devices(part: Part, field: Field) -> None:
    names = parted(part.columns["names"])
    numbers = np.array([field.find(site, device) for site, device in names], np.intp)
    if not numbers.all():
        raise ValueError(
            f"it knows the device {'/'.join(names[int(np.argmin(numbers))])}, the region does not"
        )
    for name in _COLUMNS:
        getattr(field, name)[numbers] = part.columns[name]
    for place, rule in enumerate(part.head["since"]):
        for row, number in _rows_of(field, rule):
            there = field.set_of[numbers] == number
            field.since[row, numbers[there]] = part.columns[f"since{place}"][there]


def _plain(alert: Alert) -> dict[str, Any]:
    """Its fields; what they hold is plain already."""
    return {name: getattr(alert, name) for name in _ALERT}


def _alert(plain: dict[str, Any]) -> Alert:
    return Alert(**{**plain, "holds": tuple(plain["holds"])})
