"""Signs of life and their lack: who was heard, whose silence counts, and from when."""

from __future__ import annotations

import numpy as np

from collector.alarms.kinds.kind import Judgement, Phase
from collector.alarms.lifecycle import Target
from collector.alarms.timers import Timer
from collector.alarms.world import World
from collector.core.readings import I32, I64, Bools


def heard(world: World, unit: int, now: int, offset: int, reading: bool) -> None:
    """A sign of life of a device: its silence is broken, its publisher is there. A reading arms."""
    field = world.devices
    field.heard[unit] = now
    voice = int(field.voice[unit])
    if field.gone[voice]:
        _regain(world, voice, now)
    first = reading and not field.armed[unit]
    field.armed[unit] |= reading
    if unit in field.absences:
        for target in field.absences[unit]:
            target.armed = bool(field.armed[unit])
            broken(world, target, now, offset)
        world.settle_device(unit)
        return
    if first:
        world.await_silence(unit)
    field.rewatch(unit)


def newcomers(world: World, units: I32, watched: Bools, received: I64) -> Bools | None:
    """Which of the watched rows do nothing but arm their device, whose silence ends after all these rows.

    After a start that may be every device of a nation. None if there are none.
    """
    rows = np.flatnonzero(watched)
    if not len(rows):
        return None
    field, of = world.devices, units[rows]
    plain = ~(field.armed[of] | field.held[of] | field.gone[field.voice[of]])
    ends = int(received[0]) + field.shortest
    if not plain.any() or ends <= received[-1] or not world.vigil.beyond(ends):
        return None
    new = np.zeros(len(units), np.bool_)
    new[rows[plain]] = True
    return new


def welcome(world: World, units: I32) -> None:
    """Arm the devices of rows that were taken, of those that `newcomers` told."""
    world.devices.armed[units] = True
    world.devices.watch[units] = False


def broken(world: World, target: Target, now: int, offset: int) -> None:
    """The silence that the target watches for is broken; from here on it is counted anew."""
    world.feed(target, Judgement.CLEAR, None, now, offset)
    arm(world, target)


def lose(world: World, publisher: int) -> None:
    """The publisher is gone: those behind it are unknown."""
    world.devices.gone[publisher] = True
    world.devices.rewatch_behind(publisher)


def fall_due(world: World, until: int) -> None:
    """Make targets, with a deadline each, of the silences that are too long by then, as is known now."""
    while (due := world.vigil.soonest(world.devices, world.floor, until)) is not None:
        for target in world.hold_device(due.unit):
            arm(world, target)


def arm(world: World, target: Target) -> None:
    """Give the target a deadline, if silence from here on means something and it has none."""
    if not (target.rule.criterion.silence and target.armed) or target.silent:
        return
    if target.phase in {Phase.PENDING, Phase.ACTIVE}:
        return
    if world.devices.unknown(world.unit(target)):
        return
    target.silent = deadline(world, target)
    world.push(target, target.silent, Timer.SILENCE)


def deadline(world: World, target: Target) -> int:
    """When the silence is too long, by what is known now."""
    field, unit, number = world.devices, world.unit(target), world.number(target)
    seen = field.heard[unit] if number is None else world.columns.seen[number]
    return max(int(seen), world.floor, target.since, field.spoken_of(unit)) + target.rule.criterion.silence


def _regain(world: World, publisher: int, now: int) -> None:
    """The publisher speaks again, for itself or for another: silence behind it counts from now."""
    field = world.devices
    field.gone[publisher], field.returned[publisher] = False, now
    for unit in field.behind.get(publisher, ()):
        if unit not in field.absences:
            world.await_silence(unit)
        series = (world.columns.targets.get(number, ()) for number in field.series_absences.get(unit, ()))
        for targets in (field.absences.get(unit, ()), *series):
            for target in targets:
                arm(world, target)
    field.rewatch_behind(publisher)
