"""People: who switches the equipment off when they leave the office."""

from __future__ import annotations

from random import Random
from typing import Final

from devices.hours import WEEK
from simulators.world import Place, World

_LEAVE_MS: Final = (0, 40 * 60_000)  # after closing
_COME_MS: Final = (-25 * 60_000, 10 * 60_000)  # around opening


class Habit:
    """A place whose people switch everything off outside hours. Its edges are drawn from the seed."""

    def __init__(self, place: Place, world: World) -> None:
        self.place = place
        self.away = False  # whether they have switched off; a fault may hold the place off as well
        self._world = world
        self._rng: Random = world.random("habit", place.site.id)

    def off_at(self, t: int) -> bool:
        """Whether the place is closed at `t`."""
        return not self.place.hours.open(self._world.local(t))

    def next(self, t: int) -> tuple[int, bool]:
        """When things change after `t`, and whether they are then off."""
        second = self._world.local(t)
        edges = [(at % WEEK, True) for _, at in self.place.hours.spans]
        edges += [(at % WEEK, False) for at, _ in self.place.hours.spans]
        wait, off = min(((at - second) % WEEK or WEEK, off) for at, off in edges)
        jitter = self._rng.uniform(*(_LEAVE_MS if off else _COME_MS))
        return max(t + 60_000, t + int(wait * 1000 + jitter)), off


def habitual(world: World, share: float) -> list[Habit]:
    """The nagari with such people: those with hours and without a battery, a `share` of them."""
    candidates = [
        place
        for place in world.places.values()
        if place.site.kind == "nagari" and not place.hours.always and place.battery is None
    ]
    return [
        Habit(place, world) for place in candidates if world.random("people", place.site.id).random() < share
    ]
