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
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import uvicorn

from collector.api.app import create_app
from collector.api.hub import Hub
from collector.core.clock import Clock
from collector.core.config import Config
from collector.core.readings import SeriesTable
from collector.core.records import RecordKind
from collector.followers.alarming import NAME as ALARMING
from collector.followers.alarming import Alarming
from collector.followers.storing import Storing
from collector.followers.tidying import Tidying
from collector.followers.versions import Versions
from collector.ingest.decode import Decoder
from collector.ingest.journal import Journal, Retention
from collector.ingest.pack import Pack
from collector.ingest.recorder import Recorder
from collector.ingest.reserve import Reserve
from collector.ingest.session import Session
from collector.notify.consumer import Consumer
from collector.notify.log import LogChannel
from collector.notify.webhook import WebhookChannel
from collector.operation.admission import Admission
from collector.operation.keeper import Keeper, Sources
from collector.operation.selfwatch import SelfWatch
from collector.operation.status import RunningCollector
from collector.state import OutboxRow, State
from collector.state.snapshots import Snapshots
from collector.store.base import Store
from collector.store.stores import open_store
from devices import region as regions
from devices.problems import Problem, Problems
from devices.topics import FILTERS

log = logging.getLogger(__name__)
HANDOVER = 0.001
"""Seconds after which a thread that computes lets another one: alarming has to wait often in a batch."""
LAST_CALL = 5.0
"""Seconds the page's clients are given at the end."""


async def run(
    config: Config, *, ready: asyncio.Event | None = None, stop: asyncio.Event | None = None
) -> None:
    """Run the collector until `stop` is set, or SIGTERM or SIGINT comes. Raises Problems if it cannot start.

    `ready` is set once it listens to the broker and answers HTTP.
    """
    stop = stop or asyncio.Event()
    sys.setswitchinterval(HANDOVER)
    hangup = asyncio.Event()
    with _signals({signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: hangup}):
        async with asyncio.TaskGroup() as group:
            app = App(config, hangup)
            try:
                await app.start(group, ready or asyncio.Event())
            except Problems:
                await app.stop()
                raise
            failed = asyncio.create_task(app.fatal())
            await asyncio.wait(
                {asyncio.create_task(stop.wait()), failed}, return_when=asyncio.FIRST_COMPLETED
            )
            stop.set()
            await app.stop()
            if failed.done():
                raise Problems([failed.result()])
            failed.cancel()


class App:
    """All parts of one collector. `hangup`, set, asks for the region folder to be read again."""

    def __init__(self, config: Config, hangup: asyncio.Event) -> None:
        self.config = config
        self._hangup = hangup
        files = regions.read_folder(config.region.dir)
        data = _data_folder(config.data.dir)
        self.state = State(data / "state.db")
        self.versions = Versions(self.state, files, str(config.region.dir))
        self.admission = Admission(config, self.state, self.versions.inventory)
        self.table = SeriesTable()
        self.store: Store = open_store(config.store, data, self.table)
        self.snapshots = Snapshots(data / "snapshots")
        self.decoder = Decoder(self.table, lambda: self.versions.inventory, config.limits.unclaimed_series)
        reserve = Reserve(data / "reserve", config.data.reserve)
        self.journal = Journal(
            data / "journal",
            config.journal,
            reserve,
            self._durable,
            head_bytes=config.limits.head_bytes,
            retention=Retention(lambda: self.snapshots.floor(ALARMING), lambda: self.storing.cursor),
        )
        self.storing = Storing(self.journal, self.store, self.decoder, self.table, self.snapshots)
        self.keeper = Keeper(config, self.store, self.table, self._sources())
        self.tidying = Tidying(self.store)
        self.alarming = Alarming(
            self.journal, self.state, self.decoder, self.table, self.snapshots, self.versions, self._committed
        )
        self.hub = Hub()
        self.consumers: Sequence[Consumer] = [Consumer(channel, self.state) for channel in _channels(config)]
        self._loop: asyncio.AbstractEventLoop
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def _sources(self) -> Sources:
        return Sources(
            journal=lambda: self.journal.size,
            rates=self.storing.rates.cut,
            devices=lambda: self.versions.inventory.devices,
            contract=lambda: (self.admission.plan, self.admission.breach, self.admission.admitted),
            audit=self.state.audit,
        )

    async def start(self, group: asyncio.TaskGroup, ready: asyncio.Event) -> None:
        """Open the journal, listen, serve; then the followers take up where they stood. Raises Problems."""
        self._loop = asyncio.get_running_loop()
        self._register_consumers()
        self._open_journal()
        http = self._spawn(group, self.server.serve(), "http")
        self._spawn(group, self.session.run(), "session")
        await self._serving(http)
        await asyncio.gather(*map(asyncio.to_thread, (self.storing.recover, self.alarming.recover)))
        if self.alarming.region != self.versions.current[0].hash:
            self._record_region()
        _keep_for_good()
        self.storing.thread.start()
        self.alarming.thread.start()
        self.tidying.start()
        self._spawn(group, self.watch.run(), "selfwatch")
        self._spawn(group, self.keeper.run(), "keeper")
        self._spawn(group, self._housekeeping(), "housekeeping")
        self._spawn(group, self._reloading(), "reload")
        for consumer in self.consumers:
            self._spawn(group, consumer.run(), consumer.channel.name)
        await self.session.tried.wait()  # a broker that is away does not hold us up: the page says so
        ready.set()

    def _register_consumers(self) -> None:
        """Before alarming starts: they are told of everything from here on."""
        names = [consumer.channel.name for consumer in self.consumers]
        self.state.keep_consumers(names)
        for name in names:
            self.state.consumer(name)

    def _open_journal(self) -> None:
        ledger = self.store.ledger()
        at_least = max(self.state.cursor(), ledger.cursor if ledger else 0)
        self.journal.open(at_least, ledger.messages if ledger else 0)
        fresh = self.journal.stamp == 0
        self.clock = Clock(self.journal.stamp)
        self.recorder = Recorder(self.journal, self._now, self.journal.stamp or self.clock.now())
        unacked = self.config.limits.unacked_bytes
        self.session = Session(
            self.config.mqtt,
            FILTERS,
            self.journal.append,
            self.recorder,
            self._now,
            unacked_bytes=unacked,
        )
        self.collector = RunningCollector(self)
        self.watch = SelfWatch(self, self.collector)
        self.server = _Server(self._http())
        if fresh:
            self._record_region()

    def _now(self) -> int:
        """The stamp of what is received now; after a leap of the clock the journal hears of the gap first."""
        now = self.clock.now()
        if leap := self.clock.leap():
            log.warning("the machine's clock leapt %.1f s ahead", leap / 1e9)
            self.recorder.leapt(leap, now)
        return now

    def _spawn(
        self, group: asyncio.TaskGroup, work: Coroutine[Any, Any, None], name: str
    ) -> asyncio.Task[None]:
        task = group.create_task(work, name=name)
        self._tasks[name] = task
        return task

    async def _serving(self, http: asyncio.Task[None]) -> None:
        while not self.server.started:
            if http.done():
                what = f"{self.config.http.listen} is taken or not ours"
                raise Problems.one("http.listen", what, "stop the other program or choose another port")
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """In the other order: no new messages, what was read is durable, followers committed."""
        self.hub.close()
        http = self._tasks.pop("http", None)
        if self._tasks:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.wait(self._tasks.values())
        for close in (self.tidying.stop, self.journal.close, self.alarming.stop, self.storing.stop):
            await asyncio.to_thread(close)
        if http is not None:
            self.server.should_exit = True
            await asyncio.wait({http}, timeout=LAST_CALL)
            http.cancel()
        self.store.close()
        self.state.close()

    async def fatal(self) -> Problem:
        """Returns when going on would be wrong, with the reason."""
        data = self.config.data.dir
        while True:
            await asyncio.sleep(0.5)
            if error := self.journal.failed:
                mend = "look at the disk; nothing was acknowledged since"
                return Problem(str(data / "journal"), f"writing failed ({error})", mend)
            for follower in (self.storing, self.alarming):
                if follower.failed:
                    mend = "start again: it goes on from its cursor; a damaged file is set aside and refilled"
                    return Problem(follower.thread.name, f"stopped by a fault ({follower.failed})", mend)

    def _durable(self, packs: list[Pack]) -> None:
        """On the journal's thread."""
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody to acknowledge to
            self._loop.call_soon_threadsafe(self.session.durable, packs)

    def _committed(self, rows: list[OutboxRow]) -> None:
        """On alarming's thread."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._tell, rows)

    def _tell(self, rows: list[OutboxRow]) -> None:
        self.hub.publish(rows)
        for consumer in self.consumers:
            consumer.wake()

    def _record_region(self) -> None:
        content = self.versions.current[0].hash
        self.recorder.record(RecordKind.REGION, {"hash": content})
        self.state.audit(time.time_ns(), "collector", "region", {"hash": content})

    async def _reloading(self) -> None:
        """One after the other; who asked during the start is served after it."""
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            await self._reload_region()

    async def _reload_region(self) -> None:
        """Take the region folder as it is now; one with a mistake changes nothing, and the log says which."""
        folder = self.config.region.dir
        try:
            files = await asyncio.to_thread(regions.read_folder, folder)
            await asyncio.to_thread(self.admission.check, files, str(folder))
            changed = await asyncio.to_thread(self.versions.renew, files, str(folder))
        except Problems as problems:
            for problem in problems.problems:
                log.error("the region is not taken: %s", problem)  # noqa: TRY400 (a mistake, not a fault)
            return
        await asyncio.to_thread(self.admission.renew, self.versions.inventory)
        if changed:
            self._record_region()
        log.info("the region %s: %s", folder, "taken anew" if changed else "is unchanged")

    async def _housekeeping(self) -> None:
        while True:
            await asyncio.sleep(600)
            await asyncio.to_thread(self.state.prune_outbox, time.time_ns())

    def _http(self) -> uvicorn.Config:
        return uvicorn.Config(
            create_app(self.collector, self.hub),
            host=self.config.http.host,
            port=self.config.http.port,
            log_config=None,
            access_log=False,
            lifespan="off",
            loop="none",
            timeout_graceful_shutdown=2,
        )


class _Server(uvicorn.Server):
    """uvicorn, without its own handling of signals: the collector stops it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().serve(sockets)
        except SystemExit:  # the port is taken; uvicorn has logged it
            self.should_exit = True


def _keep_for_good() -> None:
    """What a start has built stays: to look through a large region for garbage would cost seconds."""
    gc.collect()
    gc.freeze()


def _channels(config: Config) -> list[LogChannel | WebhookChannel]:
    log_channel = [LogChannel()] if config.notify.log else []
    return [*log_channel, *(WebhookChannel(webhook) for webhook in config.notify.webhook)]


def _data_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Problems.one(
            "data.dir", f"{folder} cannot be made ({error.strerror})", "choose another"
        ) from None
    return folder


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
