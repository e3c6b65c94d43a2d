"""The running collector as the API sees it: accounts, health, newest readings, and the way for actions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from collector.alarms.model import Transition
from collector.api.collector import Health, Last, Newest
from collector.core.holding import Holding
from collector.core.records import Action, RecordKind
from collector.operation.backupwatch import BackupWatch
from collector.operation.figures import exposition
from collector.operation.parts import Parts
from collector.operation.staging import stage, staging
from devices.model import Presence
from devices.problems import Problems
from devices.region import Region

PATIENCE = 10.0
"""Seconds an operator waits for an action to be taken in."""


class RunningCollector:
    """Implements api.collector.Collector over the parts. On the event loop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.config = parts.config
        self.state = parts.state
        self.store = parts.store
        self.table = parts.table
        self._staging = asyncio.Lock()
        self._backups = BackupWatch(parts.config)

    def region(self) -> Region:
        """The inventory that holds now."""
        return self._parts.versions.inventory

    def stats(self) -> dict[str, int | float]:
        """The accounts; received = stored + duplicate + quarantined + dropped + in_flight in every answer."""
        parts = self._parts
        ledger, journal = parts.storing.ledger, parts.journal
        done = ledger.stored + ledger.duplicate + ledger.quarantined + ledger.dropped
        received = max(journal.messages, done)
        behind = max(0, journal.stamp - parts.alarming.stamp) if parts.alarming.stamp else 0
        active = sum(alert.condition == "active" for alert in parts.alarming.alerts.values())
        return {
            "received": received,
            "stored": ledger.stored,
            "duplicate": ledger.duplicate,
            "quarantined": ledger.quarantined,
            "dropped": ledger.dropped,
            "in_flight": received - done,
            "values": ledger.values,
            "conflicts": ledger.conflicts,
            "unclaimed": len(parts.decoder.unclaimed),
            "qos0": ledger.qos0,
            "series": len(self.table),
            "alerts_active": active,
            "transitions": parts.alarming.transitions,
            "wrong_clocks": parts.alarming.wrong_clocks,
            "store_lag_s": self.store_lag(),
            "alarm_lag_s": round(behind / 1e9, 3),
            "gaps": parts.recorder.gaps,
            "connects": parts.session.connects,
            "journal_bytes": journal.size,
            "segments_dropped": journal.dropped_segments,
            "fsyncs": journal.fsyncs,
            "stream_clients": parts.hub.clients,
            **self._storage_stats(),
        }

    def _storage_stats(self) -> dict[str, int | float]:
        """Nothing without a capacity."""
        holding = self.storage()
        if holding.used_pct is None or not holding.at:
            return {}
        return {"storage_used_pct": holding.used_pct, "storage_alarm": int(holding.alarm)}

    def store_lag(self) -> float:
        """Seconds of journal that are not stored yet."""
        storing, journal = self._parts.storing, self._parts.journal
        if storing.cursor >= journal.end or not storing.stamp:
            return 0.0
        return round(max(0, journal.stamp - storing.stamp) / 1e9, 3)

    def health(self) -> Health:
        """Ready: subscribed and able to journal. A dead store does not unready it."""
        parts = self._parts
        journal = parts.journal
        said = {
            "mqtt": parts.session.status,
            "journal": "ok",
            "store": parts.storing.status,
            "alarms": parts.alarming.status,
        }
        if journal.failed:
            said["journal"] = f"writing failed ({journal.failed})"
        elif journal.full:
            said["journal"] = "the disk is full; messages wait at the broker"
        for consumer in parts.consumers:
            said[consumer.channel.name] = consumer.trouble or "ok"
        said |= parts.supervisor.troubles()
        return Health(parts.session.subscribed and not journal.full and journal.failed is None, said)

    def lasts(self, site: str | None) -> list[Last]:
        """The newest reading of every series, or of one site's."""
        return [
            Last(*last.key, last.time, last.value, last.quality, last.received)
            for last in self._parts.storing.lasts.at(site)
        ]

    def newest(self) -> Newest:
        """When the newest reading of every series was measured and came."""
        lasts = self._parts.storing.lasts
        return Newest(lasts.time, lasts.received, lasts.quality)

    def presence(self) -> Mapping[str, Presence]:
        """By device id, of those who said so; behind a publisher that is gone a device is unknown."""
        said = dict(self._parts.alarming.presence)  # alarming's thread may be adding to it
        found: dict[str, Presence] = {
            device: "online" if online else "offline" for device, online in said.items()
        }
        for device in self.region().devices.values():
            if device.via and said.get(device.via) is False:
                found[device.id] = "unknown"
        return found

    def storage(self) -> Holding:
        """How full the disk is, as it was looked at last."""
        return self._parts.keeper.holding

    async def act(self, action: Action) -> Transition:
        """Journal the action and return the transition it caused. Raises Problems."""
        answer = self._parts.alarming.expect(action.id)
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.wrap_future(self._parts.recorder.record(RecordKind.ACTION, asdict(action)))
                return await asyncio.wrap_future(answer)
        except (TimeoutError, OSError) as error:
            what = str(error) or "the journal does not take it in"
            raise Problems.one("journal", what, "try again when the collector's health is ok") from None
        finally:
            self._parts.alarming.forget(action.id)

    async def stage_backup(self) -> dict[str, Any]:
        """Lay out state, store and journal for the backup. Raises Problems."""
        if self._staging.locked():
            what = "a backup is being laid out already"
            raise Problems.one("backup", what, "wait for it to end")
        data, parts = self.config.data.dir, self._parts
        async with self._staging:
            accounts = await asyncio.to_thread(stage, data, parts.store, parts.journal.durable_files)
        return {"folder": str(staging(data)), "accounts": accounts}

    def metrics(self) -> bytes:
        """Prometheus' text exposition."""
        return exposition(
            self.stats(),
            self.health(),
            self.storage(),
            self._backups.age(time.time_ns()),
            self._parts.supervisor.restarts(),
        )
