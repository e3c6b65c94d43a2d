"""Keeps the storage contract: measures what is on disk, deletes what must go, and says how it stands."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from collector.core.config import Config
from collector.core.readings import I64, SeriesTable
from collector.state import StateError
from collector.storage.contract import Costs, Share, StoragePlan, human, with_measured
from collector.storage.costs import Bill, bill
from collector.storage.forecast import Growing, days_until
from collector.storage.holding import Holding, ShareUse
from collector.storage.samples import FILE, Samples
from collector.storage.shedding import DAY, Delete, Usage, decide
from collector.store.base import Store, StoreError, Tier
from collector.store.tiers import TIERS
from devices.model import Device

log = logging.getLogger(__name__)
EVERY = 60.0
"""Seconds between two looks: between them the disk must not grow by more than lies above the shed mark."""
ROUNDS = 500
"""Deletions in one look, at most."""
MOST_DAYS = 20_000
"""A step of more days reaches from any reading to now: what it does not delete stays."""
TOP = 50
FIRST_BILL, BILL = 600.0, 3_600.0
"""Seconds over which rates are measured: the first time, then from hour to hour."""
_FOREVER = 36_500.0
_REMEMBER = DAY


@dataclass(frozen=True, slots=True)
class Sources:
    """What the keeper looks at beside the store: each answers at once, from any thread."""

    journal: Callable[[], int]  # bytes on disk
    rates: Callable[[], I64]  # readings by series since it was asked last
    devices: Callable[[], Mapping[str, Device]]
    contract: Callable[[], tuple[StoragePlan | None, str | None, bool]]  # plan, breach, admitted
    audit: Callable[[int, str, str, Mapping[str, Any]], object]


class Keeper:
    """`holding` is the last look. `look` runs in one thread at a time; all else may be asked from any."""

    def __init__(self, config: Config, store: Store, table: SeriesTable, sources: Sources) -> None:
        self._folder, self._contract = config.data.dir, config.storage
        self._cap = config.journal.max_bytes
        self._store, self._table, self._from = store, table, sources
        self._samples = Samples(self._folder / FILE)
        self._bill = Bill()
        self._billed: float | None = None
        self._shed_at: int | None = None  # for room, epoch ns
        self._failing = False
        self.holding = Holding(0, self._contract.capacity, 0, 0, ())

    async def run(self) -> None:
        """Look every minute, until cancelled."""
        while True:
            await asyncio.to_thread(self.tried_to_look, time.time_ns(), time.monotonic())
            await asyncio.sleep(EVERY)

    def tried_to_look(self, now: int, moment: float) -> None:
        """Look; a store that is away or fails is told in the log, and by the flag `storage_failing`."""
        try:
            self.look(now, moment)
        except (StoreError, StateError, OSError) as error:
            if not self._failing:
                log.error("storage: it cannot be looked after now: %s", error)  # noqa: TRY400
            self._failing = True
        else:
            self._failing = False

    def look(self, now: int, moment: float) -> None:
        """Measure, delete what must go, forecast. `now` in epoch ns, `moment` in monotonic seconds.

        Raises StoreError, StateError, OSError.
        """
        usage = self._keep(now)
        self._samples.take(now, usage.tiers, usage.state - _logs(self._folder))
        self._count(moment)
        self.holding = self._describe(usage, now)

    def flags(self) -> dict[str, bool]:
        """What is wrong, by metric of the device kind `collector`."""
        _, breach, admitted = self._from.contract()
        return {
            "storage_nearly_full": self.holding.alarm,
            "storage_shedding": self.holding.shedding,
            "storage_breach": breach is not None and not admitted,
            "storage_failing": self._failing,
        }

    def sizes(self) -> dict[str, float]:
        """Readings of the same device; what is not known is not in it."""
        holding = self.holding
        if not holding.at:
            return {}
        found: dict[str, float] = {"storage_over_rate": float(holding.over)}
        if holding.used_pct is not None:
            found["storage_used_pct"] = holding.used_pct
            if holding.growth is not None:
                left = holding.days_left
                found["storage_days_left"] = round(_FOREVER if left is None else left, 1)
        return found

    def _keep(self, now: int) -> Usage:
        usage, step, spent, done = self._usage(), 1, set[Tier](), set[Delete]()
        deleted, freed = dict[tuple[Tier, str], Delete](), dict[tuple[Tier, str], int]()
        for _ in range(ROUNDS):
            deletes = decide(usage, self._contract, now, step=step, spent=spent, done=done)
            if not deletes:
                break
            if deletes[0] in done:  # for room: a longer step, until the tier has no more to give
                step *= 2
                if step > MOST_DAYS:
                    spent.add(deletes[0].tier)
                    step = 1
                continue
            for each in deletes:
                key = each.tier, each.why
                size = self._store.shed(each.tier, each.before)
                done.add(each)
                deleted[key], freed[key] = each, freed.get(key, 0) + size
                self._samples.note(each.tier, size, each.before, now, each.why)
            before, usage = usage, self._usage()
            for name, rows in _fewer(before, usage):
                self._samples.note_rows(name, rows)
            moved = _oldest(before) != _oldest(usage) or usage.held < before.held
            step = 1 if moved or deletes[0].why == "age" else step * 2
        self._tell(deleted, freed, now)
        return usage

    def _tell(
        self, deleted: Mapping[tuple[Tier, str], Delete], freed: Mapping[tuple[Tier, str], int], now: int
    ) -> None:
        for key, each in deleted.items():
            if not freed[key]:
                continue
            if each.why == "room":
                self._shed_at = now
                log.warning("storage: %s of %s rows went before their time", human(freed[key]), each.tier)
            detail = {"tier": each.tier, "before": each.before, "bytes": freed[key], "why": each.why}
            self._from.audit(now, "collector", "storage.shed", detail)
        if deleted:
            self._samples.save()

    def _usage(self) -> Usage:
        return Usage(self._store.usage(), self._from.journal(), _state(self._folder), self._cap)

    def _count(self, moment: float) -> None:
        """The readings that came, once enough time has gone by to tell how many that is a day."""
        if self._billed is None:
            self._from.rates()
            self._billed = moment
            return
        seconds = moment - self._billed
        if seconds < (BILL if self._bill.kinds else FIRST_BILL):
            return
        counts = self._from.rates()
        self._billed = moment
        if not np.any(counts):
            self._bill = Bill()
            return
        self._bill = bill(self._table, counts, seconds, self._from.devices(), self._costs(), TOP)

    def _costs(self) -> Costs:
        return with_measured(Costs(), self._samples.measured)

    def _describe(self, usage: Usage, now: int) -> Holding:
        plan, breach, admitted = self._from.contract()
        capacity = self._contract.capacity
        growth = self._samples.growth
        holding = Holding(
            now,
            capacity,
            usage.used,
            usage.held,
            _shares(usage, plan),
            tuple(self._samples.shed.values()),
            growth=sum(growth.values()) if growth else None,
            breach=breach,
            admitted=admitted,
            kinds=self._bill.kinds,
            devices=self._bill.devices,
            over=self._bill.over,
        )
        if capacity is None:
            return holding
        return replace(
            holding,
            days_left=self._days_left(usage, growth, now) if growth and usage.tiers else None,
            alarm=usage.held >= self._contract.alarm * capacity,
            shedding=self._shed_at is not None and now - self._shed_at < _REMEMBER,
        )

    def _days_left(self, usage: Usage, growth: Mapping[str, float], now: int) -> float | None:
        """Until the shed mark is reached: a tier grows no longer once its retention is over."""
        assert self._contract.capacity is not None
        room = self._contract.shed * self._contract.capacity - usage.held
        parts = [Growing(growth.get("state", 0.0))]
        for tier in usage.tiers:
            ends = None  # of a server, whose own retention it is
            if tier.oldest is not None:
                ends = max(0.0, getattr(self._contract, tier.tier) / 86_400 - (now - tier.oldest) / DAY)
            parts.append(Growing(growth.get(tier.tier, 0.0), ends))
        return days_until(room, parts)


def _shares(usage: Usage, plan: StoragePlan | None) -> tuple[ShareUse, ...]:
    planned: dict[Share, int] = {need.share: need.bytes for need in plan.needs} if plan else {}
    tiers = {tier.tier: tier for tier in usage.tiers}
    found = [
        ShareUse(name, tier.bytes, planned.get(name, 0), tier.rows, tier.oldest, tier.newest)
        for name in TIERS
        if (tier := tiers.get(name))
    ]
    return (
        *found,
        ShareUse("journal", usage.journal, planned.get("journal", usage.journal_cap)),
        ShareUse("state", usage.state, planned.get("state", 0)),
    )


def _fewer(before: Usage, after: Usage) -> Iterator[tuple[Tier, int]]:
    now = {tier.tier: tier.rows for tier in after.tiers}
    for tier in before.tiers:
        if (rows := tier.rows - now.get(tier.tier, 0)) > 0:
            yield tier.tier, rows


def _oldest(usage: Usage) -> list[int | None]:
    return [tier.oldest for tier in usage.tiers]


def _state(folder: Path) -> int:
    """Bytes of state.db, of a server's accounts, of snapshots and of the reserve: all that is never shed."""
    files = [*folder.glob("*.db"), *folder.glob("*.db-wal"), *folder.glob("snapshots/*"), folder / "reserve"]
    return sum(_size(file) for file in files)


def _logs(folder: Path) -> int:
    """Bytes of write-ahead logs: they fill up, and then grow no more."""
    return sum(_size(file) for file in folder.glob("*.db-wal"))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # gone at this moment
        return 0
