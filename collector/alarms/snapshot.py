"""The engine's state as bytes: magic, format number, a bundle. Series go by name, never by number."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from collector.alarms.field import Field
from collector.alarms.lifecycle import Phase, Target, interrupt
from collector.alarms.model import Alert
from collector.alarms.ruleset import RuleSet
from collector.alarms.world import World
from collector.core.bundle import joined, pack, parted, unpack
from collector.core.readings import I64, U8, Bools, SeriesKey
from collector.core.roster import Part
from devices.region import Region

_MAGIC = b"nagari-alarms"
_FORM = "alarms"
_ROWS, _COLUMNS = b"\x01", b"\x02"
"""The formats: JSON, compressed, with a row for each device; or devices in columns. Both can be read."""

_DAMAGE = (zlib.error, KeyError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Saved:
    """A target that is not as a new one would be, with its series' last stamp and value where they matter."""

    rule: str
    key: SeriesKey
    phase: int
    due: int
    shelved_until: int
    armed: bool
    since: int
    seen: int
    last: float | None
    alert: Alert | None

    @property
    def busy(self) -> bool:
        """Whether there is more to it than a device's own silence that is waited for."""
        return bool(self.phase or self.alert or self.shelved_until or self.key.metric)

    def into(self, target: Target) -> None:
        """Put it into a new target."""
        target.phase = Phase(self.phase)
        target.due = self.due
        target.shelved_until = self.shelved_until
        target.armed = self.armed
        target.since = self.since
        target.alert = self.alert


_SAVED, _ALERT = (tuple(field.name for field in fields(of)) for of in (Saved, Alert))


@dataclass(frozen=True, slots=True)
class Units:
    """Devices in columns of equal length: all, or those of which anything is known.

    `since`, by the rule on a device's own silence: since when it holds, where the device is armed.
    """

    names: U8  # joined: site, device
    armed: Bools
    gone: Bools
    returned: I64
    heard: I64
    since: dict[str, I64]


@dataclass(frozen=True, slots=True)
class State:
    """All of it."""

    region: str
    rules: str
    floor: int
    units: Units
    targets: list[Saved]
    orphans: list[Alert]


def dump(world: World) -> bytes:
    """As bytes; the same state gives the same bytes."""
    part = save(world)
    return b"".join((_MAGIC, _COLUMNS, pack(_FORM, part.head, part.columns)))


def save(world: World) -> Part:
    """As a part of a snapshot: a copy."""
    region, rules = world.hashes
    units = _units(world.devices)
    saved = (_save(world, target) for target in world.targets())
    head = {
        "region": region,
        "rules": rules,
        "floor": world.floor,
        "orphans": [_plain(alert) for alert in world.orphans],
        "targets": sorted((_row(each) for each in saved if each), key=lambda row: (row[0], row[1])),
        "since": list(units.since),
    }
    columns = {name: getattr(units, name) for name in ("armed", "gone", "returned", "heard")}
    columns |= {f"since{number}": column for number, column in enumerate(units.since.values())}
    return Part(head, {"names": units.names, **columns})


def load(data: bytes) -> State:
    """From bytes. Raises ValueError if they are no snapshot, damaged, or of a format of the future."""
    head = len(_MAGIC)
    form, body = data[head : head + 1], memoryview(data)[head + 1 :]
    if data[:head] != _MAGIC:
        raise ValueError("this is no alarm snapshot")
    read = _READERS.get(form)
    if read is None:
        raise ValueError(f"the alarm snapshot has format {form.hex()}, known is {_COLUMNS.hex()}")
    try:
        return read(body)
    except _DAMAGE as error:
        raise ValueError(f"the alarm snapshot is damaged ({error})") from None


def of(part: Part) -> State:
    """From a part of a snapshot. Raises ValueError."""
    try:
        return _from_part(part)
    except _DAMAGE as error:
        raise ValueError(f"the alarm snapshot is damaged ({error})") from None


def _from_columns(body: memoryview) -> State:
    return _from_part(Part(*unpack(_FORM, body)))


def _from_part(part: Part) -> State:
    head, columns = part.head, part.columns
    since = {rule: columns[f"since{number}"] for number, rule in enumerate(head["since"])}
    armed, gone, returned, heard = (columns[name] for name in ("armed", "gone", "returned", "heard"))
    units = Units(columns["names"], armed, gone, returned, heard, since)
    return _state(head, units)


def _from_rows(body: memoryview) -> State:
    tree = json.loads(zlib.decompress(body))
    rows = tree["units"]
    site, device, armed, gone, returned, heard = zip(*rows, strict=True) if rows else [()] * 6
    names = list(zip(site, device, strict=True))
    units = Units(
        joined(names),
        np.array(armed, np.bool_),
        np.array(gone, np.bool_),
        np.array(returned, np.int64),
        np.array(heard, np.int64),
        _since_of_rows(names, tree["targets"]),
    )
    return _state(tree, units)


def _since_of_rows(names: list[tuple[str, str]], targets: list[list[Any]]) -> dict[str, I64]:
    place = {name: number for number, name in enumerate(names)}
    since: dict[str, I64] = {}
    for rule, (site, device, metric), *_, begun, _, _, _ in targets:
        if not metric and (site, device) in place:
            column = since.setdefault(rule, np.zeros(len(names), np.int64))
            column[place[site, device]] = begun
    return since


def _state(tree: dict[str, Any], units: Units) -> State:
    return State(
        tree["region"],
        tree["rules"],
        tree["floor"],
        units,
        [saved for row in tree["targets"] if (saved := _saved(row)).busy],
        [_alert(row) for row in tree["orphans"]],
    )


_READERS = {_ROWS: _from_rows, _COLUMNS: _from_columns}


def resume(world: World, region: Region, rules: RuleSet, state: State) -> None:
    """Put a state into a new world; timers are left to the caller. Raises ValueError for another region."""
    if state.region != region.hash:
        raise ValueError(f"the alarm snapshot is of region {state.region}, not of {region.hash}")
    for saved in state.targets:
        if saved.key.metric:
            world.columns.table.number(saved.key)
    world.install(region, rules, 0)
    world.floor = state.floor
    world.orphans = list(state.orphans)
    _resume_units(state.units, world.devices)
    same = state.rules == rules.hash
    if not same:  # a new rule on silence must not fire in the past
        world.floor = max(state.floor, int(world.devices.heard.max()))
    for saved in state.targets:
        target = _place(world, saved)
        if target is not None:
            _resume_target(world, target, saved, same)
        elif saved.alert is not None:
            world.orphans.append(saved.alert)
    for target in world.targets():
        world.settle(target)
    world.alerts |= {alert.id: alert for alert in world.orphans}


def _place(world: World, saved: Saved) -> Target | None:
    """The target under the rules that hold now."""
    unit = world.devices.find(saved.key.site, saved.key.device)
    names = {rule.name for rule in world.devices.rules(unit) if rule.metric == saved.key.metric}
    if saved.rule not in names:
        return None
    return next(target for target in world.hold(saved.key) if target.rule.name == saved.rule)


def _resume_target(world: World, target: Target, saved: Saved, same: bool) -> None:
    saved.into(target)
    if not same:
        interrupt(target)  # its limits may be others now: what waited for time to pass waits for a reading
    if target.alert is not None:
        world.alerts[target.alert.id], world.owners[target.alert.id] = target.alert, target
    number = world.number(target)
    if number is not None:
        world.columns.seen[number] = max(saved.seen, world.columns.seen[number])
        if saved.last is not None:
            world.columns.last[number] = saved.last


def _save(world: World, target: Target) -> Saved | None:
    """The target, or None if it is as a new one would be."""
    number = world.number(target)
    if not (target.busy or (target.armed and number is not None)):
        return None
    return Saved(
        target.rule.name,
        target.key,
        int(target.phase),
        target.due,
        target.shelved_until,
        target.armed,
        target.since,
        0 if number is None else int(world.columns.seen[number]),
        world.last(target) if target.phase is Phase.PENDING else None,
        target.alert,
    )


def _units(field: Field) -> Units:
    return Units(
        field.names,
        field.armed[1:].copy(),
        field.gone[1:].copy(),
        field.returned[1:].copy(),
        field.heard[1:].copy(),
        {rule: _since(field, rule) for rule in sorted(_watching(field))},
    )


def _watching(field: Field) -> set[str]:
    return {rule.name for rules in field.silences for rule in rules}


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


def _resume_units(saved: Units, field: Field) -> None:
    names = parted(saved.names)
    numbers = np.array([field.find(site, device) for site, device in names], np.intp)
    if not numbers.all():
        site, device = names[int(np.argmin(numbers))]
        raise ValueError(f"the alarm snapshot knows the device {site}/{device}, the region does not")
    for name in ("armed", "gone", "returned", "heard"):
        getattr(field, name)[numbers] = getattr(saved, name)
    for rule, since in saved.since.items():
        for row, number in _rows_of(field, rule):
            there = field.set_of[numbers] == number
            field.since[row, numbers[there]] = since[there]


def _row(saved: Saved) -> list[Any]:
    row = [getattr(saved, name) for name in _SAVED]
    return [*row[:-1], _plain(saved.alert) if saved.alert else None]


def _plain(alert: Alert) -> dict[str, Any]:
    """Its fields; what they hold is plain already."""
    return {name: getattr(alert, name) for name in _ALERT}


def _saved(row: list[Any]) -> Saved:
    rule, key, phase, due, shelved_until, armed, since, seen, last, saved = row
    alert = _alert(saved) if saved else None
    return Saved(rule, SeriesKey(*key), phase, due, shelved_until, armed, since, seen, last, alert)


def _alert(saved: dict[str, Any]) -> Alert:
    return Alert(**{**saved, "holds": tuple(saved["holds"])})
