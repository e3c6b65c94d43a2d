"""How each kind of fault breaks the world, and how it is mended: a table of two functions a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from simulators.scenario import POISONS, Fault
from simulators.world import NEVER, Loss, Place, Unit

if TYPE_CHECKING:
    from simulators.simulation import Simulation

Act = Callable[["Simulation", Fault, int], None]
_REPAIR_MS: Final = 40_000  # off and on again


def _on_places(change: Callable[[Simulation, Place, int], None]) -> Act:
    def act(sim: Simulation, fault: Fault, t: int) -> None:
        for site in fault.sites:
            if site in sim.world.places:
                change(sim, sim.world.places[site], t)

    return act


def _on_units(change: Callable[[Simulation, Unit, Fault, int], None]) -> Act:
    def act(sim: Simulation, fault: Fault, t: int) -> None:
        for unit in sim.hit_units(fault):
            change(sim, unit, fault, t)

    return act


def _mains_off(sim: Simulation, place: Place, t: int) -> None:
    place.mains_out += 1
    if place.mains_out > 1:
        return
    place.mains_out_at = t
    if place.battery is not None and not place.genset:
        place.battery.turn(t, draining=True)
        sim.settle_at(place.battery.empty_at())


def _mains_on(sim: Simulation, place: Place, t: int) -> None:
    place.mains_out -= 1
    if place.battery is not None and place.mains_out == 0:
        place.battery.turn(t, draining=False)


def _add(name: str, by: int) -> Act:
    def change(_: Simulation, place: Place, t: int) -> None:
        setattr(place, name, getattr(place, name) + by)

    return _on_places(change)


def _cut(sim: Simulation, fault: Fault, t: int) -> None:
    for link in fault.links:
        sim.world.network.cut(link)


def _mend(sim: Simulation, fault: Fault, t: int) -> None:
    for link in fault.links:
        sim.world.network.mend(link)


def _weaken(sim: Simulation, fault: Fault, t: int, *, slowly: bool) -> None:
    full = t if not slowly else sim.end_of(fault)
    loss = Loss(float(fault.params["db"]), t, full)
    sim.losses[fault] = loss
    for link in fault.links:
        sim.world.spliced.setdefault(link, []).append(loss)
    for device in fault.devices:
        sim.world.units[device].losses.append(loss)


def _strengthen(sim: Simulation, fault: Fault, t: int) -> None:
    loss = sim.losses.pop(fault)
    for link in fault.links:
        sim.world.spliced[link].remove(loss)
    for device in fault.devices:
        sim.world.units[device].losses.remove(loss)


def _hang(sim: Simulation, unit: Unit, fault: Fault, t: int) -> None:
    unit.hung += 1


def _restart(sim: Simulation, unit: Unit, fault: Fault, t: int) -> None:
    if unit.hung:
        unit.hung -= 1
        sim.boot(unit, t)


def _stick(sim: Simulation, unit: Unit, fault: Fault, t: int) -> None:
    metric = str(fault.params["metric"])
    unit.stuck_by[metric] += 1
    unit.stuck.setdefault(metric, None)


def _unstick(sim: Simulation, unit: Unit, fault: Fault, t: int) -> None:
    metric = str(fault.params["metric"])
    unit.stuck_by[metric] -= 1
    if not unit.stuck_by[metric]:
        del unit.stuck[metric]


def _clock(sim: Simulation, unit: Unit, fault: Fault, t: int) -> None:
    unit.clock_ms += int(float(fault.params["offset"]) * 1000)


def _clock_right(sim: Simulation, unit: Unit, fault: Fault, t: int) -> None:
    unit.clock_ms -= int(float(fault.params["offset"]) * 1000)


def _to_1970(sim: Simulation, unit: Unit, fault: Fault, t: int) -> None:
    """A power cut; the clock has no battery, and no time server answers."""
    unit.in_1970 += 1
    unit.ready_at = NEVER
    sim.later(t + _REPAIR_MS, lambda now: sim.boot(unit, now))


def _from_1970(sim: Simulation, unit: Unit, fault: Fault, t: int) -> None:
    unit.in_1970 -= 1


def _poison(sim: Simulation, unit: Unit, fault: Fault, t: int) -> None:
    unit.poison.append(_payload(fault))


def _unpoison(sim: Simulation, unit: Unit, fault: Fault, t: int) -> None:
    unit.poison.remove(_payload(fault))


def _payload(fault: Fault) -> bytes:
    return POISONS[str(fault.params.get("payload", "not_json"))]


def _double(sim: Simulation, unit: Unit, fault: Fault, t: int) -> None:
    unit.shares.append(_share(fault))


def _single(sim: Simulation, unit: Unit, fault: Fault, t: int) -> None:
    unit.shares.remove(_share(fault))


def _share(fault: Fault) -> float:
    return float(fault.params.get("share", 1.0))


def _delay(sim: Simulation, unit: Unit, fault: Fault, t: int) -> None:
    unit.late_ms.append(_late_ms(fault))


def _hurry(sim: Simulation, unit: Unit, fault: Fault, t: int) -> None:
    unit.late_ms.remove(_late_ms(fault))


def _late_ms(fault: Fault) -> int:
    return int(float(fault.params["delay"]) * 1000)


def _reconnect(sim: Simulation, fault: Fault, t: int) -> None:
    """Every connection breaks within a second; all come back as fast as they can."""
    for publisher in sim.publishers_at(fault.sites):
        sim.later(t + int(sim.rng.uniform(0, 1000)), publisher.drop)
    sim.settle_at(t + 1_001)


def _kill(sim: Simulation, fault: Fault, t: int, by: int) -> None:
    for device in fault.devices:
        publisher = sim.publishers.get(device)
        if publisher is not None:
            publisher.dead += by


def _restart_broker(sim: Simulation, fault: Fault, t: int) -> None:
    sim.tell("broker_restart", t)
    for publisher in sim.publishers.values():
        publisher.drop(t)


def _rise(sim: Simulation, fault: Fault, t: int) -> None:
    """The wave reaches each gauge downstream after the one before; it is as long at each of them."""
    length = sim.end_of(fault) - t
    lag = length // max(12, 2 * len(fault.devices))
    for number, device in enumerate(fault.devices):
        start = t + number * lag
        end = start + length - (len(fault.devices) - 1) * lag
        sim.world.units[device].levels.append((start, end, float(fault.params["peak_cm"])))


def _nothing(sim: Simulation, fault: Fault, t: int) -> None:
    """It ends by itself."""


ACTS: Final[Mapping[str, tuple[Act, Act]]] = {
    "mains_out": (_on_places(_mains_off), _on_places(_mains_on)),
    "switched_off": (_add("off", 1), _add("off", -1)),
    "dark": (_add("dark", 1), _add("dark", -1)),
    "fibre_cut": (_cut, _mend),
    "dirty_splice": (lambda sim, fault, t: _weaken(sim, fault, t, slowly=False), _strengthen),
    "optical_decay": (lambda sim, fault, t: _weaken(sim, fault, t, slowly=True), _strengthen),
    "hung": (_on_units(_hang), _on_units(_restart)),
    "stuck": (_on_units(_stick), _on_units(_unstick)),
    "wrong_clock": (_on_units(_clock), _on_units(_clock_right)),
    "epoch_1970": (_on_units(_to_1970), _on_units(_from_1970)),
    "poison": (_on_units(_poison), _on_units(_unpoison)),
    "duplicate": (_on_units(_double), _on_units(_single)),
    "late": (_on_units(_delay), _on_units(_hurry)),
    "mass_reconnect": (_reconnect, _nothing),
    "poller_dead": (
        lambda sim, fault, t: _kill(sim, fault, t, 1),
        lambda sim, fault, t: _kill(sim, fault, t, -1),
    ),
    "lte_down": (_add("lte_out", 1), _add("lte_out", -1)),
    "broker_restart": (_restart_broker, _nothing),
    "collector_link_dead": (
        lambda sim, fault, t: sim.tell("collector_cut", t),
        lambda sim, fault, t: sim.tell("collector_whole", t),
    ),
    "flood": (_rise, _nothing),
}
"""For each kind of fault: how it begins, how it ends."""
