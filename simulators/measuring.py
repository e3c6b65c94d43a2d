"""What each kind of device measures: a function of the device, the world and the time, for each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from devices.model import Metric
from simulators.signals import bump, office, sunshine, village
from simulators.world import Unit, World

Values = dict[str, float | bool]
Measure = Callable[[Unit, World, int], Values | None]
"""(device, world, ms from the start) to values by metric; None if it cannot be read just now."""

_MBIT: Final = 1_000_000


def router(unit: Unit, world: World, t: int) -> Values | None:
    """A router's own view of its uplink and its processor."""
    place, gauss = unit.place, unit.rng.gauss
    on_lte = place.path == "lte"
    km = 0.0 if on_lte else world.network.distance(world.region.centre, place.site.id)
    km = km if km < 1e6 else 0.0
    busy = _busy(unit, world, t) * (0.5 if on_lte else 1.0)
    rx = max(2_000.0, _capacity(unit) * busy * (1 + 0.25 * gauss(0, 1)))
    weak = max((_errors(ont, world, t) for ont in place.onts), default=0.0)
    base = _lte_ms(unit) if on_lte else 1.1 + 0.012 * km + 3.0 * busy**3 + abs(gauss(0, 0.35))
    return {
        "latency_ms": base + 4.0 * weak,
        "loss_pct": min(100.0, (0.15 * abs(gauss(0, 1)) if on_lte else 0.0) + weak),
        "jitter_ms": abs(gauss(0, 6.0 if on_lte else 0.25)) + 0.05 + weak,
        "rx_bps": rx,
        "tx_bps": rx * (0.12 + 0.1 * unit.luck),
        "cpu_pct": 6 + 34 * busy + abs(gauss(0, 2.5)),
        "on_lte": on_lte,
    }


def pinged(unit: Unit, world: World, t: int) -> Values | None:
    """A router as the centre's ping sees it."""
    place, gauss = unit.place, unit.rng.gauss
    if not unit.running(t) or place.path is None:
        return {"loss_pct": 100.0}
    if place.path == "lte":
        return {
            "latency_ms": _lte_ms(unit),
            "loss_pct": 0.15 * abs(gauss(0, 1)),
            "jitter_ms": abs(gauss(0, 6)) + 0.05,
        }
    km = world.network.distance(world.region.centre, place.site.id)
    weak = max((_errors(ont, world, t) for ont in place.onts), default=0.0)
    return {
        "latency_ms": 1.4 + 0.012 * (km if km < 1e6 else 0) + abs(gauss(0, 0.4)) + 4 * weak,
        "loss_pct": min(100.0, weak),
        "jitter_ms": abs(gauss(0, 0.3)) + 0.05,
    }


def ont(unit: Unit, world: World, t: int) -> Values | None:
    """A terminal's optics, as its OLT tells them."""
    rx = world.light(unit, t)
    if rx is None or not unit.running(t):
        return None
    gauss = unit.rng.gauss
    root = world.olt_of(unit)
    km = world.network.distance(root.place.site.id if root else world.region.centre, unit.place.site.id)
    aged = 0.25 * unit.age_s / 31_536_000 + 0.25 * t / 31_536_000_000  # a laser loses about 0.25 dB a year
    warm = world.outdoor(t) + 17 + 6 * unit.luck + gauss(0, 0.2)
    return {
        "rx_dbm": rx + 0.12 * unit.drift(t / 1000) + gauss(0, 0.025),
        "tx_dbm": 2.4 - aged - 0.004 * (warm - 45) + gauss(0, 0.02),
        "olt_rx_dbm": rx - 0.9 - aged - 0.05 * km + gauss(0, 0.04),
        "distance_m": round(km * 1000) + 12 + round(unit.luck * 40),
        "temperature_c": warm,
        "uptime_s": unit.uptime_s(t),
        "last_down_cause": unit.down_cause,
    }


def olt(unit: Unit, world: World, t: int) -> Values | None:
    """The head of a tree of terminals."""
    served = [each for each in world.units.values() if each.device.labels.get("olt") == unit.device.id]
    ports = {each.device.labels.get("port", "0") for each in served if each.lit}
    return {
        "cpu_pct": 14 + 10 * _busy(unit, world, t) + abs(unit.rng.gauss(0, 2)),
        "temperature_c": _room(unit, world, t) + 9 + unit.rng.gauss(0, 0.3),
        "ports_up": max(len(ports), 0 if served else 1),
        "uptime_s": unit.uptime_s(t),
    }


def power(unit: Unit, world: World, t: int) -> Values | None:
    """The mains and the battery behind them."""
    place, gauss = unit.place, unit.rng.gauss
    evening = bump(world.local(t) % 86_400 / 3600, 19.5, 4)
    mains = 0.0 if place.mains_out else 221.5 - 5.5 * evening + 2.2 * unit.drift(t / 1000) + gauss(0, 0.7)
    battery = place.battery
    load = (70 + 90 * unit.luck) * (0.45 if unit.shed else 1.0) + gauss(0, 2)
    return {
        "mains_v": mains,
        "on_battery": battery is not None and battery.draining,
        "battery_pct": battery.level(t) if battery else 100.0,
        "battery_v": battery.volts(t) + gauss(0, 0.015) if battery else 13.5,
        "load_w": max(5.0, load),
    }


def climate(unit: Unit, world: World, t: int) -> Values | None:
    """A room with devices, or with vaccines."""
    place, rng = unit.place, unit.rng
    working = place.hours.open(world.local(t))
    if working and t >= place.door_until and rng.random() < 0.002:
        place.door_until = t + int(rng.uniform(15_000, 90_000))
    return {
        "temperature_c": _room(unit, world, t) + rng.gauss(0, 0.08),
        "humidity_pct": 52 + 6 * unit.drift(t / 1000) + rng.gauss(0, 0.3),
        "door_open": t < place.door_until,
        "smoke": False,
        "water_leak": False,
    }


def river(unit: Unit, world: World, t: int) -> Values | None:
    """A gauge: the river's level against its own zero, and the rain on its roof."""
    flood = sum(_flood(t, *wave) for wave in unit.levels)
    raining = 38.0 * max((_rain(t, *wave) for wave in unit.levels), default=0.0)
    return {
        "level_cm": 70 + 40 * unit.luck + 12 * unit.drift(t / 10_000) + flood + unit.rng.gauss(0, 0.6),
        "rain_mm_h": max(0.0, world.rain(unit, t) + raining * (0.8 + 0.2 * unit.rng.random())),
    }


def host(unit: Unit, world: World, t: int) -> Values | None:
    """A computer at the centre."""
    rng = unit.rng
    busy = 0.3 + 0.3 * unit.luck + 0.2 * unit.drift(t / 1000)
    return {
        "cpu_pct": 40 * busy + abs(rng.gauss(0, 3)),
        "mem_pct": 38 + 14 * unit.luck + 2 * unit.drift(t / 5000),
        "disk_pct": 31 + 20 * unit.luck + t / 86_400_000 * 0.05,
        "load1": max(0.0, 1.6 * busy + rng.gauss(0, 0.1)),
        "rx_bps": 3.0 * _MBIT * busy * (1 + 0.2 * rng.random()),
        "tx_bps": 1.0 * _MBIT * busy * (1 + 0.2 * rng.random()),
    }


MEASURES: Final[Mapping[str, Measure]] = {
    "router": router,
    "ont": ont,
    "olt": olt,
    "power": power,
    "climate": climate,
    "river": river,
    "host": host,
}
"""How each kind of device is measured. A router that is only pinged is measured by `pinged`."""


def rounded(values: Values, metrics: Mapping[str, Metric]) -> Values:
    """Within what the sensor can say, in its own steps."""
    return {name: _rounded(value, metrics[name]) for name, value in values.items()}


def _rounded(value: float | bool, metric: Metric) -> float | bool:
    if metric.boolean:
        return bool(value)
    if metric.low is not None and value < metric.low:
        value = metric.low
    if metric.high is not None and value > metric.high:
        value = metric.high
    step = metric.resolution
    if step is None:
        return round(value, 2)
    return round(value) if step == 1 else round(round(value / step) * step, 6)


def _busy(unit: Unit, world: World, t: int) -> float:
    second = world.local(t)
    work = office(second, unit.place.hours)
    if unit.place.site.kind == "nagari":
        work = max(0.4 * work, village(second))
    return min(1.0, max(0.02, work * (0.8 + 0.4 * unit.luck) + 0.06 * unit.drift(t / 1000)))


def _lte_ms(unit: Unit) -> float:
    """There and back over the mobile network."""
    return 42.0 + abs(unit.rng.gauss(0, 12))


def _capacity(unit: Unit) -> float:
    return {"nagari": 45, "district": 80, "health": 40, "agency": 120, "centre": 600}.get(
        unit.place.site.kind, 40
    ) * float(_MBIT)


def _errors(ont: Unit, world: World, t: int) -> float:
    """Per cent of packets lost because a terminal sees too little light."""
    rx = world.light(ont, t)
    return 0.0 if rx is None or rx > -27.0 else min(60.0, (-27.0 - rx) ** 2 * 8.0 + 0.8)


def _room(unit: Unit, world: World, t: int) -> float:
    """Degrees in a cooled room; without mains the cooling stops and it nears the air outside."""
    cooled = 22.5 + 1.2 * unit.luck + 0.4 * unit.drift(t / 1000) + 0.8 * sunshine(world.local(t))
    place = unit.place
    warm = world.outdoor(t) + (1.0 if unit.fan else 4.0)
    if place.genset or not place.mains_out:
        return cooled
    share = min(1.0, (t - place.mains_out_at) / 3_600_000)
    return cooled + (warm - cooled) * share


def _rain(t: int, start: int, end: int, peak: float) -> float:
    """The rain that makes the wave comes before it; from 0 to 1."""
    return _flood(t + (end - start) // 5, start, end, peak) / peak


def _flood(t: int, start: int, end: int, peak: float) -> float:
    """A wave of water: up within a third of its time, down slowly."""
    if not start < t < end:
        return 0.0
    share = (t - start) / (end - start)
    return peak * (share / 0.33 if share < 0.33 else (1 - share) / 0.67)
