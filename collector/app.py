"""The wiring: broker → session → journal → followers → page, started so and stopped the other way round."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from collector.api.app import create_app
from collector.api.collector import Collector
from collector.api.hub import Hub
from collector.api.serving import Serving
from collector.core.config import Config
from collector.core.readings import SeriesTable
from collector.core.records import RecordKind
from collector.followers.alarming import NAME as ALARMING
from collector.followers.alarming import Alarming
from collector.followers.storing import NAME as STORING
from collector.followers.storing import Storing
from collector.followers.tidying import Tidying
from collector.followers.versions import Versions
from collector.ingest.decode import Decoder
from collector.ingest.directory import Caps
from collector.ingest.files import FileLog
from collector.ingest.ingest import Ingest
from collector.ingest.journal import Journal
from collector.ingest.log import Retention
from collector.ingest.pack import Pack
from collector.ingest.reserve import Reserve
from collector.notify.consumer import ChannelConsumer
from collector.notify.log import LogChannel
from collector.notify.webhook import WebhookChannel
from collector.operation.policies import POLICIES
from collector.operation.reloading import Reloading
from collector.operation.selfwatch import SelfWatch
from collector.state import OutboxRow, State, StateError
from collector.state.snapshots import Snapshots
from collector.storage.admission import Admission
from collector.storage.keeper import Keeper, Sources
from collector.store.base import Store, StoreError
from collector.store.stores import open_store
from collector.supervision.claims import claimed_folder, claimed_port
from collector.supervision.following import Following
from collector.supervision.supervisor import Supervisor, Work
from collector.supervision.systemd import Notifier
from collector.supervision.threads import ending, in_thread, within
from collector.supervision.watchdog import Pulse, Stuck, Watchdog
from devices import region as regions
from devices.problems import Faults
from devices.topics import FILTERS

log = logging.getLogger(__name__)
HANDOVER = 0.001
"""Seconds after which a thread that computes lets another one: alarming has to wait often in a batch."""
LAST_CALL = 4.0
"""Seconds that each part is given at the end."""
LOOK = 0.5
"""Seconds between two looks at the journal's health."""
HOUSEKEEPING = 600.0
"""Seconds between two prunings of the outbox."""


async def run(
    config: Config, *, ready: asyncio.Event | None = None, stop: asyncio.Event | None = None
) -> None:
    """Run the collector until `stop` is set, or SIGTERM or SIGINT comes.

    `ready` is set once it listens to the broker and answers HTTP. Raises Problems for a mistake in the
    settings, and Faults where it cannot start now, or where going on would be wrong.
    """
    stop, hangup = stop or asyncio.Event(), asyncio.Event()
    sys.setswitchinterval(HANDOVER)
    with _signals({signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: hangup}):
        files = regions.read_folder(config.region.dir)
        with (
            claimed_folder(config.data.dir),
            contextlib.closing(claimed_port(config.http.host, config.http.port)) as port,
        ):
            app = App(config, files, port, hangup)
            try:
                await _live(app, ready or asyncio.Event(), stop)
            finally:
                await app.stop()


async def _live(app: App, ready: asyncio.Event, stop: asyncio.Event) -> None:
    """Start, and return when it is to stop. Raises Problems."""
    start = asyncio.create_task(app.start(ready))
    stopped = asyncio.create_task(stop.wait())
    ended = asyncio.create_task(app.supervisor.ended())
    tasks: list[asyncio.Task[Any]] = [start, stopped, ended]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if start.done() and not (stopped.done() or ended.done()):
            await start
            await asyncio.wait({stopped, ended}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            raise ended.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class App:
    """All parts of one collector. `port` listens already; `hangup`, set, asks for the region to be read anew.

    The data folder must be claimed: here its files are opened, and nothing runs before `start`.
    """

    def __init__(
        self, config: Config, files: Mapping[str, bytes], port: socket.socket, hangup: asyncio.Event
    ) -> None:
        self.config = config
        self._port = port
        self._begun: str | None = None  # the region that held when alarming took up the journal
        self._hangup = hangup
        self._loop = asyncio.get_running_loop()
        data = config.data.dir
        self.supervisor = Supervisor()
        self.notifier = Notifier()
        with contextlib.ExitStack() as opened:
            self.state = State(data / "state.db")
            opened.callback(self.state.close)
            self.versions = Versions(self.state, files, str(config.region.dir))
            self.admission = Admission(config, self.state, self.versions.inventory)
            self.table = SeriesTable()
            self.store: Store = open_store(config.store, data, self.table)
            opened.callback(self.store.close)
            self._wire(data)
            self._opened = opened.pop_all()

    def _wire(self, data: Path) -> None:
        config = self.config
        self.snapshots = Snapshots(data / "snapshots")
        caps = Caps(config.limits.unclaimed_series, config.limits.unclaimed_of_device)
        self.decoder = Decoder(self.table, self.versions.region, caps)
        self.journal = Journal(
            FileLog(data / "journal", config.journal),
            Reserve(data / "reserve", config.data.reserve),
            self._durable,
            head_bytes=config.limits.head_bytes,
            retention=Retention(lambda: self.snapshots.floor(ALARMING), lambda: self.storing.cursor),
        )
        self._storing = Following(STORING, self._new_storing, self._takes_up_storing)
        self._alarming = Following(ALARMING, self._new_alarming, self._takes_up_alarming)
        self.storing, self.alarming = self._storing.current, self._alarming.current
        self.keeper = Keeper(config, self.store, self.table, self._sources())
        self.hub = Hub()
        channels = _channels(config)
        self.consumers: Sequence[ChannelConsumer] = [ChannelConsumer(each, self.state) for each in channels]

    def _new_storing(self) -> Storing:
        return Storing(self.journal, self.store, self.decoder, self.table, self.snapshots, self.versions)

    def _takes_up_storing(self, storing: Storing) -> None:
        self.storing = storing

    def _new_alarming(self) -> Alarming:
        return Alarming(
            self.journal, self.state, self.decoder, self.table, self.snapshots, self.versions, self._committed
        )

    def _takes_up_alarming(self, alarming: Alarming) -> None:
        self.alarming = alarming
        if self._begun is None:
            self._begun = alarming.region
            if self._begun != self.versions.current[0].hash:
                self._record_region()

    def _sources(self) -> Sources:
        return Sources(
            journal=lambda: self.journal.size,
            rates=lambda: self.storing.rates.cut(),  # noqa: PLW0108 (storing is replaced after a fault)
            devices=lambda: self.versions.inventory.devices,
            contract=lambda: (self.admission.plan, self.admission.breach, self.admission.admitted),
            audit=self.state.audit,
        )

    async def start(self, ready: asyncio.Event) -> None:
        """Open the journal, serve, listen; then the followers take up where they stood. Raises Problems."""
        self._open_journal()
        watchdog = Watchdog(self.notifier, Stuck(self._pulses()))
        self._add("watchdog", watchdog.run)
        self._add("journal", self._watch_journal)
        self._add("http", Serving(lambda: create_app(self.collector, self.hub), self._port).work)
        self._add("ingest", self._listen)
        self._add(STORING, self._storing.work)
        self._add(ALARMING, self._alarming.work)
        await self._storing.tried.wait()
        await self._alarming.tried.wait()
        _keep_for_good()
        for name, work in self._chores().items():
            self._add(name, work)
        for consumer in self.consumers:
            self.supervisor.add(f"notify-{consumer.channel.name}", consumer.run, POLICIES["notify"])
        await asyncio.wrap_future(self.ingest.tried)  # a broker that is away does not hold us up
        watchdog.started = True
        self.notifier.ready()
        ready.set()

    def _chores(self) -> Mapping[str, Work]:
        return {
            "tidying": self._tidy,
            "selfwatch": self.watch.run,
            "keeper": self.keeper.run,
            "housekeeping": self._housekeeping,
            "reload": self._reloading().work,
        }

    def _add(self, name: str, work: Work) -> None:
        self.supervisor.add(name, work, POLICIES[name])

    def _open_journal(self) -> None:
        try:
            self._register_consumers()
            ledger = self.store.ledger()
            at_least = max(self.state.cursor(), ledger.cursor if ledger else 0)
            self.journal.open(at_least, ledger.messages if ledger else 0)
        except (OSError, StateError, StoreError) as error:
            what = f"its files cannot be opened ({error})"
            raise Faults.one(str(self.config.data.dir), what, "look at the disk") from error
        fresh = self.journal.stamp == 0
        self.state.notice_loss(self.snapshots.reached(ALARMING), journaled=not fresh, now=time.time_ns())
        self.ingest = Ingest(
            self.config.mqtt,
            FILTERS,
            self.journal,
            unacked_bytes=self.config.limits.unacked_bytes,
            mark=self.config.data.dir / "mqtt-session",
        )
        self.recorder, self.session = self.ingest, self.ingest.session
        self.collector = Collector(self)
        self.watch = SelfWatch(self, self.keeper, self.collector)
        if fresh:
            self._record_region()

    def _register_consumers(self) -> None:
        """Before alarming starts: they are told of everything from here on."""
        names = [consumer.channel.name for consumer in self.consumers]
        self.state.keep_consumers(names)
        for name in names:
            self.state.consumer(name)

    def _pulses(self) -> Mapping[str, Callable[[], Pulse]]:
        """What systemd's watchdog hangs on, beside the main loop. What waits for the disk has no work."""
        journal = self.journal
        return {
            "ingest": lambda: Pulse(self.supervisor.up("ingest"), self.ingest.beats),
            "journal": lambda: Pulse(bool(self.ingest.waiting) and not journal.full, journal.end),
            "alarming": lambda: Pulse(
                self._alarming.follows
                and self.alarming.status == "ok"
                and self.alarming.cursor < journal.end,
                self.alarming.cursor,
            ),
        }

    async def stop(self) -> None:
        """In the other order: no new messages, what was read is durable, followers committed."""
        self.notifier.stopping()
        self.hub.close()
        supervisor = self.supervisor
        last = {ALARMING, STORING, "http"}
        well = await supervisor.stop({*supervisor.running} - last, LAST_CALL)
        well &= await within("closing the journal", LAST_CALL, self.journal.close)
        well &= await supervisor.stop({ALARMING, STORING}, LAST_CALL)
        await supervisor.stop({"http"}, LAST_CALL)
        if well:  # what is still in use is left to the end of the process
            await within("closing the files", LAST_CALL, self._opened.close)

    async def _watch_journal(self) -> None:
        """The journal's own thread writes; this is its worker for the supervisor."""
        while True:
            await asyncio.sleep(LOOK)
            if error := self.journal.failed:
                raise Faults.one("journal", f"writing failed ({error})", POLICIES["journal"].mend)

    async def _listen(self) -> None:
        await ending(in_thread("ingest", self.ingest.run), self.ingest.stop)

    async def _tidy(self) -> None:
        tidying = Tidying(self.store)
        try:
            await in_thread("tidying", tidying.run)
        finally:  # what is under way ends as the store is closed
            tidying.stop()

    def _durable(self, packs: list[Pack]) -> None:
        """On the journal's thread."""
        self.ingest.durable(packs)

    def _committed(self, rows: list[OutboxRow]) -> None:
        """On alarming's thread."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._tell, rows)

    def _tell(self, rows: list[OutboxRow]) -> None:
        self.hub.publish(rows)
        for consumer in self.consumers:
            consumer.wake()

    def _record_region(self) -> None:
        """Two commits to a disk: on the event loop only before anybody else needs it."""
        content = self.versions.current[0].hash
        self.recorder.record(RecordKind.REGION, {"hash": content})
        self.state.audit(time.time_ns(), "collector", "region", {"hash": content})

    def _reloading(self) -> Reloading:
        folder = self.config.region.dir
        parts = (self.versions, self.admission, self.notifier, self._hangup)
        return Reloading(folder, *parts, self._record_region)

    async def _housekeeping(self) -> None:
        await asyncio.to_thread(self.state.check)
        while True:
            await asyncio.sleep(HOUSEKEEPING)
            await asyncio.to_thread(self.state.prune_outbox, time.time_ns())


def _keep_for_good() -> None:
    """What a start has built stays: to look through a large region for garbage would cost seconds."""
    gc.collect()
    gc.freeze()


def _channels(config: Config) -> list[LogChannel | WebhookChannel]:
    log_channel = [LogChannel()] if config.notify.log else []
    return [*log_channel, *(WebhookChannel(webhook) for webhook in config.notify.webhook)]


@contextlib.contextmanager
def _signals(events: Mapping[signal.Signals, asyncio.Event]) -> Iterator[None]:
    """Each signal sets its event. SIGHUP, `systemctl reload`, ends a process that has no handler for it."""
    loop = asyncio.get_running_loop()
    for number, event in events.items():
        with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):  # not in the main thread
            loop.add_signal_handler(number, event.set)
    try:
        yield
    finally:
        for number in events:
            with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
                loop.remove_signal_handler(number)
