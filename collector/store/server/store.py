"""A `Store` whose readings are on a server: the accounts stay here, the rows go there.

A server can commit no ledger together with readings, and what it has acknowledged it may still lose. So:

1. A commit is first noted here, whole: ledger, rejects, rows, in one transaction of a local file (Accounts).
2. Then its rows are written to the server, until it takes them. Only then `commit` returns: at most one noted
   commit is not yet delivered, and whatever comes meanwhile waits in the journal.
3. Its rows are kept until the server has surely kept them: at once if its answer means a sync, else once the
   same run of it has lived on for `settles` seconds. A server that was started anew gets all of them again.

What a commit decided (which rows are new, which message met which fate) is so decided once and never looked
at again. Writing a row twice does no harm: the same series, time and value is one reading. The cursor and the
accounts never go back, neither with a killed collector nor with a killed server: `in_flight` means what is
not yet processed. The server's own confirmed cursor is the oldest commit that is kept.

Rows that a server refuses for good (see refusal) become rejects; a message of which no row is left moves from
stored to quarantined, in the ledger that `commit` returns.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import cast

import numpy as np

from collector.core.readings import F64, I32, I64, Bools, Readings, SeriesKey, SeriesTable
from collector.store.base import Aggregate, Ledger, Points, Reject, Tier, TierUsage
from collector.store.server.accounts import Accounts
from collector.store.server.lines import head, lines, speakable
from collector.store.server.refusal import deliver
from collector.store.server.remote import Server
from collector.store.server.sent import Sent
from devices.model import Address, Suffix
from devices.topics import build

log = logging.getLogger(__name__)
LOOK = 1.0
"""So often at most, in seconds, a commit asks whether the server still is the one it was."""
_HOUR = 3_600 * 10**9
_LOOK_BACK = (_HOUR, 24 * _HOUR, 168 * _HOUR)  # most series' last is near the end: do not read the whole past
_DAWN = 946_684_800 * 10**9  # 2000-01-01: nothing is dated before 2020


class ServerStore:
    """A `Store` on a server. points and rejects may run in other threads, all else is the writer's."""

    def __init__(self, server: Server, accounts: Accounts, table: SeriesTable) -> None:
        self.resolution, self.tolerance = server.resolution, server.tolerance
        self.set_aside = accounts.set_aside
        self._server, self._accounts, self._table = server, accounts, table
        self._writer = threading.RLock()
        self._heads: dict[int, str] = {}
        self._fresh: dict[int, Sent] = {}  # the commit just noted: it need not be read again
        self._run = accounts.incarnation
        waiting = accounts.waiting()
        self._kept = dict.fromkeys(waiting, time.monotonic())  # commit -> when it was delivered
        self._due = deque(waiting[-1:])  # the newest may not have been delivered before we died
        self._kept_to = 0  # commits up to this one are surely kept by the server
        self._noted: int | None = None  # the cursor of a commit that is noted and not yet returned from
        self._doubt: int | None = None  # the cursor of one whose noting failed, perhaps after it was durable
        self._owed = (0, 0)  # messages and values refused since `commit` last gave a ledger
        self._looked = -LOOK
        self._shown = True

    def ledger(self) -> Ledger | None:
        """What was last committed; None for a store that has never been written."""
        return self._accounts.ledger()

    def commit(self, new: Readings, rejects: list[Reject], ledger: Ledger) -> Ledger:
        """Note it here, write it there; gives the ledger, as it stands then. See the module.

        After a StoreError the same commit may be given again: it is noted once, whatever happened.
        """
        with self._writer:
            self._settle_doubt(ledger.cursor)
            if self._noted != ledger.cursor:
                self._ready()
                self._note(new, rejects, ledger)
            self._ready()
            standing = self._accounts.ledger()
            assert standing is not None
            self._noted, self._owed = None, (0, 0)
            return standing

    def tend(self) -> None:
        """Look whether the server was started anew: then it gets what it may have lost."""
        with self._writer:
            self._ready()

    def find(self, series: I32, time: I64) -> tuple[Bools, F64]:
        """For each (series, time): is it there, and its value (NaN where it is not)."""
        if not len(series):
            return np.empty(0, np.bool_), np.empty(0, np.float64)
        numbers, which = np.unique(series, return_inverse=True)
        keys = [self._table.keys[number] for number in numbers.tolist()]
        with self._writer:
            while True:
                self._show()
                answer = self._server.find(keys, which, time)
                if self._server.incarnation() == self._run:
                    return answer  # else it was started anew meanwhile, and may have lacked what it had

    def lasts(self) -> tuple[I32, I64, F64]:
        """Of every series its newest time and the value there: (series, epoch ns, value)."""
        found: dict[int, tuple[int, float]] = {}
        with self._writer:
            self._show()
            newest = self._accounts.newest()
            until = _DAWN if newest is None else newest + 1
            for since in [*(until - span for span in _LOOK_BACK), _DAWN]:
                for metric in self._metrics_without(found):
                    found |= {n: last for n, last in self._newest(metric, since, until) if n not in found}
                until = since
        return (
            np.fromiter(found, np.int32, len(found)),
            np.array([when for when, _ in found.values()], np.int64),
            np.array([value for _, value in found.values()], np.float64),
        )

    def points(
        self, key: SeriesKey, start: int, end: int, step: int | None, agg: Aggregate, limit: int
    ) -> Points:
        """One series, start <= t < end (epoch ns), raw or one point per non-empty bucket; see Store."""
        if start >= end or not speakable(key):
            return Points()
        return Points(self._server.points(key, start, end, step, agg, limit))

    def charts(
        self, keys: list[SeriesKey], start: int, end: int, step: int | None, agg: Aggregate, limit: int
    ) -> dict[SeriesKey, Points]:
        """The points of several series, asked for one after the other; see Store."""
        found: dict[SeriesKey, Points] = {}
        for key in keys:
            found[key] = self.points(key, start, end, step, agg, limit)
            limit -= len(found[key])
            if limit <= 0:
                break
        return found

    def tidy(self, now: int) -> None:
        """Nothing: the server does so itself."""

    def scan(self, start: int, end: int) -> Generator[Readings, None, None]:
        """As Store.scan; when a reading was received is not kept on a server: it comes back as its time."""
        with self._writer:
            self._show()
        for each in self._server.scan(start, end):
            numbers = np.array([self._table.number(key) for key in each.keys], np.int32)
            yield Readings(numbers[each.which], each.time, each.value, each.quality, each.time)

    def rejects(self, limit: int, before: int | None = None) -> list[Reject]:
        """The newest rejects first; `before` is the offset of the last one seen, for paging."""
        return self._accounts.rejects(limit, before)

    def usage(self) -> list[TierUsage]:
        """What is kept, by tier, as the server says; empty if it does not."""
        return self._server.usage()

    def shed(self, tier: Tier, before: int) -> int:
        """Nothing: the server's own retention deletes."""
        return 0

    def snapshot(self, folder: Path) -> None:
        """The accounts of what the server has; the readings stay there, for its own tools to copy."""
        self._accounts.snapshot(folder)

    def close(self) -> None:
        """Release the file and the connections."""
        with self._writer:
            self._server.close()
            self._accounts.close()

    def _settle_doubt(self, cursor: int) -> None:
        """A noting that failed may have been durable all the same."""
        if self._doubt is None:
            return
        ledger = self._accounts.ledger()
        if ledger is not None and self._doubt == ledger.cursor == cursor:
            self._noted = cursor
            missed = [seq for seq in self._accounts.waiting() if seq not in self._kept]
            self._due += missed
            self._kept |= dict.fromkeys(missed, time.monotonic())
        self._doubt = None

    def _note(self, new: Readings, rejects: list[Reject], ledger: Ledger) -> None:
        self._accounts.learn(new.series)
        sent = _by_series(new, self._accounts.ids(new.series)) if len(new) else None
        self._doubt = ledger.cursor
        seq = self._accounts.begin(sent, rejects, ledger.less(*self._owed), self._kept_to)
        self._doubt, self._noted = None, ledger.cursor
        if sent is not None:
            self._due.append(seq)
            self._fresh = {seq: sent}
            self._kept[seq] = time.monotonic()

    def _ready(self, *, surely: bool = False) -> None:
        """All that was noted is on the server, as far as its run is known: surely, or as of a second ago."""
        if surely or time.monotonic() - self._looked >= LOOK:
            run = self._server.incarnation()
            if run != self._run:
                self._again(run)
            self._forget()
            self._looked = time.monotonic()
        self._deliver()

    def _again(self, run: str) -> None:
        """The server was started anew: it gets everything that its earlier run may have lost."""
        self._due = deque(self._accounts.waiting())
        if self._run:
            log.warning("storing: the server was started anew; %d commits go out again", len(self._due))
        self._deliver()
        self._accounts.incarnation = self._run = run

    def _deliver(self) -> None:
        while self._due:
            seq = self._due[0]
            sent = self._fresh.pop(seq, None) or self._accounts.sent(seq)
            rows = lines(self._heads_of(sent.series), sent.time, sent.value, sent.quality)
            self._shown = False
            if refused := deliver(self._server.write, rows, sent.time):
                self._give_up(seq, sent, rows, refused)
            self._due.popleft()
            self._kept[seq] = time.monotonic()

    def _heads_of(self, series: I32) -> list[str]:
        """The beginning of each row's line; each series is looked up once."""
        numbers, which = np.unique(series, return_inverse=True)
        heads = np.array([self._head(number) for number in numbers.tolist()], object)
        return cast(list[str], heads[which].tolist())

    def _head(self, number: int) -> str:
        found = self._heads.get(number)
        if found is None:
            found = self._heads[number] = head(self._table.keys[self._accounts.number(number)])
        return found

    def _give_up(self, seq: int, sent: Sent, rows: list[str], refused: dict[int, str]) -> None:
        bad = np.zeros(len(sent), np.bool_)
        bad[list(refused)] = True
        left = np.isin(sent.message, sent.message[~bad])
        lost = np.unique(sent.message[bad & ~left])
        ledger = self._accounts.ledger()
        assert ledger is not None
        places = np.flatnonzero(bad)
        rejects = [
            self._reject(ledger.cursor - len(places) + n, sent, row, rows[row], refused[row])
            for n, row in enumerate(places.tolist())
        ]
        moved = (len(lost), len(places))
        self._accounts.amend(seq, sent.take(~bad), rejects, ledger.less(*moved))
        self._owed = (self._owed[0] + moved[0], self._owed[1] + moved[1])
        log.error(
            "storing: the server refused %d values for good, such as %s", len(places), rejects[0].reason
        )

    def _reject(self, offset: int, sent: Sent, row: int, line: str, reason: str) -> Reject:
        """A refused line. Its message's offset is not known here: it gets one of its commit's."""
        key = self._table.keys[self._accounts.number(int(sent.series[row]))]
        topic = build(Address(key.site, key.device, Suffix.TELE))
        why = f"the store refused it: {reason}"
        return Reject(offset, int(sent.message[row]), topic, why, line.encode(), len(line))

    def _forget(self) -> None:
        """What this run of the server has had for long enough is surely kept."""
        before = time.monotonic() - self._server.settles
        for seq, when in list(self._kept.items()):
            if when > before or seq in self._due:
                break
            self._kept_to = seq
            del self._kept[seq]

    def _show(self) -> None:
        self._ready(surely=True)
        if not self._shown:
            self._server.show()
            self._shown = True

    def _metrics_without(self, found: dict[int, tuple[int, float]]) -> list[str]:
        missing = [number for number in self._accounts.known().tolist() if number not in found]
        return sorted(set(self._table.names_of(np.array(missing, np.int32))[2]))

    def _newest(self, metric: str, since: int, until: int) -> Iterator[tuple[int, tuple[int, float]]]:
        for site, device, when, value in self._server.newest(metric, since, until):
            number = self._table.find(SeriesKey(site, device, metric))
            if number is not None:
                yield number, (when, value)


def _by_series(rows: Readings, ids: I32) -> Sent:
    """A series' rows together, in their order: a server takes them in for a sixth less work."""
    return Sent.of(rows, ids).take(np.argsort(ids, kind="stable"))
