"""What to delete now: a pure policy. What is too old goes; where room is short, the oldest raw readings go.

The order is declared: raw, then minute, then hour; each down to its newest day. Alerts, audit and the journal
are not spoken of here at all: nothing in this module can name them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from collector.core.config import StorageSettings
from collector.store.base import Tier, TierUsage
from collector.store.tiers import TIERS

DAY = 86_400 * 10**9
_SLICE = 16
"""At once no more than such a part of the time kept goes: days differ, and it is measured after each."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What is on disk, in bytes. The journal counts with all that it may yet take: its cap is its share."""

    tiers: Sequence[TierUsage]
    journal: int
    state: int
    journal_cap: int

    @property
    def used(self) -> int:
        """Bytes on disk now."""
        return sum(tier.bytes for tier in self.tiers) + self.journal + self.state

    @property
    def held(self) -> int:
        """Bytes on disk, and those kept free for the journal."""
        return self.used + max(0, self.journal_cap - self.journal)


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the tier's partitions that end at or before `before` (epoch ns)."""

    tier: Tier
    before: int
    why: Literal["age", "room"]


def decide(
    usage: Usage,
    contract: StorageSettings,
    now: int,
    *,
    step: int = 1,
    spent: Collection[Tier] = (),
    done: Collection[Delete] = (),
) -> list[Delete]:
    """What to delete at `now` (epoch ns); nothing without a capacity.

    For room one deletion at a time, to be measured before the next one is asked for: of at least `step` days,
    from a tier that is not `spent`. What is too old is asked for once: a partition that is `done` and still
    there ends later.
    """
    if contract.capacity is None:
        return []
    tiers = {tier.tier: tier for tier in usage.tiers}
    aged = [
        Delete(name, before, "age")
        for name in TIERS
        if (tier := tiers.get(name)) and tier.oldest is not None
        if tier.oldest < (before := _day(now - round(getattr(contract, name) * 1e9)))
    ]
    if to_do := [delete for delete in aged if delete not in done]:
        return to_do
    excess = usage.held - round(contract.shed * contract.capacity)
    if excess <= 0:
        return []
    for name in TIERS:
        found = tiers.get(name)
        if found is not None and name not in spent and (delete := _oldest_of(found, excess, step)):
            return [delete]
    return []


def _oldest_of(tier: TierUsage, excess: int, step: int) -> Delete | None:
    """The oldest days of the tier that make up for the excess; never its newest day."""
    if tier.oldest is None or tier.newest is None or not tier.bytes:
        return None
    first, last = _day(tier.oldest), _day(tier.newest)
    if first >= last:
        return None
    days = (last - first) // DAY + 1
    wanted = -(-excess * days // tier.bytes)
    return Delete(tier.tier, min(last, first + max(step, min(wanted, days // _SLICE), 1) * DAY), "room")


def _day(time: int) -> int:
    return time // DAY * DAY
