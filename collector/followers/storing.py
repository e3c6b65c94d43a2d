"""The follower that stores: journal → readings, accounts and rejects, in one commit after the other.

While the store commits, in a second thread, the next commit's messages are decoded: one waits for a disk or
a server, the other for nobody.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby

import numpy as np

from collector.core.bundle import BundleError, unpack
from collector.core.readings import F64, I32, I64, Bools, Quality, Readings, SeriesTable
from collector.core.records import Batch
from collector.core.roster import Part, apart, numbers, roster, together
from collector.followers.coarse import coarse
from collector.followers.fates import judge
from collector.followers.lasts import Lasts
from collector.followers.patience import Patience, StoppedError
from collector.followers.rates import Rates
from collector.followers.saving import Saver
from collector.followers.versions import Versions
from collector.ingest.dating import Dating
from collector.ingest.decode import Decoder
from collector.ingest.decoded import Stretch, join
from collector.ingest.journal import Journal
from collector.state.snapshots import Snapshots
from collector.store.base import Ledger, Reject, Store, StoreError
from devices.problems import Problems
from devices.region import Region

log = logging.getLogger(__name__)
NAME = "storing"
ROWS = 60_000
"""A commit is due at this many rows, or after a while."""
GATHER, GATHER_BYTES, GATHER_SECONDS = 8_000, 8 << 20, 0.1
"""So many messages, bytes or seconds of the journal are taken in at once: each time costs the same anew."""
SOONEST, LATEST, REST = 0.1, 1.0, 100.0
"""Seconds that readings wait for a commit: REST times as long as the last one took, but within these."""
MANY = 5_000
"""So many rows are worth a commit as soon as nothing more is there."""
TEND = 2.0
"""Seconds after the last commit, and from then on: so often the store may look after itself."""
SNAPSHOT_MESSAGES = 500_000
LONG_WAY = 20_000
"""After so many messages read again at a start its outcome is kept: killed soon, the next start is short."""
_FORM = "nagari-storing-3"


class Storing:
    """Runs in a thread of its own. `ledger` is what is committed, `_given` what was handed over to be."""

    def __init__(
        self,
        journal: Journal,
        store: Store,
        decoder: Decoder,
        table: SeriesTable,
        snapshots: Snapshots,
        versions: Versions,
        *,
        snapshot_messages: int = SNAPSHOT_MESSAGES,
    ) -> None:
        self._journal = journal
        self._store = store
        self._decoder = decoder
        self._table = table
        self._snapshots = snapshots
        self._versions = versions
        self._saver = Saver(snapshots, NAME, snapshot_messages)
        self._stop = threading.Event()
        self._rows: list[Readings] = []
        self._rejects: list[Reject] = []
        self._pending = 0
        self._since = self._tended = 0.0
        self._pace = SOONEST
        self._region = versions.current[0]
        self.left_out = 0  # values, since the start, of unclaimed metrics for which there was no room
        self.lasts = Lasts(table)
        self.rates = Rates()
        self._dating = Dating(table)
        self.ledger = self._given = self._next = Ledger()
        self._hand = ThreadPoolExecutor(1, "committing")
        self._commit: Future[None] | None = None
        self._remembered = True
        self._patience = Patience(self._stop, lambda: journal.full)
        self.failed: str | None = None
        self.stamp = 0  # of the last record taken in, epoch ns
        self.thread = threading.Thread(target=self._run, name=NAME, daemon=True)

    @property
    def cursor(self) -> int:
        """What is before this is in the store."""
        return self.ledger.cursor

    @property
    def status(self) -> str:
        """`ok`, or what holds it up."""
        return self._patience.status

    def recover(self) -> None:
        """Take up where the store's ledger says; a store without one is filled anew from the journal."""
        ledger = self._store.ledger()
        if ledger is None:
            log.info("storing: an empty store; it is filled from the journal")
            self.ledger = Ledger(cursor=0)
        else:
            self.ledger = ledger
            self._remembered = self._tried_to_remember(ledger.cursor)
        self._given, self._next = self.ledger, replace(self.ledger)
        self._saver.begin(self.ledger.messages)

    def start(self) -> None:
        """Recover, then follow."""
        self.recover()
        self.thread.start()

    def stop(self) -> None:
        """Commit what was read, then stop."""
        self._stop.set()
        if self.thread.is_alive():
            self.thread.join()

    def _tried_to_remember(self, cursor: int) -> bool:
        """A store that is away must not hold up the start: then it is asked again once we follow."""
        try:
            self._remember(cursor)
        except StoreError as error:
            if error.permanent:
                raise
            self._patience.held_up(str(error))
            return False
        return True

    def _remember(self, cursor: int) -> None:
        """Load the newest snapshot at or before the cursor and read on from there, silently, up to it.

        Without one (or where the journal does not reach back to it) the store knows the newest readings, and
        what the journal still holds tells again which clocks are wrong and which messages would be copies.
        """
        at, first = self._restore(cursor), self._journal.first
        if at is None or at < first:
            series, when, value = self._store.lasts()
            if first > 0:
                self.lasts.seed(series, when, value)
                self._dating.last = self.lasts.time.copy()
            at = first
        again = 0
        while at < cursor and (batch := self._journal.read(at, cursor)) is not None:  # it may be empty
            for stretch in self._decoder.stretches(batch, self._region):
                self._region = stretch.region
                dated = self._dating.date(stretch.batch, stretch.found)
                self.lasts.take(self._flagged(dated.readings, stretch.region).take(dated.newer))
                again += len(stretch.found)
            at = batch.end
        if again >= LONG_WAY:
            self._save()

    def _restore(self, cursor: int) -> int | None:
        found = self._snapshots.newest(NAME, cursor)
        if found is None:
            return None
        try:
            self._dating, self.lasts = self._unpack(found[1])
        except (BundleError, KeyError, Problems) as error:
            log.warning("storing: a snapshot is not used: %s", error)
            return None
        return found[0]

    def _unpack(self, data: bytes) -> tuple[Dating, Lasts]:
        table, parts = self._table, apart(*unpack(_FORM, data))
        here = numbers(table, parts["series"])
        self._region = self._versions.region(parts["storing"].head["region"])
        return Dating.load(table, parts["dating"], here), Lasts.load(table, parts["lasts"], here)

    def _state(self) -> Part:
        size, series = roster(self._table)
        parts = {"series": series, "dating": self._dating.save(size), "lasts": self.lasts.save(size)}
        return together({**parts, "storing": Part({"region": self._region.hash}, {})})

    def run(self) -> None:
        """Follow the journal until stopped. Raises what no waiting mends: then a new one recovers."""
        try:
            if not self._remembered:
                self._patience.ask(lambda: self._remember(self.ledger.cursor))
            self._follow()
            self._flush()
            self._settle()
            self._save()
            self._saver.finish()
        except StoppedError:
            log.warning(
                "storing: stopped while the store refuses; it goes on from its cursor at the next start"
            )
        finally:
            self._stop.set()  # a commit under way must not wait for the store for ever
            self._hand.shutdown()

    def _run(self) -> None:
        try:
            self.run()
        except Exception as error:  # the outermost loop: a fault must show, not vanish with its thread
            log.exception("storing: stopped by a fault")
            self.failed = f"{type(error).__name__}: {error}"

    def _follow(self) -> None:
        cursor = self.ledger.cursor
        while not self._stop.is_set():
            batches = self._gather(cursor)
            for stretch in self._stretches(batches):
                self._take(stretch)
            self._flush_if_due()
            if batches:
                cursor = batches[-1].end
                self._save_if_due()
            elif not self._busy:
                self._settle()
                self._tend_if_due()
            if self._journal.end == cursor:
                self._journal.wait(cursor, GATHER_SECONDS if self._pending else 0.5)
                self._stop.wait(GATHER_SECONDS)

    def _gather(self, cursor: int) -> list[Batch]:
        """What the journal has from there on, a bounded lot of it."""
        batches: list[Batch] = []
        messages = size = 0
        while messages < GATHER and size < GATHER_BYTES and (batch := self._journal.read(cursor)) is not None:
            batches.append(batch)
            cursor, messages, size = batch.end, messages + len(batch), size + batch.size
        return batches

    def _stretches(self, batches: list[Batch]) -> list[Stretch]:
        """What was gathered, decoded and joined as far as one version of the region holds."""
        region, parts = self._region, list[Stretch]()
        for batch in batches:
            parts += self._decoder.shared(batch, region)
            region = parts[-1].region
        return [join(list(group)) for _, group in groupby(parts, key=lambda part: part.region.hash)]

    def _take(self, stretch: Stretch) -> None:
        batch, found, self._region = stretch.batch, stretch.found, stretch.region
        exact = self._dating.date(batch, found)
        dated = coarse(exact, self.lasts.times(), self._store.resolution)
        if not dated.newer.all():  # the store is asked: it has to know all that came before
            self._flush()
            self._settle()
        fates = judge(batch, found, dated, self._find, self._store.tolerance)
        fates.count(self._next, batch, len(found))
        rows = self._flagged(dated.readings, stretch.region)
        self.lasts.take(rows if exact.newer.all() else rows.take(exact.newer))
        new = rows if fates.new.all() else rows.take(fates.new)
        if len(batch):
            self.stamp = int(batch.stamps[-1])
        if not self._pending:
            self._since = time.monotonic()
        self._pending += len(new) + len(fates.rejects) + len(found)
        if len(new):
            self._rows.append(new)
            self.rates.take(new)
        self._rejects += fates.rejects
        self.left_out += found.left_out

    def _flagged(self, rows: Readings, region: Region) -> Readings:
        """Mark what that version of the inventory does not claim."""
        strange = self._decoder.directory(region).strange(rows.series)
        if strange is None:
            return rows
        return replace(
            rows, quality=rows.quality | np.where(strange, np.uint8(Quality.UNCLAIMED), np.uint8(0))
        )

    @property
    def _busy(self) -> bool:
        """Whether a commit is under way."""
        return self._commit is not None and not self._commit.done()

    def _flush_if_due(self) -> None:
        """While a commit is under way the next one grows, up to ROWS."""
        age = time.monotonic() - self._since
        if self._pending >= ROWS:
            self._flush()
        elif self._busy:
            return
        elif self._pending:
            caught_up = self._journal.end == self._next.cursor
            if age >= self._pace or (caught_up and self._pending >= MANY):
                self._flush()
        elif age >= 2.0:
            self._flush()  # control records alone have moved the cursor

    def _tend_if_due(self) -> None:
        if time.monotonic() - self._tended >= TEND:
            self._patience.ask(self._store.tend)
            self._tended = time.monotonic()

    def _flush(self) -> None:
        """Hand over what was taken in, once the last commit is through."""
        if self._next.cursor == self._given.cursor:
            return
        self._settle()
        self._given = replace(self._next)
        work = (Readings.concat(self._rows), self._rejects, self._given)
        self._commit = self._hand.submit(self._commit_to_store, *work)
        self._rows, self._rejects, self._pending = [], [], 0
        self._since = self._tended = time.monotonic()

    def _commit_to_store(self, rows: Readings, rejects: list[Reject], ledger: Ledger) -> None:
        begun = time.monotonic()
        self.ledger = self._patience.ask(lambda: self._store.commit(rows, rejects, ledger))
        self._pace = min(max(REST * (time.monotonic() - begun), SOONEST), LATEST)

    def _settle(self) -> None:
        """Wait for the commit under way. Rows that the store had to refuse are taken from the accounts."""
        if self._commit is None:
            return
        self._commit.result()
        self._commit = None
        moved = self.ledger.quarantined - self._given.quarantined
        self._next = self._next.less(moved, self._given.values - self.ledger.values)

    def _save_if_due(self) -> None:
        """Only when all that was dated is committed: a snapshot must not be ahead of it."""
        messages = self._next.messages
        if messages != self._saver.messages and self._saver.due(messages):
            self._flush()
            self._settle()
            self._save()

    def _find(self, series: I32, times: I64) -> tuple[Bools, F64]:
        return self._patience.ask(lambda: self._store.find(series, times))

    def _save(self) -> None:
        self._saver.save(self.ledger.cursor, _FORM, self._state(), self.ledger.messages)
