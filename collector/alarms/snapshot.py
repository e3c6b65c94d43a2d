"""The engine's state as bytes: magic, format number, compressed JSON. Series go by name, never by number."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass, fields
from typing import Any

from collector.alarms.field import Field
from collector.alarms.lifecycle import Phase, Target, interrupt
from collector.alarms.model import Alert
from collector.alarms.ruleset import RuleSet
from collector.alarms.world import World
from collector.core.readings import SeriesKey
from devices.region import Region

_MAGIC = b"nagari-alarms"
_FORMAT = 1

SavedUnit = tuple[str, str, bool, bool, int, int]
"""site, device, armed, gone, returned, heard"""


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

    def into(self, target: Target) -> None:
        """Put it into a new target."""
        target.phase = Phase(self.phase)
        target.due = self.due
        target.shelved_until = self.shelved_until
        target.armed = self.armed
        target.since = self.since
        target.alert = self.alert


@dataclass(frozen=True, slots=True)
class State:
    """All of it."""

    region: str
    rules: str
    floor: int
    units: list[SavedUnit]
    targets: list[Saved]
    orphans: list[Alert]


def dump(world: World) -> bytes:
    """As bytes; the same state gives the same bytes."""
    region, rules = world.hashes
    saved = (_save(world, target) for target in world.targets.values())
    tree = {
        "region": region,
        "rules": rules,
        "floor": world.floor,
        "orphans": [asdict(alert) for alert in world.orphans],
        "units": sorted(_units(world.devices)),
        "targets": sorted((_row(each) for each in saved if each), key=lambda row: (row[0], row[1])),
    }
    body = json.dumps(tree, separators=(",", ":"), sort_keys=True).encode()
    return _MAGIC + bytes([_FORMAT]) + zlib.compress(body, 1)


def load(data: bytes) -> State:
    """From bytes. Raises ValueError if they are no snapshot, damaged, or of a format of the future."""
    head = len(_MAGIC)
    if data[:head] != _MAGIC:
        raise ValueError("this is no alarm snapshot")
    if data[head : head + 1] != bytes([_FORMAT]):
        raise ValueError(
            f"the alarm snapshot has format {data[head : head + 1].hex()}, known is {_FORMAT:02x}"
        )
    try:
        tree = json.loads(zlib.decompress(data[head + 1 :]))
        return State(
            tree["region"],
            tree["rules"],
            tree["floor"],
            [tuple(unit) for unit in tree["units"]],
            [_saved(row) for row in tree["targets"]],
            [_alert(row) for row in tree["orphans"]],
        )
    except (zlib.error, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the alarm snapshot is damaged ({error})") from None


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
    if state.rules != rules.hash:  # a new rule on silence must not fire in the past
        world.floor = max(state.floor, int(world.devices.heard.max()))
    for saved in state.targets:
        target = world.targets.get((saved.rule, saved.key))
        if target is not None:
            _resume_target(world, target, saved, state.rules == rules.hash)
        elif saved.alert is not None:
            world.orphans.append(saved.alert)
    world.alerts |= {alert.id: alert for alert in world.orphans}


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
        world.columns.settle(number)


def _save(world: World, target: Target) -> Saved | None:
    """The target, or None if it is as a new one would be."""
    if not (target.open or target.alert or target.shelved_until or target.armed):
        return None
    number = world.number(target)
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


def _units(field: Field) -> list[SavedUnit]:
    """The devices of which anything is known."""
    return [
        (unit.device.site, unit.device.id, unit.armed, unit.gone, unit.returned, heard)
        for unit, heard in zip(field.units, field.heard[1:].tolist(), strict=True)
        if unit.armed or unit.gone or unit.returned or heard
    ]


def _resume_units(saved: list[SavedUnit], field: Field) -> None:
    for site, device, armed, gone, returned, heard in saved:
        unit = field.find(site, device)
        if unit is None:
            raise ValueError(f"the alarm snapshot knows the device {site}/{device}, the region does not")
        unit.armed, unit.gone, unit.returned = armed, gone, returned
        field.heard[unit.number] = heard
        for target in unit.absences:
            target.armed = armed


def _row(saved: Saved) -> list[Any]:
    row = [getattr(saved, field.name) for field in fields(saved)]
    return [*row[:-1], asdict(saved.alert) if saved.alert else None]


def _saved(row: list[Any]) -> Saved:
    rule, key, phase, due, shelved_until, armed, since, seen, last, saved = row
    alert = _alert(saved) if saved else None
    return Saved(rule, SeriesKey(*key), phase, due, shelved_until, armed, since, seen, last, alert)


def _alert(saved: dict[str, Any]) -> Alert:
    return Alert(**{**saved, "holds": tuple(saved["holds"])})
