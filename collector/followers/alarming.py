"""The follower that alarms: journal → rules → transitions, committed with their cursor in one transaction."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future

from collector.alarms.engine import Engine
from collector.alarms.model import Alert, Transition
from collector.core.bundle import BundleError, joined, parted, unpack
from collector.core.readings import SeriesKey, SeriesTable
from collector.core.records import Action, Batch, RecordKind
from collector.core.roster import Part, apart, numbers, roster, together
from collector.followers.saving import Saver
from collector.followers.script import Clock, Control, Rows, Scene, Sign, one_row, scenes
from collector.followers.versions import Versions
from collector.ingest.dating import Dating
from collector.ingest.decode import Decoder
from collector.ingest.journal import Journal
from collector.state import State
from collector.state.outbox import OutboxRow
from collector.state.snapshots import Snapshots
from devices.catalogue import CLOCK_WRONG, COLLECTOR
from devices.problems import Problems
from devices.region import Region

log = logging.getLogger(__name__)
NAME = "alarming"
COMMIT_SECONDS = 1.0
"""Without transitions the cursor is committed this often: what lies behind it is read again, silently."""
SNAPSHOT_MESSAGES = 200_000
LONG_WAY = 20_000
"""After so many messages read again at a start its outcome is kept: killed soon, the next start is short."""
RETRY = 0.5
_FORM, _OLD_FORM = "nagari-alarming-2", "nagari-alarming-1"

Answer = Future[Transition]


class Alarming:
    """Runs in a thread of its own. `committed` is called on it with the outbox rows of each commit."""

    def __init__(
        self,
        journal: Journal,
        state: State,
        decoder: Decoder,
        table: SeriesTable,
        snapshots: Snapshots,
        versions: Versions,
        committed: Callable[[list[OutboxRow]], None],
        *,
        snapshot_messages: int = SNAPSHOT_MESSAGES,
    ) -> None:
        self._journal = journal
        self._state = state
        self._decoder = decoder
        self._table = table
        self._snapshots = snapshots
        self._saver = Saver(snapshots, NAME, snapshot_messages)
        self._versions = versions
        self._committed = committed
        self._stop = threading.Event()
        self._answers: dict[str, Answer] = {}
        self._engine = Engine(table)
        self._dating = Dating(table)
        self._messages = 0
        self._committed_cursor = 0
        self._region: Region
        self.presence: dict[str, bool] = {}
        self._offline: set[SeriesKey] = set()
        self.cursor = 0
        self.stamp = 0
        self.transitions = 0
        self.status = "ok"
        self.failed: str | None = None
        self.thread = threading.Thread(target=self._run, name=NAME, daemon=True)

    @property
    def alerts(self) -> Mapping[str, Alert]:
        """All alerts that are not gone."""
        return self._engine.alerts

    @property
    def wrong_clocks(self) -> int:
        """Devices whose clock is found wrong."""
        return len(self._dating.wrong)

    @property
    def clock_off(self) -> int:
        """How far most devices' clocks are ahead of this machine's (ns); 0 while it is right."""
        return self._dating.off

    def expect(self, action: str) -> Answer:
        """The transition that an action will cause, committed; ask before the action is journaled."""
        answer: Answer = Future()
        answer.set_running_or_notify_cancel()  # whoever gives up waiting cannot trip this thread
        self._answers[action] = answer
        return answer

    def forget(self, action: str) -> None:
        """Nobody waits for that action any more."""
        self._answers.pop(action, None)

    def start(self) -> None:
        """Recover: load the newest snapshot, read on silently up to the committed cursor; then follow."""
        self.recover()
        self.thread.start()

    def stop(self) -> None:
        """Commit what was read, then stop."""
        self._stop.set()
        if self.thread.is_alive():
            self.thread.join()

    def recover(self) -> None:
        """State as it was when the cursor was committed."""
        goal = self._state.cursor()
        self.cursor = self._restore(goal)
        while self.cursor < goal and (batch := self._journal.read(self.cursor, goal)) is not None:
            self._play(batch)
        self._engine.drain()
        self.cursor = self._committed_cursor = max(self.cursor, goal)
        self._saver.begin(self._messages)
        if self._messages >= LONG_WAY:
            self._save()

    def _restore(self, goal: int) -> int:
        found = self._snapshots.newest(NAME, goal)
        if found is not None:
            try:
                self._unpack(found[1])
                return found[0]
            except (BundleError, KeyError, ValueError, Problems) as error:
                log.warning("alarming: a snapshot is not used: %s", error)
                self._engine, self._dating = Engine(self._table), Dating(self._table)
        self._region, rules = self._versions.current
        self._engine.region(self._region, rules, 0, 0)
        return min(self._journal.first, goal)

    def _unpack(self, data: bytes) -> None:
        """Put everything as it was. Raises BundleError, KeyError, ValueError, Problems."""
        try:
            parts = apart(*unpack(_FORM, data))
        except BundleError:
            self._unpack_old(data)
            return
        own = parts["alarming"]
        self._region, rules = self._versions.get(own.head["region"])
        here = numbers(self._table, parts["series"])
        self._dating = Dating.load(self._table, parts["dating"], here)
        self._engine = Engine.load(self._table, self._region, rules, parts["engine"])
        said = {key: [device for (device,) in parted(own.columns[key])] for key in ("online", "offline")}
        self.presence = dict.fromkeys(said["online"], True) | dict.fromkeys(said["offline"], False)
        self._offline = {SeriesKey(*key) for key in own.head["offline"]}

    def _unpack_old(self, data: bytes) -> None:
        head, columns = unpack(_OLD_FORM, data)
        self._region, rules = self._versions.get(head["region"])
        self._dating = Dating.restore(self._table, columns["dating"].tobytes())
        self._engine = Engine.restore(self._table, self._region, rules, columns["engine"].tobytes())
        self.presence = dict(head["presence"])
        self._offline = {SeriesKey(*key) for key in head["offline"]}

    def _whole(self) -> Part:
        size, series = roster(self._table)
        said = {True: "online", False: "offline"}
        columns = {
            name: joined((device,) for device, online in self.presence.items() if online is known)
            for known, name in said.items()
        }
        offline = sorted(list(key) for key in self._offline)
        own = Part({"region": self._region.hash, "offline": offline}, columns)
        engine, dating = self._engine.save(), self._dating.save(size)
        return together({"series": series, "dating": dating, "engine": engine, "alarming": own})

    def _run(self) -> None:
        try:
            self._follow()
        except Exception as error:  # the outermost loop: a fault must show, not vanish with its thread
            log.exception("alarming: stopped by a fault")
            self.failed = f"{type(error).__name__}: {error}"

    def _follow(self) -> None:
        committed = time.monotonic()
        while not self._stop.is_set():
            batch = self._journal.read(self.cursor)
            if batch is not None:
                self._play(batch)
            transitions = self._engine.drain()
            if transitions or (self._behind() and time.monotonic() - committed >= COMMIT_SECONDS):
                if not self._commit(transitions):
                    return  # stopped meanwhile: the cursor must not pass what was not committed
                committed = time.monotonic()
            if batch is None:
                self._journal.wait(self.cursor, 0.5)
        if self._commit(self._engine.drain()):
            self._save()
            self._saver.finish()

    def _behind(self) -> bool:
        return self._committed_cursor < self.cursor

    def _commit(self, transitions: list[Transition]) -> bool:
        """One transaction; while the disk refuses, again. Says whether it was committed."""
        while True:
            try:
                rows = self._state.commit(self.cursor, transitions, self._summary)
                break
            except sqlite3.OperationalError as error:
                self._held_up(str(error))
                if self._stop.wait(RETRY):
                    return False
        self.status = "ok"
        self._committed_cursor = self.cursor
        self.transitions += len(transitions)
        if rows:
            self._committed(rows)
        for transition in transitions:
            answer = self._answers.pop(transition.action, None) if transition.action else None
            if answer:
                answer.set_result(transition)
        if self._saver.due(self._messages):
            self._save()
        return True

    def _held_up(self, why: str) -> None:
        if self.status == "ok":
            log.error("alarming: state.db: %s; it is tried again until it works", why)
        self.status = f"state.db: {why}"
        if "full" in why:
            self._journal.disk_full()

    def _play(self, batch: Batch) -> None:
        found = self._decoder.shared(batch)
        dated = self._dating.date(batch, found)
        for scene in scenes(batch, found, dated, self._table, self._offline):
            self._act(scene)
        self._messages += len(found)
        self.cursor = batch.end
        if len(batch):
            self.stamp = int(batch.stamps[-1])

    def _act(self, scene: Scene) -> None:
        match scene:
            case Rows():
                self._engine.rows(scene.rows, scene.offsets)
            case Control():
                self._control(scene)
            case Sign():
                self._sign(scene)
            case Clock(device, wrong, stamp, offset):
                key = SeriesKey(device.site, device.device, CLOCK_WRONG)
                self._act(one_row(self._table, key, float(wrong), stamp, offset))

    def _control(self, record: Control) -> None:
        engine, body = self._engine, record.body
        match record.kind:
            case RecordKind.GAP:
                engine.gap(int(body["from"]), record.stamp, record.offset)
            case RecordKind.WATERMARK:
                engine.advance(record.stamp, record.offset)
            case RecordKind.ACTION:
                engine.action(Action(**body), record.stamp, record.offset)
            case RecordKind.REGION:
                self._take_version(str(body["hash"]), record)
            case RecordKind.HEALTH:
                for metric, value in sorted(body.items()):
                    key = SeriesKey(self._region.centre, COLLECTOR, metric)
                    self._act(one_row(self._table, key, float(value), record.stamp, record.offset))

    def _take_version(self, content: str, record: Control) -> None:
        try:
            self._region, rules = self._versions.get(content)
        except (KeyError, Problems) as error:  # state.db was lost, or this program refuses what an older took
            log.warning("alarming: the region %s cannot be had (%s); the one before goes on", content, error)
            return
        self._engine.region(self._region, rules, record.stamp, record.offset)

    def _sign(self, sign: Sign) -> None:
        key = sign.device
        if sign.online is None:
            self._engine.heard(key, sign.stamp, sign.offset)
            return
        self.presence[key.device] = sign.online
        (self._offline.discard if sign.online else self._offline.add)(key)
        if not sign.retained:
            self._engine.presence(key.site, key.device, sign.online, sign.stamp, sign.offset)

    def _summary(self, alert: Alert) -> dict[str, str]:
        return self._versions.summary(self._region.hash, alert)

    @property
    def region(self) -> str:
        """The hash of the version that holds, as far as the journal was read."""
        return self._region.hash

    def _save(self) -> None:
        self._saver.save(self._committed_cursor, _FORM, self._whole(), self._messages)
