"""What is simulated: places with power and a way to the centre, devices that run or do not. State, no events.

Times are integer milliseconds from the simulation's start.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Final, Literal
from zoneinfo import ZoneInfo

from devices.catalogue import KINDS
from devices.hours import WEEK, Hours
from devices.model import Device, Kind, Site
from devices.region import Region
from simulators.network import Network
from simulators.signals import Drift, sunshine

Path = Literal["fibre", "lte"]
NEVER: Final = 1 << 62
LOSS_OF_SIGNAL: Final = 1
DYING_GASP: Final = 2
_BATTERY_KINDS: Final = frozenset({"power"})  # a power sensor watches a battery; without one there is none
_DARK_DBM: Final = -30.0  # where a GPON receiver loses the signal for good


@dataclass(slots=True)
class Battery:
    """A battery behind a site: `hours` from full to empty at full load, `refill` hours back."""

    hours: float
    refill: float
    pct: float = 100.0
    since: int = 0
    draining: bool = False
    load: float = 1.0

    def level(self, t: int) -> float:
        """Percent left."""
        passed = (t - self.since) / 3_600_000
        if self.draining:
            return max(0.0, self.pct - 100.0 * self.load * passed / self.hours)
        return min(100.0, self.pct + 100.0 * passed / self.refill)

    def turn(self, t: int, *, draining: bool | None = None, load: float | None = None) -> None:
        """From now on drain or fill, at this load."""
        self.pct, self.since = self.level(t), t
        self.draining = self.draining if draining is None else draining
        self.load = self.load if load is None else load

    def empty_at(self) -> int:
        """When it will be empty, if it drains on."""
        return self.since + math.ceil(self.pct / 100.0 * self.hours / self.load * 3_600_000)

    def volts(self, t: int) -> float:
        """A 12 V lead-acid battery's voltage."""
        level = self.level(t)
        if not self.draining:
            return 13.5 if level >= 99.5 else 13.0 + 0.4 * level / 100.0
        return 10.5 + 2.1 * math.pow(level / 100.0, 0.6)


@dataclass(slots=True)
class Place:
    """A site: its power, and the way by which it reaches the centre. Counters say how many faults hold."""

    site: Site
    hours: Hours
    battery: Battery | None
    genset: bool
    lte: bool
    mains_out: int = 0
    mains_out_at: int = 0  # since when, if they are
    dark: int = 0
    off: int = 0
    lte_out: int = 0
    powered: bool = True
    path: Path | None = "fibre"
    lost_at: int = NEVER  # since when there is no fibre
    back_at: int = -NEVER  # since when there is fibre again
    switch_ms: int = 10_000  # how long the router takes to fall back to LTE
    pinned: Path | None = None  # by a command
    onts: list[Unit] = field(default_factory=list)
    router: Unit | None = None
    door_until: int = 0

    def has_power(self, t: int) -> bool:
        """Whether its devices have power now."""
        if self.dark or self.off:
            return False
        return not self.mains_out or self.genset or (self.battery is not None and self.battery.level(t) > 0)


@dataclass(slots=True)
class Loss:
    """Decibels too many: at once, or growing until `full`."""

    db: float
    since: int
    full: int

    def at(self, t: int) -> float:
        """Decibels now."""
        return self.db if t >= self.full else self.db * (t - self.since) / max(1, self.full - self.since)


@dataclass(slots=True)
class Unit:
    """A device: when it came up, what is wrong with it, and its own character, drawn from the seed."""

    device: Device
    kind: Kind
    place: Place
    rng: Random
    drift: Drift
    luck: float
    interval: int
    boot_ms: int
    ready_at: int = 0
    age_s: int = 0  # uptime before the simulation began
    hung: int = 0
    down_cause: int = 0
    seq: int = -1
    turn: int = 0  # rises when its rhythm begins anew
    clock_ms: int = 0
    in_1970: int = 0
    shares: list[float] = field(default_factory=list)  # of its messages that come twice, for each fault
    late_ms: list[int] = field(default_factory=list)
    poison: list[bytes] = field(default_factory=list)
    stuck: dict[str, float | bool | None] = field(default_factory=dict)
    stuck_by: Counter[str] = field(default_factory=Counter)  # how many faults hold a metric
    losses: list[Loss] = field(default_factory=list)
    levels: list[tuple[int, int, float]] = field(default_factory=list)  # floods: from, until, peak
    shed: bool = False
    fan: bool = False
    lit: bool = True

    def running(self, t: int) -> bool:
        """Powered, up, and not hung."""
        return t >= self.ready_at and not self.hung

    def uptime_s(self, t: int) -> int:
        """Seconds since it came up."""
        return self.age_s + max(0, t - self.ready_at) // 1000


class World:
    """All places and devices of a region, and the network between them."""

    def __init__(self, region: Region, seed: int, start: datetime, every: dict[str, float]) -> None:
        self.region = region
        self.network = Network(region)
        self.spliced: dict[str, list[Loss]] = {}
        self._seed = seed
        self._every = every
        zoned = start.astimezone(ZoneInfo(region.timezone))
        self._week_at = (
            zoned.weekday() * 86_400 + zoned.hour * 3600 + zoned.minute * 60 + zoned.second
        ) + zoned.microsecond / 1e6
        self._warm = Drift(f"{seed}/weather", 5400.0)
        self._wet = Drift(f"{seed}/rain", 1800.0)
        second_uplink = {link.a for link in region.links.values() if link.kind == "lte"}
        self.places = {
            site.id: self._place(site, site.id in second_uplink)
            for site in region.sites.values()
            if site.kind != "node"
        }
        self.units = {device.id: self._unit(device) for device in region.devices.values()}
        for unit in self.units.values():
            if unit.device.kind == "ont":
                unit.place.onts.append(unit)
            elif unit.device.kind == "router":
                unit.place.router = unit
        self.centre = self.places[region.centre]

    def random(self, *names: str) -> Random:
        """A stream of its own for whatever the names name."""
        return Random("/".join((str(self._seed), *names)))  # noqa: S311 (a simulation, not a secret)

    def local(self, t: int) -> float:
        """The second of the local week. The offset from UTC is that of the start."""
        return (self._week_at + t / 1000) % WEEK

    def outdoor(self, t: int) -> float:
        """Degrees Celsius outside, in the lowlands."""
        return 24.5 + 6.5 * sunshine(self.local(t)) + 1.2 * self._warm(t / 1000)

    def rain(self, unit: Unit, t: int) -> float:
        """Millimetres an hour at a gauge: a shower now and then."""
        return max(0.0, 9.0 * (self._wet(t / 1000) + 0.5 * unit.drift(t / 1000)) - 5.0)

    def fibre(self, place: Place, t: int) -> bool:
        """Whether a place's fibre works, its own terminals included."""
        if not self.network.reaches(self.region.centre, place.site.id):
            return False
        return all(ont.lit and ont.running(t) for ont in place.onts)

    def olt_of(self, ont: Unit) -> Unit | None:
        """The OLT that serves a terminal, by its label."""
        return self.units.get(ont.device.labels.get("olt", ""))

    def light(self, ont: Unit, t: int) -> float | None:
        """What a terminal receives, in dBm; None without light."""
        olt = self.olt_of(ont)
        root = olt.place.site.id if olt else self.region.centre
        if olt is not None and not olt.running(t):
            return None
        if not self.network.reaches(root, ont.place.site.id):
            return None
        dbm = self._budget(ont, root, t)
        return dbm if dbm > _DARK_DBM else None

    def _budget(self, ont: Unit, root: str, t: int) -> float:
        # Class B+ sends 1.5 to 5 dBm; a 1:16 splitter costs 13.8 dB, a kilometre 0.35 (G.984.2).
        way = self.network.way(root, ont.place.site.id)
        dbm = 3.2 - 13.8 - 0.35 * sum(link.length_km for link in way) - 0.6 - 2.2 * ont.luck
        for link in way:
            for loss in self.spliced.get(link.id, ()):
                dbm -= loss.at(t) * (
                    1.0 + 0.12 * ont.drift(t / 1000 * 20)
                )  # a bad splice moves with the wind
        return dbm - sum(loss.at(t) for loss in ont.losses)

    def _place(self, site: Site, lte: bool) -> Place:
        rng = self.random("place", site.id)
        watched = any(device.kind in _BATTERY_KINDS for device in self.region.devices_at(site.id))
        battery = Battery(rng.uniform(2.0, 7.0), rng.uniform(6.0, 10.0)) if watched else None
        genset = site.kind in {"centre", "agency"}
        return Place(
            site, Hours.parse(site.hours), battery, genset, lte, switch_ms=int(rng.uniform(6_000, 14_000))
        )

    def _unit(self, device: Device) -> Unit:
        rng = self.random("device", device.id)
        kind = KINDS[device.kind]
        interval = self._every.get(kind.name, INTERVALS_S.get(kind.name, 30.0))
        boot = {"router": (70, 110), "ont": (35, 60), "olt": (150, 240)}.get(kind.name, (10, 25))
        return Unit(
            device=device,
            kind=kind,
            place=self.places[device.site],
            rng=rng,
            drift=Drift(f"{self._seed}/{device.id}", 900.0),
            luck=rng.random(),
            interval=max(100, int(interval * 1000)),
            boot_ms=int(rng.uniform(*boot) * 1000),
            age_s=int(rng.expovariate(1 / 1_000_000)),
        )


INTERVALS_S: Final = {
    "router": 10.0,
    "ont": 30.0,
    "olt": 30.0,
    "power": 10.0,
    "climate": 30.0,
    "river": 60.0,
    "host": 10.0,
}
"""How often each kind of device publishes, unless a scenario says otherwise."""
