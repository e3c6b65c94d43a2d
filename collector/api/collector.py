"""The running collector as the API sees it: its parts, and what is made of several of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from collector.alarms.model import Transition
from collector.api.backupwatch import BackupWatch
from collector.api.figures import Health, exposition
from collector.api.hub import Hub
from collector.api.staging import stage, staging
from collector.core.config import Config
from collector.core.readings import SeriesTable
from collector.core.records import Action, RecordKind
from collector.followers.alarming import Alarming
from collector.followers.lasts import Lasts
from collector.followers.storing import Storing
from collector.followers.versions import Versions
from collector.ingest.decode import Decoder
from collector.ingest.ingest import Ingest
from collector.ingest.journal import Journal
from collector.ingest.session import Session
from collector.notify.consumer import ChannelConsumer
from collector.state import State
from collector.storage.holding import Holding
from collector.store.base import Store
from collector.supervision.supervisor import Supervisor
from devices.model import Device, Presence
from devices.problems import Problems
from devices.region import Region

_log = logging.getLogger(__name__)
PATIENCE = 8.0
"""Seconds an operator waits for an action to take effect."""
_MOST_ACTING = 1000
RATE_S = 60.0
"""Seconds over which the rate of messages is told."""


class DiskWatch(Protocol):
    """Who looks at the disk."""

    holding: Holding


class RunningParts(Protocol):
    """The parts of a running collector, as the wiring has put them together."""

    config: Config
    state: State
    store: Store
    table: SeriesTable
    versions: Versions
    decoder: Decoder
    journal: Journal
    recorder: Ingest
    session: Session
    storing: Storing
    alarming: Alarming
    hub: Hub
    supervisor: Supervisor
    consumers: Sequence[ChannelConsumer]

    @property
    def keeper(self) -> DiskWatch:
        """Who looks at the disk."""


class _Underway:
    """An action on its way."""

    task: asyncio.Task[Transition]
    journaled = False


class Collector:
    """What the routes ask. Everything but `act` and `stage_backup` answers at once, from memory."""

    def __init__(self, parts: RunningParts) -> None:
        self._parts = parts
        self.config = parts.config
        self.state = parts.state
        self.store = parts.store
        self.table = parts.table
        self._staging = asyncio.Lock()
        self._backups = BackupWatch(parts.config)
        self._acting: dict[str, _Underway] = {}
        self._counts: deque[tuple[float, int]] = deque(maxlen=128)  # when, and how many messages had come
        self._active = (-1, 0)  # transitions committed, and how many alerts were active after them

    @property
    def region(self) -> Region:
        """The inventory that holds now."""
        return self._parts.versions.inventory

    @property
    def lasts(self) -> Lasts:
        """The newest reading of every series."""
        return self._parts.storing.lasts

    @property
    def holding(self) -> Holding:
        """How full the disk is, as it was looked at last."""
        return self._parts.keeper.holding

    def presence_of(self, device: Device) -> Presence | None:
        """As it says of itself; unknown behind a publisher that is gone; None of whom nothing was heard."""
        return self._parts.alarming.course.presence_of(device.id)

    def presence(self) -> Mapping[str, Presence]:
        """By device id, `presence_of` of all of whom something was heard. Takes long: for a thread."""
        return self._parts.alarming.course.presence

    def stats(self) -> dict[str, int | float]:
        """The accounts; received = stored + duplicate + quarantined + dropped + in_flight in every answer."""
        parts = self._parts
        ledger, journal = parts.storing.ledger, parts.journal
        done = ledger.stored + ledger.duplicate + ledger.quarantined + ledger.dropped
        received = max(journal.messages, done)
        behind = max(0, journal.stamp - parts.alarming.stamp) if parts.alarming.stamp else 0
        return {
            "received": received,
            "rate_60s": self._rate(),
            "stored": ledger.stored,
            "duplicate": ledger.duplicate,
            "quarantined": ledger.quarantined,
            "dropped": ledger.dropped,
            "in_flight": received - done,
            "values": ledger.values,
            "conflicts": ledger.conflicts,
            "unclaimed": parts.decoder.directory(parts.alarming.course.region).unclaimed,
            "values_left_out": parts.storing.left_out,
            "unknown_records": sum(parts.alarming.course.unknown.values()),
            "qos0": ledger.qos0,
            "series": len(self.table),
            "alerts_active": self._alerts_active(),
            "transitions": parts.alarming.transitions,
            "wrong_clocks": parts.alarming.course.wrong_clocks,
            "store_lag_s": self.store_lag(),
            "alarm_lag_s": round(behind / 1e9, 3),
            "gaps": parts.recorder.gaps,
            "connects": parts.session.connects,
            "journal_bytes": journal.size,
            "segments_dropped": journal.dropped_segments,
            "fsyncs": journal.fsyncs,
            "stream_clients": parts.hub.clients,
            **self._notes(),
            **self._storage_stats(),
        }

    def _notes(self) -> dict[str, int]:
        """Notifications of all channels: sent, waiting for another try, and lost since the start."""
        consumers = self._parts.consumers
        return {
            "notes_sent": sum(each.counts["sent"] for each in consumers),
            "notes_waiting": sum(each.waiting for each in consumers),
            "notes_lost": sum(each.counts["skipped"] + each.counts["missed"] for each in consumers),
        }

    def sample(self, now: float) -> None:
        """Remember how many messages have come; to be called every second. `now` in monotonic seconds."""
        self._counts.append((now, self._parts.journal.messages))
        while self._counts[0][0] < now - RATE_S:
            self._counts.popleft()

    def _rate(self) -> float:
        """Messages a second, the mean over the last minute, or over as much of it as was seen."""
        counts = tuple(self._counts)
        if len(counts) < 2:
            return 0.0
        (since, before), (until, after) = counts[0], counts[-1]
        return round((after - before) / (until - since), 2)

    def _alerts_active(self) -> int:
        """Counted anew only after a commit."""
        alarming = self._parts.alarming
        if self._active[0] != alarming.transitions:
            committed = alarming.transitions
            active = sum(alert.condition == "active" for alert in alarming.course.alerts.values())
            self._active = (committed, active)
        return self._active[1]

    def _storage_stats(self) -> dict[str, int | float]:
        """Nothing without a capacity."""
        holding = self.holding
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
        elif journal.crowded:
            said["journal"] = "no file descriptor is left; messages wait at the broker"
        if parts.state.damage:
            said["state"] = "state.db is damaged; see the log"
        for consumer in parts.consumers:
            said[consumer.channel.name] = consumer.trouble or "ok"
        said |= parts.supervisor.troubles()
        return Health(parts.session.subscribed and said["journal"] == "ok", said)

    async def act(self, action: Action) -> Transition | None:
        """Journal the action and return the transition it caused; None: journaled, its effect not known yet.

        An action whose id was given before is not journaled again: it leads to the transition it led to, or
        will. Raises Problems if the journal has not taken it in.
        """
        acting = self._acting.get(action.id)
        if acting is None:
            if len(self._acting) >= _MOST_ACTING:
                what = f"{_MOST_ACTING} actions wait for their effect"
                raise Problems.one("alarms", what, "try again when the collector's health is ok")
            acting = self._acting[action.id] = _Underway()
            acting.task = asyncio.create_task(self._act(action, acting))
            acting.task.add_done_callback(lambda task: self._acted(action.id, task))
        done, _ = await asyncio.wait({acting.task}, timeout=PATIENCE)
        if done:
            return acting.task.result()
        if acting.journaled:
            return None
        mend = "ask again with the same Idempotency-Key when the collector's health is ok"
        raise Problems.one("journal", "the journal has not taken it in yet, and may still do so", mend)

    def _acted(self, action: str, task: asyncio.Task[Transition]) -> None:
        self._acting.pop(action, None)
        if not task.cancelled() and (error := task.exception()):
            _log.warning("the action %s: %s", action, error)  # perhaps nobody waits any more

    async def _act(self, action: Action, acting: _Underway) -> Transition:
        parts = self._parts
        answer = parts.alarming.expect(action.id)  # before the look: between the two nothing is missed
        try:
            if row := await asyncio.to_thread(self.state.of_action, action.id):
                assert isinstance(row.decision, Transition)
                return row.decision
            await asyncio.wrap_future(parts.recorder.record(RecordKind.ACTION, asdict(action)))
            acting.journaled = True
            return await asyncio.wrap_future(answer)
        except OSError as error:
            what = str(error) or "the journal does not take it in"
            raise Problems.one("journal", what, "try again when the collector's health is ok") from None
        finally:
            parts.alarming.forget(action.id)

    def acting(self, action: str) -> bool:
        """Whether the action is on its way: asked for, its effect not known yet."""
        return action in self._acting

    async def stage_backup(self) -> dict[str, Any]:
        """Lay out state, store and journal: their `folder`, and the `accounts`. Raises Problems."""
        if self._staging.locked():
            what = "a backup is being laid out already"
            raise Problems.one("backup", what, "wait for it to end")
        data, parts = self.config.data.dir, self._parts
        async with self._staging:
            accounts = await asyncio.to_thread(stage, data, parts.store, parts.journal.durable_files)
        return {"folder": str(staging(data)), "accounts": accounts}

    def metrics(self) -> bytes:
        """Prometheus' text exposition; no device ids in labels."""
        age, restarts = self._backups.age(time.time_ns()), self._parts.supervisor.restarts()
        return exposition(self.stats(), self.health(), self.holding, age, restarts)
