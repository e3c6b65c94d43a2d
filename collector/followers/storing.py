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

import numpy as np

from collector.core.bundle import BundleError, unpack
from collector.core.readings import F64, I32, I64, Bools, Quality, Readings, SeriesTable, grown
from collector.core.records import Batch
from collector.core.roster import Part, apart, numbers, roster, together
from collector.followers.coarse import coarse
from collector.followers.fates import judge
from collector.followers.lasts import Lasts
from collector.followers.patience import Patience, StoppedError
from collector.followers.rates import Rates
from collector.followers.saving import Saver
from collector.ingest.dating import Dating
from collector.ingest.decode import Decoder
from collector.ingest.journal import Journal
from collector.state.snapshots import Snapshots
from collector.store.base import Ledger, Reject, Store, StoreError

log = logging.getLogger(__name__)
NAME = "storing"
ROWS = 60_000
"""A commit is due at this many rows,"""
AGE = 0.25
"""or after this many seconds."""
TEND = 2.0
"""Seconds after the last commit, and from then on: so often the store may look after itself."""
SNAPSHOT_MESSAGES = 500_000
LONG_WAY = 20_000
"""After so many messages read again at a start its outcome is kept: killed soon, the next start is short."""
_FORM, _OLD_FORM = "nagari-storing-2", "nagari-storing-1"


class Storing:
    """Runs in a thread of its own. `ledger` is what is committed, `_given` what was handed over to be."""

    def __init__(
        self,
        journal: Journal,
        store: Store,
        decoder: Decoder,
        table: SeriesTable,
        snapshots: Snapshots,
        *,
        snapshot_messages: int = SNAPSHOT_MESSAGES,
    ) -> None:
        self._journal = journal
        self._store = store
        self._decoder = decoder
        self._table = table
        self._snapshots = snapshots
        self._saver = Saver(snapshots, NAME, snapshot_messages)
        self._stop = threading.Event()
        self._rows: list[Readings] = []
        self._rejects: list[Reject] = []
        self._pending = 0
        self._since = self._tended = 0.0
        self._strange: Bools = np.empty(0, np.bool_)
        self._strange_count = 0
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
            found = self._decoder.decode(batch)
            dated = self._dating.date(batch, found)
            self.lasts.take(self._flagged(dated.readings).take(dated.newer))
            at, again = batch.end, again + len(found)
        if again >= LONG_WAY:
            self._save()

    def _restore(self, cursor: int) -> int | None:
        found = self._snapshots.newest(NAME, cursor)
        if found is None:
            return None
        try:
            self._dating, self.lasts = self._unpack(found[1])
        except (BundleError, KeyError) as error:
            log.warning("storing: a snapshot is not used: %s", error)
            return None
        return found[0]

    def _unpack(self, data: bytes) -> tuple[Dating, Lasts]:
        table = self._table
        try:
            parts = apart(*unpack(_FORM, data))
        except BundleError:
            _, columns = unpack(_OLD_FORM, data)
            return Dating.restore(table, columns["dating"].tobytes()), Lasts.restore(
                table, columns["lasts"].tobytes()
            )
        here = numbers(table, parts["series"])
        return Dating.load(table, parts["dating"], here), Lasts.load(table, parts["lasts"], here)

    def _state(self) -> Part:
        size, series = roster(self._table)
        parts = {"series": series, "dating": self._dating.save(size), "lasts": self.lasts.save(size)}
        return together(parts)

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
            batch = self._journal.read(cursor)
            if batch is None:
                self._flush_if_due()
                if not self._busy:
                    self._settle()
                    self._tend_if_due()
                self._journal.wait(cursor, 0.05 if self._pending else 0.5)
                continue
            self._take(batch)
            cursor = batch.end
            self._flush_if_due()
            self._save_if_due()

    def _take(self, batch: Batch) -> None:
        found = self._decoder.shared(batch)
        exact = self._dating.date(batch, found)
        dated = coarse(exact, self.lasts.times(), self._store.resolution)
        if not dated.newer.all():  # the store is asked: it has to know all that came before
            self._flush()
            self._settle()
        fates = judge(batch, found, dated, self._find, self._store.tolerance)
        fates.count(self._next, batch, len(found))
        rows = self._flagged(dated.readings)
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

    def _flagged(self, rows: Readings) -> Readings:
        """Mark what the inventory does not claim."""
        strange = self._decoder.unclaimed
        if not strange:
            return rows
        if len(strange) != self._strange_count or len(self._strange) < len(self._table):
            numbers = list(strange)  # first: another thread's decoding may add to both
            self._strange = grown(np.zeros(0, np.bool_), len(self._table), False)  # type: ignore[assignment]
            self._strange[numbers] = True
            self._strange_count = len(numbers)
        flagged = rows.quality | np.where(
            self._strange[rows.series], np.uint8(Quality.UNCLAIMED), np.uint8(0)
        )
        return replace(rows, quality=flagged)

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
            idle = self._journal.end == self._next.cursor
            if age >= AGE or (idle and age >= AGE / 4):
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
        self.ledger = self._patience.ask(lambda: self._store.commit(rows, rejects, ledger))

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
