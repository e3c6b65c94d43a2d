"""The storage contract as arithmetic: what a region's readings need on disk, and for how long they fit.

Pure: the region, the settings and what a reading was measured to cost come in as arguments. Everything is
sized per day; a day's readings come from the catalogue (a kind's usual interval is a third of the silence
after which its data are stale) and the inventory. See docs/storage.md.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from collector.core.config import StorageSettings
from collector.store.base import Tier
from collector.store.tiers import TIERS
from devices.catalogue import CLOCK_WRONG, COLLECTOR, KINDS
from devices.model import Device

Share = Literal["raw", "minute", "hour", "journal", "state", "margin"]
DAY: Final = 86_400.0
HORIZON: Final = 3_650.0
"""Days of alerts and audit that are planned for: they are never shed."""
HOT_DAYS: Final = 2.0
"""Today and yesterday are still open to late readings, and not yet compacted."""
_FLOORS = (7.0, 30.0, 365.0), (1.0, 1.0, 1.0)
_MEASURED_DAYS, _MEASURED_ROWS = 7.0, 100_000
_ALERTS_A_DAY, _ALERTS_PER_DEVICE, _ALERT_BYTES = 144.0, 0.05, 3_000  # EEMUA 191: one in ten minutes
_AUDIT_A_DAY, _AUDIT_BYTES = 1_000.0, 300


@dataclass(frozen=True, slots=True)
class Costs:
    """Bytes on disk: of a raw reading (cold: compacted), of a roll-up's row, of a journaled message."""

    hot: float = 12.0
    cold: float = 3.0
    minute: float = 20.0
    hour: float = 20.0
    message: float = 300.0
    measured: tuple[Tier, ...] = ()  # which of them the store has told


@dataclass(frozen=True, slots=True)
class Measured:
    """What a store keeps of a tier: `days` from the oldest row to the newest."""

    rows: int
    bytes: int
    days: float


def with_measured(costs: Costs, found: Mapping[Tier, Measured]) -> Costs:
    """The costs, those replaced that the store can tell: from a week and 100,000 rows on; a byte at least."""
    told = {
        tier: max(1.0, each.bytes / each.rows)
        for tier, each in found.items()
        if each.rows >= _MEASURED_ROWS and each.days >= _MEASURED_DAYS
    }
    if "raw" in told:
        costs = replace(costs, hot=told["raw"], cold=told["raw"])
    return replace(
        costs,
        minute=told.get("minute", costs.minute),
        hour=told.get("hour", costs.hour),
        measured=tuple(tier for tier in TIERS if tier in told),
    )


@dataclass(frozen=True, slots=True)
class DailyRates:
    """What a region sends in a day: readings, roll-up rows (minute, hour), messages; and its devices."""

    readings: float
    minute: float
    hour: float
    messages: float
    devices: int


@dataclass(frozen=True, slots=True)
class Need:
    """A share: bytes it needs for the retention asked for, and the days that would fit if all others hold."""

    share: Share
    bytes: int
    days: float | None  # asked for; None: it has no retention
    fits_days: float | None


@dataclass(frozen=True, slots=True)
class StoragePlan:
    """What is asked for against the capacity. `suggestion`: the settings that fit; None if none can."""

    capacity: int
    needs: tuple[Need, ...]
    fits: bool
    suggestion: StorageSettings | None
    rates: DailyRates
    costs: Costs

    @property
    def total(self) -> int:
        """Bytes of all shares, the margin among them."""
        return sum(need.bytes for need in self.needs)

    def share(self, name: Share) -> int:
        """The bytes of a share."""
        return next(need.bytes for need in self.needs if need.share == name)

    def refusal(self) -> tuple[str, str]:
        """What does not fit, and the mend."""
        what = f"this needs {human(self.total)}, and the capacity is {human(self.capacity)}"
        if self.suggestion is None:
            return what, "not even a day of everything fits: give it more room, or make the journal smaller"
        kept = ", ".join(f'{tier} = "{round(getattr(self.suggestion, tier) / DAY)}d"' for tier in TIERS)
        return what, f"{kept} fit"


def interval_s(kind: str) -> float:
    """Seconds between two messages of a kind, as planned: a third of the silence that makes it stale."""
    known = KINDS.get(kind)
    return known.stale_after_s / 3 if known and known.stale_after_s else 60.0


def metrics_of(kind: str) -> int:
    """How many metrics a device of the kind sends."""
    known = KINDS.get(kind)
    return len([name for name in known.metrics if name != CLOCK_WRONG]) if known else 0


def readings_a_day(kind: str) -> float:
    """The readings that a device of the kind sends in a day, as planned."""
    return metrics_of(kind) * DAY / interval_s(kind)


def rates(devices: Iterable[Device]) -> DailyRates:
    """What these devices send in a day. The collector, which may be among them, sends nothing there."""
    kinds = Counter(device.kind for device in devices if device.kind != COLLECTOR)
    return rates_of(kinds)


def rates_of(kinds: Mapping[str, int]) -> DailyRates:
    """What so many devices of each kind send in a day."""
    found = [(count, metrics_of(kind), DAY / interval_s(kind)) for kind, count in kinds.items()]
    return DailyRates(
        readings=sum(count * metrics * times for count, metrics, times in found),
        minute=sum(count * metrics * min(1440.0, times) for count, metrics, times in found),
        hour=sum(count * metrics * min(24.0, times) for count, metrics, times in found),
        messages=sum(count * times for count, _, times in found),
        devices=sum(kinds.values()),
    )


def plan(
    sent: DailyRates, asked: StorageSettings, journal_cap: int, costs: Costs, capacity: int
) -> StoragePlan:
    """What the settings need of the capacity (bytes) for these rates, and what would fit."""
    room = int(capacity * (1 - asked.margin))
    fixed = journal_cap + state_bytes(sent)
    needed = {tier: tier_bytes(sent, costs, tier, getattr(asked, tier) / DAY) for tier in TIERS}
    spare = room - fixed - sum(needed.values())
    needs = [
        Need(tier, needed[tier], getattr(asked, tier) / DAY, _days(sent, costs, tier, needed[tier] + spare))
        for tier in TIERS
    ]
    messages = sent.messages * costs.message
    needs += [
        Need("journal", journal_cap, None, journal_cap / messages if messages else None),
        Need("state", state_bytes(sent), HORIZON, None),
        Need("margin", capacity - room, None, None),
    ]
    suggestion = asked if spare >= 0 else _suggest(sent, asked, costs, room - fixed)
    return StoragePlan(capacity, tuple(needs), spare >= 0, suggestion, sent, costs)


def tier_bytes(sent: DailyRates, costs: Costs, tier: Tier, days: float) -> int:
    """What a tier needs for so many days."""
    if tier == "raw":
        hot = min(days, HOT_DAYS)
        return math.ceil(sent.readings * (hot * costs.hot + (days - hot) * costs.cold))
    rows, each = (sent.minute, costs.minute) if tier == "minute" else (sent.hour, costs.hour)
    return math.ceil(rows * each * days)


def state_bytes(sent: DailyRates) -> int:
    """What alerts, their trail and the audit need over the horizon."""
    alerts = _ALERTS_A_DAY + _ALERTS_PER_DEVICE * sent.devices
    return math.ceil(HORIZON * (alerts * _ALERT_BYTES + _AUDIT_A_DAY * _AUDIT_BYTES))


def _days(sent: DailyRates, costs: Costs, tier: Tier, room: int) -> float | None:
    """The days of a tier that fit into so many bytes; None where nothing is sent."""
    if room <= 0:
        return 0.0 if sent.readings else None
    if not sent.readings:
        return None
    if tier != "raw":
        return room / tier_bytes(sent, costs, tier, 1e6) * 1e6
    hot = sent.readings * costs.hot
    return min(room / hot, HOT_DAYS) + max(0.0, room - HOT_DAYS * hot) / (sent.readings * costs.cold)


def _suggest(sent: DailyRates, asked: StorageSettings, costs: Costs, room: int) -> StorageSettings | None:
    """Shorten raw, then minute, then hour until it fits: to a week, a month, a year; else to a day each."""
    found = asked
    for tier, least in (
        (tier, floor) for floors in _FLOORS for tier, floor in zip(TIERS, floors, strict=True)
    ):
        others = sum(tier_bytes(sent, costs, t, getattr(found, t) / DAY) for t in TIERS if t != tier)
        now = getattr(found, tier) / DAY
        days = min(_days(sent, costs, tier, room - others) or 0.0, now)
        found = found.model_copy(update={tier: max(min(least, now), math.floor(days + 1e-9)) * DAY})
        if sum(tier_bytes(sent, costs, t, getattr(found, t) / DAY) for t in TIERS) <= room:
            return found
    return None


def human(size: float) -> str:
    """Bytes as people say them: `8 TB`, `1.4 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.4g} TB"
