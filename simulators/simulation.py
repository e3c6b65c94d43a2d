"""The whole regency in one stream of events: what the broker sees, in the order in which it sees it.

A pure function of region, scenario, seed and start: the same four give the same items, to the byte. Whoever
drives it says how far time has come; nothing here reads a clock. Times are integer ms from the start.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Final

from devices.model import Address, Command, Event, Suffix
from devices.payload import native
from devices.region import Region
from devices.topics import build
from simulators import obeying
from simulators.breaking import ACTS
from simulators.habits import Habit, habitual
from simulators.measuring import MEASURES, pinged, rounded
from simulators.publisher import Item, Link, Publisher, What
from simulators.scenario import Fault, Scenario
from simulators.truth import Broken, Truth
from simulators.world import DYING_GASP, LOSS_OF_SIGNAL, NEVER, Loss, Path, Place, Unit, World

_RAMP_MS: Final = (200, 6_000)  # how long the first connections take
_FAIL_BACK_MS: Final = 60_000  # fibre must hold so long before a router leaves LTE
_FIRST_MS: Final = 2_000  # the first readings come within so long of a connection


News = Callable[[Fault, Broken], None]
"""Hears of a fault that begins (the record's `until` is None) or has ended."""


class Simulation:
    """A region under a scenario.

    `skip`: publishers that are somebody else's, a real agent's for instance. `start` takes the place of the
    scenario's. `news` hears when a fault begins and ends.
    """

    def __init__(
        self,
        region: Region,
        scenario: Scenario,
        *,
        seed: int = 0,
        start: datetime | None = None,
        skip: Iterable[str] = (),
        news: News | None = None,
    ) -> None:
        self._news = news
        self.scenario = scenario
        self.start = start or scenario.start
        self.start_ms = round(self.start.timestamp() * 1000)
        self.now = 0
        self.truth = Truth()
        self.world = World(region, seed, self.start, dict(scenario.every))
        self.rng = self.world.random("events")
        self.losses: dict[Fault, Loss] = {}
        self._heap: list[tuple[int, int, Callable[[int], None]]] = []
        self._order = 0
        self._out: deque[Item] = deque()
        self._settling: set[int] = set()
        self._services: dict[str, str] = {}
        others = set(skip)
        self._units = [unit for unit in self.world.units.values() if unit.device.publisher not in others]
        self._topics = {
            unit.device.id: build(Address(unit.device.site, unit.device.id, Suffix.TELE))
            for unit in self._units
        }
        self.publishers = self._publishers()
        self._begin()

    def until(self, t: int) -> Iterator[Item]:
        """Everything that the outside sees up to and at `t`, in order."""
        while self._heap and self._heap[0][0] <= t:
            self.now, _, do = heapq.heappop(self._heap)
            do(self.now)
            while self._out:
                yield self._out.popleft()
        self.now = max(self.now, t)

    def next_at(self) -> int:
        """When the next thing happens; NEVER if nothing does."""
        return self._heap[0][0] if self._heap else NEVER

    def obey(self, device: str, command: Command) -> str:
        """Carry a command out now; what a device would answer. Raises ValueError if it cannot be."""
        return obeying.obey(self, self.world.units[device], command, self.now)

    # What faults and commands may do.

    def later(self, at: int, do: Callable[[int], None]) -> None:
        """Call `do(at)` when it is `at`."""
        self._order += 1
        heapq.heappush(self._heap, (at, self._order, do))

    def emit(self, item: Item) -> None:
        """The outside sees this."""
        self._out.append(item)

    def tell(self, what: What, t: int) -> None:
        """The outside hears of something that is not a publisher's."""
        self.emit(Item(t, what))

    def settle_at(self, at: int) -> None:
        """Look at everything again when it is `at`."""
        if at < NEVER and at not in self._settling:
            self._settling.add(at)
            self.later(at, self._settled)

    def boot(self, unit: Unit, t: int) -> None:
        """Start a device that has power; it runs when it has come up."""
        if unit.place.powered or unit.kind.name == "river":
            unit.ready_at = t + unit.boot_ms
            unit.age_s = 0
            self.settle_at(unit.ready_at)
        self.settle_at(t)

    def end_of(self, fault: Fault) -> int:
        """When the fault ends, at the latest with the scenario."""
        return round((self.scenario.duration if fault.until is None else fault.until) * 1000)

    def hit_units(self, fault: Fault) -> list[Unit]:
        """The devices that a fault is aimed at, by name or by site."""
        if fault.devices:
            return [self.world.units[device] for device in fault.devices]
        sites = set(fault.sites)
        return [unit for unit in self._units if unit.device.site in sites]

    def publishers_at(self, sites: Iterable[str]) -> list[Publisher]:
        """The publishers that stand at these sites."""
        known = set(sites)
        return [each for each in self.publishers.values() if each.device.site in known]

    # How it begins.

    def _publishers(self) -> dict[str, Publisher]:
        behind: dict[str, list[Unit]] = {}
        for unit in self._units:
            if unit.device.via:
                behind.setdefault(unit.device.via, []).append(unit)
        return {
            unit.device.id: Publisher(
                unit,
                behind.get(unit.device.id, []),
                self,
                self.world.random("publisher", unit.device.id),
                self._restart_rhythm,
            )
            for unit in self._units
            if not unit.device.via
        }

    def _begin(self) -> None:
        for habit in habitual(self.world, self.scenario.switched_off):
            if habit.off_at(0):
                self._people(habit, 0, off=True)
                self._darken(habit.place)
            self._plan_people(habit, 0)
        for fault in self.scenario.faults:
            self.later(round(fault.at * 1000), lambda t, fault=fault: self._break(fault, t))  # type: ignore[misc]
        self._look(0, haste_ms=_RAMP_MS)

    def _break(self, fault: Fault, t: int) -> None:
        before = {site: self._whole(place, t) for site, place in self.world.places.items()}
        record = Broken(
            fault=fault.kind,
            name=fault.name,
            cause=fault.cause,
            root=dict(zip(("kind", "id"), fault.root, strict=True)),
            at=t / 1000,
            until=None,
            sites=[],
            devices=list(fault.devices),
            params=dict(fault.params),
        )
        self.truth.broken.append(record)
        ACTS[fault.kind][0](self, fault, t)
        self._look(t)
        stands = {self.world.units[device].device.site for device in fault.devices}
        record.sites = [
            site
            for site, place in self.world.places.items()
            if site in fault.sites or site in stands or before[site] != self._whole(place, t)
        ]
        if self._news is not None:
            self._news(fault, record)
        if fault.until is not None:
            self.later(round(fault.until * 1000), lambda now: self._repair(fault, record, now))

    def _repair(self, fault: Fault, record: Broken, t: int) -> None:
        record.until = t / 1000
        ACTS[fault.kind][1](self, fault, t)
        self._look(t)
        if self._news is not None:
            self._news(fault, record)

    def _whole(self, place: Place, t: int) -> tuple[bool, bool]:
        return place.has_power(t), self.world.network.reaches(self.world.region.centre, place.site.id)

    def _plan_people(self, habit: Habit, t: int) -> None:
        at, off = habit.next(t)

        def act(now: int) -> None:
            if habit.away != off:
                self._people(habit, now, off=off)
                self._look(now)
            self._plan_people(habit, now)

        self.later(at, act)

    def _people(self, habit: Habit, t: int, *, off: bool) -> None:
        habit.away = off
        habit.place.off += 1 if off else -1
        site = habit.place.site.id
        if off:
            root = {"kind": "site", "id": site}
            entry = Broken(
                "switched_off", "habit", "switched_off", root, t / 1000, None, [site], [], {}, ambient=True
            )
            self.truth.broken.append(entry)
            return
        for entry in reversed(self.truth.broken):
            if entry.ambient and entry.sites == [site] and entry.until is None:
                entry.until = t / 1000
                break

    # How things stand.

    def _settled(self, t: int) -> None:
        self._settling.discard(t)
        self._look(t)

    def _look(self, t: int, haste_ms: tuple[int, int] = (1_000, 4_000)) -> None:
        """Find out what has power, light and a way to the centre, and tell those whom it concerns."""
        places = self.world.places.values()
        for place in places:
            if place.has_power(t) != place.powered:
                self._power(place, t)
        for unit in self._units:
            if unit.device.kind == "ont":
                self._lit(unit, t)
        for place in places:
            path = self._path(place, t)
            if path != place.path:
                place.path = path
            self._tell_service(place, t)
        for publisher in self.publishers.values():
            publisher.reconsider(t, self._link(publisher.unit, t), haste_ms)

    def _power(self, place: Place, t: int) -> None:
        if place.powered:
            for ont in place.onts:
                if ont.lit and ont.running(t):
                    self._gasp(ont, t)
            self._darken(place)
            return
        place.powered = True
        for unit in self._fed_by(place):
            self.boot(unit, t)

    def _darken(self, place: Place) -> None:
        place.powered = False
        for unit in self._fed_by(place):
            unit.ready_at = NEVER

    def _fed_by(self, place: Place) -> Iterator[Unit]:
        """The devices that live off a place's power: a gauge at the river has its own."""
        return (unit for unit in self._units if unit.place is place and unit.kind.name != "river")

    def _gasp(self, ont: Unit, t: int) -> None:
        """A terminal that loses power has just enough left to say so; nine in ten are heard."""
        ont.down_cause = DYING_GASP
        if ont.rng.random() < 0.9:
            self.later(t + int(ont.rng.uniform(200, 1_500)), lambda now: self._say_gasp(ont, now))

    def _say_gasp(self, ont: Unit, t: int) -> None:
        poller = self.publishers.get(ont.device.publisher)
        olt = self.world.olt_of(ont)
        if poller is None or not poller.unit.running(t) or (olt is not None and not self._polled(olt, t)):
            return
        topic = build(Address(ont.device.site, ont.device.id, Suffix.EVENT))
        event = Event("dying_gasp", self._clock(poller.unit, t), {})
        poller.say(t, topic, native.encode_event(event))

    def _lit(self, ont: Unit, t: int) -> None:
        lit = self.world.light(ont, t) is not None
        if ont.lit and not lit and ont.running(t):
            ont.down_cause = LOSS_OF_SIGNAL
        ont.lit = lit

    def _path(self, place: Place, t: int) -> Path | None:
        if not place.powered or not self.world.centre.powered:
            return None
        if self.world.fibre(place, t) and place.pinned != "lte":
            place.lost_at = NEVER
            if place.path != "lte" or place.pinned == "fibre":
                place.back_at = -NEVER
                return "fibre"
            if place.back_at == -NEVER:
                place.back_at = t
                self.settle_at(t + _FAIL_BACK_MS)
            return "fibre" if t >= place.back_at + _FAIL_BACK_MS else self._mobile(place)
        place.back_at = -NEVER
        if place.router is not None and not place.router.running(t):
            place.lost_at = NEVER  # a router that comes up waits for its terminal first
            return None
        if place.lost_at == NEVER:
            place.lost_at = t
            self.settle_at(t + place.switch_ms)
        return self._mobile(place) if t >= place.lost_at + place.switch_ms or place.path == "lte" else None

    def _mobile(self, place: Place) -> Path | None:
        return "lte" if place.lte and not place.lte_out and place.pinned != "fibre" else None

    def _tell_service(self, place: Place, t: int) -> None:
        state = place.path or "down"
        if state != self._services.get(place.site.id, "fibre"):
            self._services[place.site.id] = state
            self.truth.service(place.site.id, state, t)

    def _link(self, unit: Unit, t: int) -> Link:
        if unit.kind.name == "river":
            up = not unit.place.lte_out and self.world.centre.powered
            return True, unit.running(t), "own" if up else None
        return unit.place.powered, unit.running(t), unit.place.path

    # How devices speak.

    def _restart_rhythm(self, unit: Unit, t: int) -> None:
        unit.turn += 1
        first = int(unit.rng.uniform(100, max(101, min(_FIRST_MS, unit.interval))))
        self._plan_reading(unit, t + first, unit.turn)

    def _plan_reading(self, unit: Unit, at: int, turn: int) -> None:
        self.later(at, lambda t: self._read(unit, t, turn))

    def _read(self, unit: Unit, t: int, turn: int) -> None:
        if turn != unit.turn:
            return
        self._plan_reading(unit, t + unit.interval, turn)
        publisher = self.publishers[unit.device.publisher]
        if not publisher.unit.running(t) or publisher.dead:
            return
        values = self._values(unit, t)
        if values is None:
            return
        unit.seq = (unit.seq + 1) % 2**32
        clock = self._clock(publisher.unit, t, unit)
        payload = unit.poison[-1] if unit.poison else native.encode_tele(values, clock, unit.seq)
        self._deliver(unit, publisher, payload, t)

    def _values(self, unit: Unit, t: int) -> dict[str, float | bool] | None:
        device = unit.device
        if device.kind == "ont":
            was = unit.lit
            self._lit(unit, t)
            if unit.lit != was:
                self.settle_at(t)
        if device.kind == "router" and device.via:
            found = pinged(unit, self.world, t)
        elif device.via and not self._polled(unit, t):
            return None
        else:
            found = MEASURES[device.kind](unit, self.world, t)
        if found is None:
            return None
        values = rounded(found, unit.kind.metrics)
        for metric in unit.stuck:
            if unit.stuck[metric] is None:
                unit.stuck[metric] = values.get(metric)
            values[metric] = unit.stuck[metric]  # type: ignore[assignment]
        return {name: value for name, value in values.items() if value is not None}

    def _polled(self, unit: Unit, t: int) -> bool:
        """Whether the publisher behind a device can read it now."""
        publisher = self.publishers.get(unit.device.publisher)
        if publisher is None:
            return False
        if publisher.unit.place is unit.place:
            return unit.running(t)
        olt = self.world.olt_of(unit) if unit.device.kind == "ont" else unit
        return olt is None or (
            olt.running(t) and self.world.network.reaches(publisher.unit.place.site.id, olt.place.site.id)
        )

    def _clock(self, publisher: Unit, t: int, unit: Unit | None = None) -> int:
        """What the publisher's clock says, epoch ms; a fault may be the device's or its publisher's."""
        if publisher.in_1970 or (unit is not None and unit.in_1970):
            return max(0, t - publisher.ready_at)
        offset = publisher.clock_ms + (unit.clock_ms if unit is not None and unit is not publisher else 0)
        return max(0, self.start_ms + t + offset)

    def _deliver(self, unit: Unit, publisher: Publisher, payload: bytes, t: int) -> None:
        topic = self._topics[unit.device.id]
        late_ms = max(unit.late_ms, default=0)
        if late_ms:
            self.later(t + late_ms, lambda now: publisher.say(now, topic, payload))
        else:
            publisher.say(t, topic, payload)
        if unit.shares and unit.rng.random() < max(unit.shares):
            again = t + late_ms + int(unit.rng.uniform(50, 3_000))
            self.later(again, lambda now: publisher.say(now, topic, payload))
