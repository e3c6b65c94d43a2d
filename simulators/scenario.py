"""Scenarios: what is to break, where, from when to when. TOML, checked against the region it is for.

name = "trunk-cut"
start = 2026-01-12T22:00:00+07:00        # where virtual time begins
duration = "2h"
summary = { id = "…", en = "…" }

[[fault]]
kind = "fibre_cut"
cable = "KBL-01"
at = "10m"
for = "45m"
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from devices import regionfiles
from devices.catalogue import CLOCK_WRONG, KINDS
from devices.duration import Seconds, seconds
from devices.model import Device
from devices.problems import Problem, Problems
from devices.region import Region
from simulators.aiming import FINDERS, HINTS, Target, root

Cause = Literal["fibre", "power", "device", "switched_off", "upstream", "blind", "planned", "unknown"]
START: Final = datetime(2026, 1, 12, 1, 0, tzinfo=UTC)
"""Where virtual time begins unless the scenario says: a Monday, 08:00 in Padang Pariaman."""

_EVERY_SITE: Final = ("site", "area", "feeder", "everywhere")


@dataclass(frozen=True, slots=True)
class Form:
    """What a kind of fault may be aimed at, which of its own keys it takes, and the cause it stands for."""

    targets: tuple[Target, ...]
    cause: Cause
    keys: tuple[str, ...] = ()


FORMS: Final[Mapping[str, Form]] = {
    "mains_out": Form(_EVERY_SITE, "power"),
    "switched_off": Form(("site", "area"), "switched_off"),
    "dark": Form(("site",), "power"),
    "fibre_cut": Form(("link", "cable"), "fibre"),
    "dirty_splice": Form(("link",), "fibre", ("db",)),
    "optical_decay": Form(("link", "device"), "fibre", ("db",)),
    "hung": Form(("device",), "device"),
    "stuck": Form(("device",), "device", ("metric",)),
    "wrong_clock": Form(("device",), "device", ("offset",)),
    "epoch_1970": Form(("device",), "device"),
    "poison": Form(("device",), "device", ("payload",)),
    "duplicate": Form(("device", "site", "area", "everywhere"), "device", ("share",)),
    "late": Form(("device", "site", "area", "everywhere"), "device", ("delay",)),
    "mass_reconnect": Form(_EVERY_SITE, "upstream"),
    "poller_dead": Form(("device",), "blind"),
    "lte_down": Form((*_EVERY_SITE, "provider"), "upstream"),
    "broker_restart": Form((), "upstream"),
    "collector_link_dead": Form((), "blind"),
    "flood": Form(("river",), "unknown", ("peak_cm",)),
}
"""Every kind of fault."""

POISONS: Final[Mapping[str, bytes]] = {
    "not_json": b'{"ts":17,"values":{"latency_ms":',
    "not_utf8": b'{"values":{"latency_ms":1},"note":"\xff\xfe"}',
    "nan": b'{"values":{"latency_ms":NaN}}',
    "huge_number": b'{"values":{"latency_ms":1e400}}',
    "deep": b"[" * 5000 + b"]" * 5000,
    "wrong_type": b'{"values":{"latency_ms":"fast"}}',
    "empty": b"",
    "large": b'{"values":{"latency_ms":1},"pad":"' + b"x" * 300_000 + b'"}',
}
"""Payloads that nobody can read, by name."""

_MOST_S: Final = 100 * 365 * 86_400.0  # a clock may be off by a century
_MOST_TIMES: Final = 10_000  # that one fault may come again

_NEEDED: Final = {"optical_decay": "db", "dirty_splice": "db", "stuck": "metric", "wrong_clock": "offset",
                  "late": "delay", "flood": "peak_cm"}  # fmt: skip


def _several(value: object) -> object:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f'{value!r} is no name; write it like "ID" or ["ID", "ID"]')
    return tuple(names)


def _one_of(known: Iterable[str], noun: str) -> BeforeValidator:
    names = tuple(known)

    def check(value: object) -> object:
        if value not in names:
            raise ValueError(f"{value!r} is no {noun}; use one of {', '.join(names)}")
        return value

    return BeforeValidator(check)


def _tables(value: object) -> object:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise ValueError("faults are a list of tables; write each of them under a [[fault]] of its own")
    return tuple(value)


def _signed(value: object) -> float:
    """Seconds, with a sign."""
    text = str(value).strip()
    return -seconds(text[1:]) if text.startswith("-") else seconds(text.removeprefix("+"))


_Names = Annotated[tuple[str, ...], BeforeValidator(_several)]
_From0 = Annotated[float, BeforeValidator(seconds), Field(ge=0)]


class _Toml(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _FaultToml(_Toml):
    kind: Annotated[str, _one_of(FORMS, "kind of fault")]
    name: str = ""
    at: _From0 = 0.0
    lasts: Seconds | None = Field(None, alias="for")
    every: Seconds | None = None
    link: _Names = ()
    cable: _Names = ()
    site: _Names = ()
    feeder: _Names = ()
    area: _Names = ()
    device: _Names = ()
    river: _Names = ()
    provider: _Names = ()
    everywhere: bool = False
    db: float | None = Field(None, gt=0, le=60)
    metric: str | None = None
    offset: Annotated[float, BeforeValidator(_signed), Field(ge=-_MOST_S, le=_MOST_S)] | None = None
    payload: Annotated[str, _one_of(POISONS, "payload")] | None = None
    share: float | None = Field(None, gt=0, le=1)
    delay: Seconds | None = None
    peak_cm: float | None = Field(None, gt=0, le=2000)
    say: dict[str, str] = {}


class _HabitsToml(_Toml):
    switched_off: float = Field(0.12, ge=0, le=1)


class _ScenarioToml(_Toml):
    name: str = Field(min_length=1, max_length=64)
    start: AwareDatetime = START
    duration: Seconds = 3600.0
    summary: dict[str, str] = {}
    habits: _HabitsToml = _HabitsToml()
    every: dict[str, Seconds] = {}
    fault: Annotated[tuple[dict[str, Any], ...], BeforeValidator(_tables)] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Fault:
    """One thing that breaks, itself and no other: two alike are two.

    `at`, `until`: seconds from the start; `until` None: to the end. What it is aimed at is resolved to ids:
    `links`, `sites`, `devices`. `root` (kind, id) is what an operator should find; `params` are the figures
    of its kind; `say` tells people what to look at, by language.
    """

    kind: str
    name: str
    at: float
    until: float | None
    root: tuple[str, str]
    cause: Cause
    links: tuple[str, ...]
    sites: tuple[str, ...]
    devices: tuple[str, ...]
    params: Mapping[str, float | str]
    say: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens in a simulation. Durations in seconds; `every`: how often a kind of device publishes.

    `switched_off`: the share of the nagari whose people switch everything off at night.
    """

    name: str
    start: datetime = START
    duration: float = 3600.0
    summary: Mapping[str, str] = field(default_factory=dict)
    switched_off: float = 0.12
    every: Mapping[str, float] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()


def find(name: str, region_folder: Path) -> Path:
    """The scenario's file: a path, or a name in the region folder's scenarios/. Raises Problems."""
    folder = region_folder / "scenarios"
    for file in (Path(name), folder / f"{name}.toml"):
        if file.is_file():
            return file
    known = ", ".join(sorted(file.stem for file in folder.glob("*.toml"))) or "none"
    raise Problems.one(name, "is no scenario", f"name a TOML file, or one of {folder} ({known})")


def load(file: Path, region: Region) -> Scenario:
    """Read a scenario and check it against the region. Raises Problems with everything wrong at once."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise Problems.one(str(file), f"cannot be read ({error.strerror})", "name a TOML file") from None
    return parse(raw, region, str(file))


def parse(raw: bytes, region: Region, where: str = "scenario") -> Scenario:
    """The scenario that the TOML says. Raises Problems with everything wrong at once."""
    problems: list[Problem] = []
    found = regionfiles.toml(where, raw, _ScenarioToml, problems)
    head = found or _ScenarioToml(name="unknown")
    faults: list[Fault] = []
    for line, fault in _faults(raw, where, problems):
        faults += _Resolver(region, f"{where}:{line}", problems).occurrences(
            fault, found.duration if found else 0.0
        )
    line = regionfiles.line_of(raw.decode("utf-8-sig", "replace"), "every")
    problems += [
        Problem(f"{where}:{line}", f"every.{kind} is no device kind", f"use one of {', '.join(KINDS)}")
        for kind in head.every
        if kind not in KINDS
    ]
    if problems:
        raise Problems(problems)
    return Scenario(
        name=head.name,
        start=head.start,
        duration=head.duration,
        summary=head.summary,
        switched_off=head.habits.switched_off,
        every=head.every,
        faults=tuple(sorted(faults, key=lambda fault: fault.at)),
    )


def _faults(raw: bytes, where: str, problems: list[Problem]) -> Iterator[tuple[int, _FaultToml]]:
    """(Line, fault) of each that is well-formed; of a file that is no TOML at all, none."""
    text = raw.decode("utf-8-sig", "replace")
    try:
        tables = _tables(tomllib.loads(text).get("fault", []))
    except ValueError:
        return  # a problem has been noted
    for number, table in enumerate(tables):  # type: ignore[arg-type,var-annotated]

        def at(key: str, number: int = number) -> str:
            return f"{where}:{regionfiles.line_of(text, f'fault.{number}.{key}')}"

        fault = regionfiles.model(_FaultToml, table, at, problems)
        if fault is not None:
            yield regionfiles.line_of(text, f"fault.{number}"), fault


class _Resolver:
    """Turns what a fault is aimed at into ids of the region."""

    def __init__(self, region: Region, where: str, problems: list[Problem]) -> None:
        self._region = region
        self._where = where
        self._problems = problems

    def occurrences(self, fault: _FaultToml, duration: float) -> Iterator[Fault]:
        """The fault, once or again and again until the scenario's end (0: it is not known)."""
        form = FORMS[fault.kind]
        if not self._shape_holds(fault, form):
            return
        target = next((name for name in form.targets if getattr(fault, name)), None)
        names = getattr(fault, target) if target and target != "everywhere" else ()
        links, sites, devices = self._resolve(target, names)
        if target and not (links or sites or devices):
            return  # a problem has been noted
        keys = {key: getattr(fault, key) for key in form.keys if getattr(fault, key) is not None}
        self._check(fault, duration, links, devices)
        at = fault.at
        while True:
            until = None if fault.lasts is None else at + fault.lasts
            yield Fault(
                kind=fault.kind,
                name=fault.name or fault.kind,
                at=at,
                until=until,
                root=root(fault.kind, target, names, links),
                cause=form.cause,
                links=links,
                sites=sites,
                devices=devices,
                params=keys,
                say=fault.say,
            )
            if fault.every is None or (at := at + fault.every) >= duration:
                return

    def _wrong(self, what: str, mend: str) -> None:
        self._problems.append(Problem(self._where, what, mend))

    def _shape_holds(self, fault: _FaultToml, form: Form) -> bool:
        given = [name for name in (*_TARGETS, "everywhere") if getattr(fault, name)]
        before = len(self._problems)
        allowed = " or ".join(form.targets)
        for name in given:
            if name not in form.targets:
                mend = f"aim it at {allowed}" if form.targets else f"delete {name}"
                self._wrong(f"{fault.kind} is not aimed at {_A.get(name, 'a ')}{name}", mend)
        if len(given) != 1 and form.targets:
            self._wrong(f"{fault.kind} is aimed at {len(given)} things", f"give one of {allowed}")
        for key in _KEYS:
            if getattr(fault, key) is not None and key not in form.keys:
                self._wrong(f"{fault.kind} knows no {key}", "delete it")
        needed = _NEEDED.get(fault.kind)
        if needed and getattr(fault, needed) is None:
            self._wrong(f"{fault.kind} needs {needed}", f"write {needed} = …")
        if fault.every is not None and (fault.lasts is None or fault.lasts >= fault.every):
            self._wrong("it comes again before it ends", "give a `for` shorter than `every`")
        return len(self._problems) == before

    def _resolve(
        self, target: Target | None, names: Iterable[str]
    ) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """Ids of links, sites and devices; unknown names are noted as problems."""
        region = self._region
        if target is None:
            return (), (), ()
        if target == "everywhere":
            return (), tuple(site.id for site in region.sites.values() if site.kind != "node"), ()
        links: list[str] = []
        sites: list[str] = []
        devices: list[str] = []
        into = {"link": links, "cable": links, "device": devices, "river": devices}.get(target, sites)
        for name in names:
            found = FINDERS[target](region, name)
            if not found:
                self._wrong(f"there is no {target} {name} in the region", HINTS[target])
            into += found
        return tuple(links), tuple(sites), tuple(devices)

    def _check(
        self, fault: _FaultToml, duration: float, links: Iterable[str], devices: Iterable[str]
    ) -> None:
        if fault.at >= duration > 0:
            self._wrong(f"it begins after the end ({duration:g} s)", "give the scenario a longer duration")
        if fault.every is not None and duration > fault.every * _MOST_TIMES:
            self._wrong(f"it comes more than {_MOST_TIMES:,} times", "give a longer `every`")
        for link in links:
            kind = self._region.links[link].kind
            if kind == "lte" or (kind == "radio" and fault.kind != "fibre_cut"):
                self._wrong(f"{fault.kind} hits fibre, {link} is {kind}", "name a link of kind fibre")
        for name in devices:
            self._check_device(fault, self._region.devices[name])

    def _check_device(self, fault: _FaultToml, device: Device) -> None:
        known = [name for name in KINDS[device.kind].metrics if name != CLOCK_WRONG]
        if fault.metric and fault.metric not in known:
            self._wrong(f"{device.id} has no metric {fault.metric}", f"use one of {', '.join(known)}")
        if fault.kind == "optical_decay" and device.kind != "ont":
            self._wrong(f"optical_decay hits ONTs, {device.id} is a {device.kind}", "name an ont or a link")
        if fault.kind == "poller_dead" and device.via:
            self._wrong(f"{device.id} publishes nothing itself", f"name {device.via}")


_A: Final = {"area": "an ", "everywhere": ""}
_TARGETS: Final = ("link", "cable", "site", "feeder", "area", "device", "river", "provider")
_KEYS: Final = ("db", "metric", "offset", "payload", "share", "delay", "peak_cm")
