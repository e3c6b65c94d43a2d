"""The collector's readings of itself, written into its own journal: its troubles are alerts like any."""

from __future__ import annotations

import asyncio
import time

from collector.api.backupwatch import BackupWatch
from collector.api.collector import Collector, RunningParts
from collector.core.records import RecordKind
from collector.storage.keeper import Keeper
from devices.catalogue import CLOCK_AHEAD, CLOCK_OFF

TICK = 1.0
REPEAT = 30.0
"""Without a change the readings are written this often (seconds)."""
CLOCK_MATTERS = 5.0
"""Seconds: a clock that is off by more is written down at once."""
REMEMBER = 600.0
"""Seconds for which a loss of messages, or of the session at the broker, keeps its alarm up."""


class SelfWatch:
    """Watches the parts and writes HEALTH records. On the event loop."""

    def __init__(self, parts: RunningParts, keeper: Keeper, collector: Collector) -> None:
        self._parts = parts
        self._keeper = keeper
        self._collector = collector
        self._backups = BackupWatch(parts.config)
        self._dropped = 0
        self._late = self._clock_off = False
        self._dropped_at = -REMEMBER
        self._flags: dict[str, float] = {}
        self._written_at = -REPEAT

    async def run(self) -> None:
        """Look every second, until cancelled. What was dropped before is not told again."""
        self._dropped = self._parts.storing.ledger.dropped
        while True:
            await asyncio.sleep(TICK)
            self._collector.sample(time.monotonic())
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Write what has changed, or everything if the last time is long ago."""
        flags = self.flags(now)
        late = self._backups.late_h(time.time_ns())
        clock = self._clock()
        off = clock[CLOCK_OFF] > CLOCK_MATTERS
        changed = (bool(late), off, flags) != (self._late, self._clock_off, self._flags)
        if changed or now - self._written_at >= REPEAT:
            self._flags, self._written_at = flags, now
            self._late, self._clock_off = bool(late), off
            parts, lag = self._parts, self._collector.store_lag()
            body: dict[str, object] = {**flags, **clock, "store_lag_s": lag, **self._keeper.sizes()}
            if late is not None:
                body["backup_late_h"] = late
            parts.recorder.record(RecordKind.HEALTH, body)

    def _clock(self) -> dict[str, float]:
        """How far the stamps lead the machine's clock, and how far off that one is, or they are. Seconds."""
        ahead, off = self._parts.recorder.clock.ahead, abs(self._parts.alarming.course.clock_off)
        return {CLOCK_AHEAD: round(ahead / 1e9, 3), CLOCK_OFF: round(max(ahead, off) / 1e9, 3)}

    def flags(self, now: float) -> dict[str, float]:
        """What is wrong, by metric of the device kind `collector`."""
        parts = self._parts
        dropped = parts.storing.ledger.dropped
        if dropped > self._dropped:
            self._dropped, self._dropped_at = dropped, now
        session = parts.session
        cap = parts.config.limits.unclaimed_series
        return {
            "disk_full": parts.journal.full,
            "store_down": parts.storing.status != "ok" or not parts.supervisor.up("storing"),
            "dropping": now - self._dropped_at < REMEMBER,
            "journal_damaged": bool(parts.journal.damage),
            "state_damaged": bool(parts.state.damage),
            "unclaimed_full": parts.decoder.directory(parts.alarming.course.region).unclaimed >= cap,
            "worker_failing": bool(parts.supervisor.troubles()),
            "notify_stuck": any(consumer.stuck for consumer in parts.consumers),
            "notify_skipped": any(consumer.losing for consumer in parts.consumers),
            "session_lost_s": round(session.lost_s, 1) if now - session.lost_at < REMEMBER else 0.0,
            "session_taken_over": now - session.rivals.at < REMEMBER,
            **self._keeper.flags(),
        }
