"""How full the disk is and what fills it, as the API, the alarms and Prometheus are told."""

from __future__ import annotations

from dataclasses import dataclass

from collector.storage.contract import Share
from collector.store.base import Tier


@dataclass(frozen=True, slots=True)
class ShareUse:
    """What a share holds: bytes, of those planned for it (0: no contract); rows and their times, epoch ns."""

    share: Share
    bytes: int
    planned: int
    rows: int = 0
    oldest: int | None = None
    newest: int | None = None


@dataclass(frozen=True, slots=True)
class Shed:
    """What was deleted of a tier so far for one reason: bytes; up to which time, and when last (epoch ns)."""

    tier: Tier
    bytes: int
    before: int
    at: int
    why: str  # age: its retention is over; room: the disk was nearly full


@dataclass(frozen=True, slots=True)
class DeviceCost:
    """What a device costs a day, from its measured rate; `planned` readings a day by its kind."""

    site: str
    device: str
    kind: str
    readings: float
    bytes: float
    planned: float
    over: bool


@dataclass(frozen=True, slots=True)
class KindCost:
    """The same for all devices of a kind together; `over`: how many of them send more than planned."""

    kind: str
    devices: int
    readings: float
    bytes: float
    planned: float
    over: int


@dataclass(frozen=True, slots=True)
class Holding:
    """One look. Bytes and epoch ns; `held` is what is used and what the journal may yet take.

    `days_left` until room must be made before its time; None: not known yet, or never. `breach`: in what the
    plan does not fit, `admitted` whether somebody took that on.
    """

    at: int
    capacity: int | None
    used: int
    held: int
    shares: tuple[ShareUse, ...]
    shed: tuple[Shed, ...] = ()
    growth: float | None = None  # bytes a day
    days_left: float | None = None
    alarm: bool = False
    shedding: bool = False
    breach: str | None = None
    admitted: bool = False
    kinds: tuple[KindCost, ...] = ()
    devices: tuple[DeviceCost, ...] = ()
    over: int = 0

    @property
    def used_pct(self) -> float | None:
        """Held, as a part of the capacity, in percent."""
        return None if self.capacity is None else round(100 * self.held / self.capacity, 2)

    @property
    def full_at(self) -> int | None:
        """The moment at which it will be full, epoch ns."""
        return None if self.days_left is None else self.at + round(self.days_left * 86_400e9)
