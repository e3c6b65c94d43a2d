"""Signs of life and their lack: who was heard, whose silence counts, and from when."""

from __future__ import annotations

from collector.alarms.field import Unit
from collector.alarms.lifecycle import Phase, Target, Verdict
from collector.alarms.timers import Timer
from collector.alarms.world import World


def heard(world: World, unit: Unit, now: int, offset: int, reading: bool) -> None:
    """A sign of life of a device: its silence is broken, its publisher is there. A reading arms."""
    world.devices.heard[unit.number] = now
    if unit.voice.gone:
        _regain(world, unit.voice, now)
    unit.armed |= reading
    for target in unit.absences:
        target.armed = unit.armed
        broken(world, target, now, offset)
    world.devices.rewatch(unit)


def broken(world: World, target: Target, now: int, offset: int) -> None:
    """The silence that the target watches for is broken; from here on it is counted anew."""
    world.feed(target, Verdict.CLEAR, None, now, offset)
    arm(world, target)


def lose(world: World, publisher: Unit) -> None:
    """The publisher is gone: those behind it are unknown."""
    publisher.gone = True
    world.devices.rewatch_behind(publisher)


def arm(world: World, target: Target) -> None:
    """Give the target a deadline, if silence from here on means something and it has none."""
    watches = target.rule.test == "absent" and target.armed and not target.silent
    if not watches or target.phase in {Phase.PENDING, Phase.ACTIVE} or world.unit(target).unknown:
        return
    target.silent = deadline(world, target)
    world.push(target, target.silent, Timer.SILENCE)


def deadline(world: World, target: Target) -> int:
    """When the silence is too long, by what is known now."""
    unit, number = world.unit(target), world.number(target)
    seen = world.devices.heard[unit.number] if number is None else world.columns.seen[number]
    returned = unit.publisher.returned if unit.publisher else 0
    return max(int(seen), world.floor, target.since, returned) + target.rule.stale


def _regain(world: World, publisher: Unit, now: int) -> None:
    """The publisher speaks again, for itself or for another: silence behind it counts from now."""
    publisher.gone, publisher.returned = False, now
    for unit in publisher.behind:
        for target in unit.silences():
            arm(world, target)
    world.devices.rewatch_behind(publisher)
