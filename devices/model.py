"""The nouns of the field, frozen and typed. Times are integer epoch milliseconds unless a name differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

SiteKind = Literal["nagari", "district", "health", "agency", "centre", "node"]
Presence = Literal["online", "offline", "unknown"]
EMPTY: Mapping[str, str] = {}


class Suffix(StrEnum):
    """The last level of a native topic: what kind of message it carries."""

    TELE = "tele"
    STATE = "state"
    EVENT = "event"
    CMD = "cmd"
    ACK = "ack"


@dataclass(frozen=True, slots=True)
class Address:
    """Whose message, and of what kind: the meaning of a topic."""

    site: str
    device: str
    suffix: Suffix


@dataclass(frozen=True, slots=True)
class Site:
    """A place. `lon`/`lat` in degrees (WGS 84); `hours` are service hours such as `Mo-Fr 08:00-16:00`."""

    id: str
    name: str
    kind: SiteKind
    parent: str = ""
    agency: str = ""
    lon: float | None = None
    lat: float | None = None
    feeder: str = ""
    hours: str = ""
    priority: int = 0
    alias: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Device:
    """A thing that measures or acts. `via` names the device that publishes for it; empty: itself."""

    site: str
    id: str
    kind: str
    via: str = ""
    actuators: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)

    @property
    def publisher(self) -> str:
        """The id of the device that holds the MQTT connection."""
        return self.via or self.id


@dataclass(frozen=True, slots=True)
class Link:
    """A connection between two sites. `length_km` of the route; `source` tells a plan from the as-built."""

    id: str
    a: str
    b: str
    kind: Literal["fibre", "radio", "lte"]
    length_km: float
    cable: str = ""
    cores: int = 0
    owner: str = ""
    source: Literal["plan", "as-built"] = "plan"
    path: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Metric:
    """One quantity of a device kind. `low`..`high` is what the sensor can say; booleans are 0/1 in series."""

    name: str
    unit: str
    boolean: bool = False
    low: float | None = None
    high: float | None = None
    resolution: float | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """A device kind: metrics, events and commands; after `stale_after_s` of silence its data are stale."""

    name: str
    metrics: Mapping[str, Metric]
    events: tuple[str, ...]
    commands: tuple[str, ...]
    stale_after_s: float


@dataclass(frozen=True, slots=True)
class Command:
    """An order to a device, signed for its publisher. `expires` in epoch ms; never retained."""

    id: str
    name: str
    args: Mapping[str, object]
    expires: int
    sig: str = ""


@dataclass(frozen=True, slots=True)
class CommandAck:
    """A device's answer to a command."""

    id: str
    status: Literal["accepted", "done", "failed", "rejected"]
    detail: str = ""
    ts: int | None = None


@dataclass(frozen=True, slots=True)
class Area:
    """An administrative area of the map. `code`: Kemendagri's, without dots; `parent`: the one above."""

    code: str
    name: str
    level: str = ""
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is told. `channels` are notification channels; `roster`: when on duty, as `hours`."""

    name: str
    language: str
    channels: tuple[str, ...] = ()
    roster: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at a device, such as `dying_gasp`; `data` is its own."""

    event: str
    ts: int | None = None
    data: Mapping[str, object] = field(default_factory=dict)
