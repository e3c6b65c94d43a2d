"""Lets deadlines pass, in order, each at its own time. Entries are put off when they come up, not before."""

from __future__ import annotations

from collector.alarms import silence
from collector.alarms.actions import unshelve
from collector.alarms.kinds.kind import Judgement, Phase
from collector.alarms.lifecycle import Target, expire, interrupt
from collector.alarms.timers import Entry, Timer, Timers
from collector.alarms.vigil import Vigil
from collector.alarms.world import World
from collector.core.readings import SeriesKey


def fire(world: World, until: int, offset: int) -> None:
    """Let every deadline up to `until` pass; `offset` is the record before which they fall."""
    if world.orphans:
        _retire_orphans(world, until, offset)
    silence.fall_due(world, until)
    while _entry(world, until) is not None:
        entry = world.timers.pop()
        target = _target(world, entry)
        if target is not None:
            _pass(world, target, entry, offset)
        silence.fall_due(world, until)


def soonest(world: World, until: int) -> int | None:
    """The soonest deadline up to `until` that holds by what is known now."""
    entry = _entry(world, until)
    due = world.vigil.soonest(world.devices, world.floor, until if entry is None else entry)
    return entry if due is None else due.deadline


def _entry(world: World, until: int) -> int | None:
    """The soonest of the timers; those that do not hold are dropped or put off."""
    while (entry := world.timers.first()) is not None and entry.deadline <= until:
        deadline = _holds(world, entry)
        if deadline == entry.deadline:
            return deadline
        world.timers.pop()
        if deadline is not None:
            world.timers.push(entry._replace(deadline=deadline))
    return None


def restart(world: World) -> None:
    """Set all timers anew from the targets, and what each device's next sign of life would change."""
    world.timers, world.vigil = Timers(), Vigil()
    for target in world.targets():
        target.silent = 0
        if target.due:
            world.push(target, target.due, Timer.STEP)
        if target.shelved_until:
            world.push(target, target.shelved_until, Timer.SHELF)
        silence.arm(world, target)
    world.devices.rewatch_all()


def _retire_orphans(world: World, now: int, offset: int) -> None:
    orphans, world.orphans = world.orphans, []
    for alert in orphans:
        world.retire(alert, now, offset)


def _holds(world: World, entry: Entry) -> int | None:
    """The entry's deadline by what is known now: put off by a sign of life, or None if it is void."""
    target = _target(world, entry)
    if target is None:
        return None
    if entry.timer is Timer.STEP:
        return entry.deadline if target.due == entry.deadline else None
    if entry.timer is Timer.SHELF:
        return entry.deadline if target.shelved_until == entry.deadline else None
    if target.silent != entry.deadline:
        return None
    unknown = world.devices.unknown(world.unit(target))
    target.silent = 0 if unknown else silence.deadline(world, target)
    return target.silent or None


def _target(world: World, entry: Entry) -> Target | None:
    return world.held(entry.rule, SeriesKey(entry.site, entry.device, entry.metric))


def _pass(world: World, target: Target, entry: Entry, offset: int) -> None:
    if entry.timer is Timer.SHELF:
        if unshelve(target):
            world.note(target, "unshelved", entry.deadline, offset)
        world.settle(target)
        return
    if entry.timer is Timer.SILENCE:
        target.silent = 0
        world.feed(target, Judgement.VIOLATES, None, entry.deadline, offset)
    else:
        _expire(world, target, entry.deadline, offset)
    unit = world.unit(target)
    if target.phase is Phase.ACTIVE and not target.key.metric and unit in world.devices.behind:
        silence.lose(world, unit)
    world.settle(target)


def _expire(world: World, target: Target, deadline: int, offset: int) -> None:
    unknown = world.devices.unknown(world.unit(target))
    if target.rule.criterion.silence and target.phase is Phase.PENDING and unknown:
        interrupt(target)  # its silence says nothing any more: it is watched again when the publisher is back
        return
    kind = expire(target, world.last(target), deadline, offset)
    if kind is not None:
        world.note(target, kind, deadline, offset)
