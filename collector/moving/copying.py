"""All that one store keeps, into another one: readings, rejects, and at the end the ledger.

Killed at any moment it goes on where it stood: see collector.store.halfway. Nothing is written twice.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from collector.core.readings import Readings
from collector.moving import days
from collector.moving.days import DAY_NS, Day
from collector.moving.distinct import distinct
from collector.store.base import KEPT_REJECTS, Ledger, Store, StoreError
from collector.store.halfway import Halfway, origin
from devices.backoff import Backoff
from devices.problems import Problems

log = logging.getLogger(__name__)
PATIENCE = 600.0
"""Seconds that a store may be away before the copy gives up (and is begun again where it stood)."""
DAWN = 1_577_836_800 * 10**9  # 2020-01-01: nothing is dated before it
_RETRY = Backoff(0.5, 5.0)
_SHOWS = (1.5, 3.0, 0.0)
"""A server may find a series only a second after it took it (its caches): pauses before it is asked again."""
_TIDY = 8 * DAY_NS
"""After so much of the source the target puts its days in order: not all of them may stay open."""
_NOTHING = Readings.concat([])

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step:
    """How far it is: `at` between `first` and `last` (epoch ns); `away` says which store is waited for."""

    phase: Literal["copy", "count"]
    at: int
    first: int
    last: int
    rows: int
    away: str = ""


@dataclass(frozen=True, slots=True)
class Copied:
    """What came of it. `merged`: readings that the target's coarser time cannot tell apart."""

    written: int
    merged: int
    refused: int
    rejects: int
    days: list[Day]
    apart: list[Day]
    ledger: Ledger


class Copy:
    """One copy. Both stores are opened on one table of series, and nobody else writes to them meanwhile."""

    def __init__(
        self,
        source: Store,
        target: Store,
        url: str,
        tell: Callable[[Step], None] = lambda step: None,
        *,
        patience: float = PATIENCE,
    ) -> None:
        self._source, self._target, self._url = source, target, url
        self._tell, self._patience = tell, patience
        self._step = Step("copy", 0, 0, 0, 0)
        self._refused = 0
        self._since: float | None = None  # when an outage began, monotonic
        self._tries = 0

    def run(self, *, whatever: bool = False) -> Copied:
        """To the end. Raises Problems.

        For a store that is no source or no target for this, or away for too long; for days whose counts do
        not agree, unless `whatever`: then the ledger goes over all the same.
        """
        ledger = self._ask(self._source.ledger)
        if ledger is None or ledger.cursor < 0:
            what = "nothing here says what was stored there, and up to where"
            raise Problems.one(self._url, what, "name the configuration of the collector that filled it")
        own = self._ask(self._target.ledger)
        last = self._newest()
        if own == ledger:  # it was all done before
            return self._compare(Halfway(0, ledger.cursor, asking=True), last, ledger)
        if own is not None and own.cursor >= 0:
            what = "a collector has stored there already"
            raise Problems.one("--to", what, "name another store, or that collector's empty one")
        state = self._begin(ledger, Halfway.of(own), last)
        if last is not None:
            state = self._over(state, last)
        found = self._compare(state, last, ledger)
        if found.apart and not whatever:
            raise disagreeing(found)
        rejects = self._end(ledger)
        return replace(found, rejects=rejects)

    def _begin(self, ledger: Ledger, half: Halfway | None, last: int | None) -> Halfway:
        """Where to go on. A source that has changed since is gone through again, each reading asked for."""
        name = origin(self._url)
        if half is None:
            there = last is not None and self._ask(lambda: _any(self._target.scan(DAWN, last + 1)))
            return Halfway(name, ledger.cursor, asking=there)
        if (half.origin, half.cursor) == (name, ledger.cursor):
            return half
        log.warning(
            "copy: it was begun from another source, or an earlier state of it: each reading is asked for"
        )
        return Halfway(name, ledger.cursor, asking=True, step=half.step, rows=half.rows)

    def _newest(self) -> int | None:
        """The newest time of the source, epoch ns."""
        _, time, _ = self._ask(self._source.lasts)
        return int(time.max()) if len(time) else None

    def _over(self, state: Halfway, last: int) -> Halfway:
        """All readings from before `last`, and those of it."""
        first, tidied, self._step = 0, state.at, Step("copy", state.at, 0, last, state.rows)
        while True:
            try:
                with closing(self._source.scan(max(state.at, DAWN), last + 1)) as pieces:
                    for rows, at in distinct(pieces, self._target.resolution):
                        first = first or int(rows.time[0])
                        state = self._write(state, rows, at)
                        self._say(Step("copy", at, first, last, state.rows))
                        if at - tidied >= _TIDY:
                            self._ask(lambda: self._target.tidy(time.time_ns()))
                            tidied = at
            except StoreError as error:
                self._wait(error)
            else:
                return state

    def _write(self, state: Halfway, rows: Readings, at: int) -> Halfway:
        if state.asking:
            there, _ = self._ask(lambda: self._target.find(rows.series, rows.time))
            rows = rows.take(~there)
        state = replace(state, step=state.step + 1, at=at, rows=state.rows + len(rows))
        ledger = state.ledger()
        written = self._ask(lambda: self._target.commit(rows, [], ledger))
        self._refused += ledger.values - written.values
        return replace(state, rows=written.values)

    def _compare(self, state: Halfway, last: int | None, ledger: Ledger) -> Copied:
        """Ask both, day by day."""
        source, target, raw = Counter[int](), Counter[int](), 0
        if last is not None:
            resolution = self._target.resolution
            raw = self._ask(lambda: self._counted(self._source, source, last, resolution))
            for pause in _SHOWS:
                self._ask(lambda: self._counted(self._target, target, last, resolution))
                if not days.apart(days.compared(source, target), more=state.asking):
                    break
                time.sleep(pause)
        found = days.compared(source, target)
        return Copied(
            written=state.rows,
            merged=raw - source.total(),
            refused=self._refused,
            rejects=0,
            days=found,
            apart=days.apart(found, more=state.asking),
            ledger=ledger,
        )

    def _counted(self, store: Store, counts: Counter[int], last: int, resolution: int) -> int:
        """Count a store's days; gives all its readings, those too that the target cannot tell apart."""
        counts.clear()
        raw, first = 0, 0

        def each() -> Iterator[Readings]:
            nonlocal raw
            with closing(store.scan(DAWN, last + 1)) as pieces:
                for piece in pieces:
                    raw += len(piece)
                    yield piece

        for rows, at in distinct(each(), resolution):
            first = first or int(rows.time[0])
            days.count(counts, rows)
            self._say(Step("count", at, first, last, counts.total()))
        return raw

    def _end(self, ledger: Ledger) -> int:
        """The rejects and the ledger: from here on the target is a collector's."""
        rejects = self._ask(lambda: self._source.rejects(KEPT_REJECTS))[::-1]
        self._ask(lambda: self._target.commit(_NOTHING, rejects, ledger))
        return len(rejects)

    def _say(self, step: Step) -> None:
        self._step, self._since, self._tries = step, None, 0
        self._tell(step)

    def _ask(self, question: Callable[[], T]) -> T:
        """The answer, however long a store is away: within our patience."""
        while True:
            try:
                answer = question()
            except StoreError as error:
                self._wait(error)
            else:
                self._since, self._tries = None, 0
                return answer

    def _wait(self, error: StoreError) -> None:
        """Returns when it is worth another try. Raises Problems."""
        now = time.monotonic()
        self._since = self._since or now
        if error.permanent or now - self._since > self._patience:
            mend = "when it is well again, run the same command: it goes on where it stood"
            raise Problems.one("copy", str(error), mend) from error
        self._tell(replace(self._step, away=str(error)))
        self._tries += 1
        time.sleep(_RETRY.wait(self._tries))


def disagreeing(found: Copied) -> Problems:
    """What does not agree, and what may be the reason."""
    day = found.apart[0]
    what = f"{len(found.apart)} days do not agree, such as {day.day}: {day.source} there, {day.target} here"
    if found.refused:
        what += f" ({found.refused} values were refused by the target)"
    mend = "see its retention and its log, empty it, and copy again; or take it so with --accept-differences"
    return Problems.one("--to", what, mend)


def _any(pieces: Generator[Readings, None, None]) -> bool:
    with closing(pieces):
        return next(pieces, None) is not None
