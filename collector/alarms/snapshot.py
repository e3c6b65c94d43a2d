"""The engine's state as a part of a snapshot: devices in columns, alarms as rows. Series go by name."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from collector.alarms.alarm import Alarm, interrupt
from collector.alarms.kinds.criterion import Phase
from collector.alarms.life import KEPT, Life
from collector.alarms.model import Alert
from collector.alarms.rules.ruleset import RuleSet
from collector.alarms.system import AlarmSystem
from collector.core.bundle import parted
from collector.core.readings import SeriesKey
from collector.core.roster import Part
from devices.region import Region

_ALERT = tuple(field.name for field in fields(Alert))
_OWN = ("phase", "due", "shelved_until", "armed", "since")
"""What an alarm's row keeps of it, between its rule and series and the series' last stamp and value."""


def save(system: AlarmSystem) -> Part:
    """A copy of the state; the same state gives the same part."""
    life, register = system.life, system.register
    rows = [_row(system, alarm) for alarm in register.alarms() if _matters(alarm)]
    region, rules = system.hashes
    head = {
        "region": region,
        "rules": rules,
        "floor": life.floor,
        "orphans": [_plain(alert) for alert in register.orphans],
        "alarms": sorted(rows, key=lambda row: (row[0], row[1])),
    }
    columns = {name: getattr(life, name)[..., 1:].copy() for name in (*KEPT, "since")}
    return Part(head, {"names": life.fleet.names, **columns})


def load(system: AlarmSystem, region: Region, rules: RuleSet, part: Part) -> None:
    """Put a part into a new system. Raises ValueError on damage, or a part of another region."""
    try:
        _load(system, region, rules, part)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ValueError(f"the alarm snapshot cannot be used: {error}") from None
    system.restart()


def _load(system: AlarmSystem, region: Region, rules: RuleSet, part: Part) -> None:
    head, life, register = part.head, system.life, system.register
    if head["region"] != region.hash:
        raise ValueError(f"it is of region {head['region']}, not of {region.hash}")
    for _, key, *_ in head["alarms"]:
        if key[2]:
            system.series.table.number(SeriesKey(*key))
    system.install(region, rules, 0)
    register.orphans = [_alert(plain) for plain in head["orphans"]]
    same = head["rules"] == rules.hash
    life.floor = head["floor"]
    _load_devices(part, life, same)
    for row in head["alarms"]:
        _load_alarm(system, row, same)
    for alarm in register.alarms():
        system.settle(alarm)
    register.alerts |= {alert.id: alert for alert in register.orphans}


def _load_alarm(system: AlarmSystem, row: list[Any], same: bool) -> None:
    rule, key, *own, seen, last, plain = row
    alarm = system.hold(rule, SeriesKey(*key))
    if alarm is None:
        system.register.orphans += [_alert(plain)] if plain else []
        return
    alarm.phase, alarm.due, alarm.shelved_until, alarm.armed, alarm.since = Phase(own[0]), *own[1:]
    if plain:
        alarm.alert = _alert(plain)
        system.register.enter(alarm.alert, alarm)
    if not same:
        interrupt(alarm)  # its limits may be others now: what waited for time to pass waits for a reading
    if alarm.series is not None:
        system.life.seen[alarm.series] = max(seen, system.life.seen[alarm.series])
        if last is not None:
            system.series.last[alarm.series] = last


def _matters(alarm: Alarm) -> bool:
    """Whether it is in another state than a new one; what arms a device's own silence is in the columns."""
    return alarm.busy or (alarm.armed and alarm.series is not None)


def _row(system: AlarmSystem, alarm: Alarm) -> list[Any]:
    seen = 0 if alarm.series is None else int(system.life.seen[alarm.series])
    last = system.last(alarm) if alarm.phase is Phase.PENDING else None
    own = [getattr(alarm, name) for name in _OWN]
    return [alarm.rule.name, list(alarm.key), *own, seen, last, _plain(alarm.alert) if alarm.alert else None]


def _load_devices(part: Part, life: Life, same: bool) -> None:
    names, since = parted(part.columns["names"]), part.columns["since"]
    numbers = np.array([life.fleet.find(site, device) for site, device in names], np.intp)
    if not numbers.all():
        stranger = "/".join(names[int(np.argmin(numbers))])
        raise ValueError(f"it knows the device {stranger}, the region does not")
    for name in KEPT:
        getattr(life, name)[numbers] = part.columns[name]
    if same:
        life.since[:, numbers] = since
    else:  # a new rule on silence must not fire in the past
        life.floor = max(life.floor, int(life.heard.max()), int(since.max(initial=0)))


def _plain(alert: Alert) -> dict[str, Any]:
    """Its fields; what they hold is plain already."""
    return {name: getattr(alert, name) for name in _ALERT}


def _alert(plain: dict[str, Any]) -> Alert:
    return Alert(**{**plain, "holds": tuple(plain["holds"])})
