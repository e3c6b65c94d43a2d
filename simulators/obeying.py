"""How a device obeys a command: a table of functions. Each changes the world and says what it did."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from devices.model import Command
from simulators.world import NEVER, Unit

if TYPE_CHECKING:
    from simulators.simulation import Simulation

Obey = Callable[["Simulation", Unit, Mapping[str, object], int], str]
_OFF_MS: Final = 3_000


def obey(sim: Simulation, unit: Unit, command: Command, t: int) -> str:
    """Carry the command out at `t`. Raises ValueError if the device cannot."""
    if command.name not in unit.kind.commands:
        raise ValueError(f"a {unit.kind.name} knows no {command.name}")
    if command.name not in unit.device.actuators:
        raise ValueError(f"{unit.device.id} has no actuator for {command.name}")
    if not _answers(unit, t, rebooting=command.name == "reboot"):
        raise ValueError("the device does not answer")
    return _TABLE[command.name](sim, unit, command.args, t)


def _answers(unit: Unit, t: int, *, rebooting: bool) -> bool:
    """Whether a command gets through to it. What hangs can still be made to start anew."""
    if not unit.place.powered and unit.kind.name != "river":
        return False
    return unit.lit if rebooting else unit.running(t)


def _reboot(sim: Simulation, unit: Unit, args: Mapping[str, object], t: int) -> str:
    unit.hung = 0  # what a person would have done by pulling the plug
    unit.ready_at = NEVER
    sim.later(t + _OFF_MS, lambda now: sim.boot(unit, now))
    sim.settle_at(t + 1)
    return f"restarting, about {(_OFF_MS + unit.boot_ms) // 1000} s"


def _switch_uplink(sim: Simulation, unit: Unit, args: Mapping[str, object], t: int) -> str:
    to = args.get("to")
    if to not in ("lte", "fibre", "auto"):  # no set: it may be a list, which no set takes
        raise ValueError(f"to is {to!r}; it is one of lte, fibre, auto")
    if to == "lte" and not unit.place.lte:
        raise ValueError("there is no LTE at this site")
    unit.place.pinned = None if to == "auto" else to  # type: ignore[assignment]
    unit.place.lost_at = t - unit.place.switch_ms if to == "lte" else unit.place.lost_at
    sim.settle_at(t + 1)
    return f"uplink {to}"


def _cycle_port(sim: Simulation, unit: Unit, args: Mapping[str, object], t: int) -> str:
    """The port that feeds the terminal goes off and on, so the terminal starts anew."""
    for ont in unit.place.onts:
        _reboot(sim, ont, {}, t)
    return f"port {args.get('port', 1)} was off for {_OFF_MS // 1000} s"


def _shed(sim: Simulation, unit: Unit, args: Mapping[str, object], t: int) -> str:
    return _load(sim, unit, t, shed=True)


def _restore(sim: Simulation, unit: Unit, args: Mapping[str, object], t: int) -> str:
    return _load(sim, unit, t, shed=False)


def _load(sim: Simulation, unit: Unit, t: int, *, shed: bool) -> str:
    unit.shed = shed
    battery = unit.place.battery
    if battery is not None:
        battery.turn(t, load=0.45 if shed else 1.0)
        if battery.draining:
            sim.settle_at(battery.empty_at())
    return "load shed" if shed else "load restored"


def _fan(sim: Simulation, unit: Unit, args: Mapping[str, object], t: int) -> str:
    on = args.get("on", True)
    if on is not True and on is not False:
        raise ValueError(f"on is {on!r}; it is true or false")
    unit.fan = on
    return "fan on" if on else "fan off"


def _siren(sim: Simulation, unit: Unit, args: Mapping[str, object], t: int) -> str:
    return "siren sounded"


_TABLE: Final[Mapping[str, Obey]] = {
    "reboot": _reboot,
    "switch_uplink": _switch_uplink,
    "cycle_port": _cycle_port,
    "shed_load": _shed,
    "restore_load": _restore,
    "fan": _fan,
    "siren": _siren,
}
