"""What may come in: a region whose plan fits the storage contract, or one that somebody took on by name.

A contract is refused when it is made: new [storage] settings that do not fit stop the start, a changed region
that does not fit is not taken at a reload. One that was made is no reason not to start: what has run, runs
on, with a critical line in the log and an alarm.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping
from typing import Any

from collector.core.config import Config
from collector.state import State
from collector.storage.contract import Costs, StoragePlan, human, plan, rates, with_measured
from collector.storage.samples import measured
from devices import region as regions
from devices.problems import Problems
from devices.region import Region

log = logging.getLogger(__name__)
ADMIT, MADE = "storage.admit", "storage.contract"
OVERRIDE = 'or take it on with `nagari storage admit --reason "…"`'


def plan_of(config: Config, region: Region, capacity: int | None = None) -> StoragePlan | None:
    """The region's plan, with what a reading was measured to cost; None without a capacity."""
    capacity = capacity or config.storage.capacity
    if capacity is None:
        return None
    costs = with_measured(Costs(), measured(config.data.dir))
    return plan(rates(region.devices.values()), config.storage, config.journal.max_bytes, costs, capacity)


def admit(state: State, plan: StoragePlan, region: str, who: str, reason: str, now: int) -> None:
    """Write down that somebody takes on the region of this content hash, though its plan does not fit."""
    detail = {"region": region, "reason": reason, "needs": plan.total, "capacity": plan.capacity}
    state.audit(now, who, ADMIT, detail)


class Admission:
    """Holds `plan`, `breach` (a sentence, or None) and `admitted` of the region in force."""

    def __init__(self, config: Config, state: State, region: Region) -> None:
        """Check the contract at a start. Raises Problems for new settings that do not fit."""
        self._config, self._state = config, state
        self.plan: StoragePlan | None = None
        self.breach: str | None = None
        self.admitted = False
        self._judge(region)
        if self.plan is None:
            return
        _compare(config, self.plan.capacity)
        settings = _settings(config)
        made = next((row.detail for row in state.audited(MADE, 1)), None)
        if self.breach and not self.admitted:
            if made != settings:
                what, mend = self.plan.refusal()
                raise Problems.one("storage", what, f"{mend}; {OVERRIDE}")
            log.critical("storage: %s; it runs on as it did", self.breach)
        if made != settings:
            state.audit(time.time_ns(), "collector", MADE, settings)

    def check(self, files: Mapping[str, bytes], root: str) -> None:
        """Raises Problems for a region that does not fit, needs more than now, and nobody has taken on."""
        found = plan_of(self._config, regions.load(files, root)) if self.plan is not None else None
        if found is None or self.plan is None or found.fits or found.total <= self.plan.total:
            return
        if self._taken_on(regions.content_hash(files)):
            return
        what, mend = found.refusal()
        raise Problems.one(
            root or "region", f"the storage contract would break: {what}", f"{mend}; {OVERRIDE}"
        )

    def renew(self, region: Region) -> None:
        """This region is in force now."""
        self._judge(region)
        if self.breach:
            log.warning("storage: the plan of this region does not fit: %s", self.breach)

    def _judge(self, region: Region) -> None:
        self.plan = found = plan_of(self._config, region)
        self.breach, self.admitted = None, False
        if found is not None and not found.fits:
            self.breach = "; ".join(found.refusal())
            self.admitted = self._taken_on(region.hash)

    def _taken_on(self, region: str) -> bool:
        return any(row.detail.get("region") == region for row in self._state.audited(ADMIT, 10_000))


def _compare(config: Config, capacity: int) -> None:
    try:
        there = shutil.disk_usage(config.data.dir).total
    except OSError:
        return
    if config.store.place.kind == "duckdb" and there < capacity:
        log.warning(
            "storage.capacity is %s, and the disk of data.dir has %s; make it no more than the disk has",
            human(capacity),
            human(there),
        )


def _settings(config: Config) -> dict[str, Any]:
    return {**config.storage.model_dump(), "journal": config.journal.max_bytes}
