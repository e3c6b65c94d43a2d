"""What the collector asks of a time-series store: three verbs and a ledger."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal, Protocol

from collector.core.readings import F64, I32, I64, Bools, Readings, SeriesKey

Aggregate = Literal["mean", "min", "max", "last", "count"]
Tier = Literal["raw", "minute", "hour"]
KEPT_REJECTS = 10_000
PRUNED_AT = KEPT_REJECTS + 1_000
"""Pruning waits for so many, so that it is rare."""


@dataclass(frozen=True, slots=True)
class TierUsage:
    """What is kept of a tier: `oldest` and `newest` are epoch ns, None where it has no rows."""

    tier: Tier
    rows: int
    bytes: int
    oldest: int | None
    newest: int | None


class Points(list[tuple[int, float]]):
    """Points (epoch ns, value) and the coarsest tier that they were taken from."""

    def __init__(self, points: Iterable[tuple[int, float]] = (), tier: Tier = "raw") -> None:
        super().__init__(points)
        self.tier = tier


@dataclass(frozen=True, slots=True)
class Reject:
    """A message that was refused, kept so that somebody can see why. `head` is its first bytes."""

    offset: int
    received: int  # epoch ns
    topic: str
    reason: str
    head: bytes
    size: int


@dataclass(slots=True)
class Ledger:
    """Where storing stands: its cursor and the accounts, committed together with the readings they speak of.

    `stored`, `duplicate`, `quarantined` and `dropped` count messages; `values` and `conflicts` count values.
    `messages` is the number of messages ever journaled up to `cursor`: the sum of the four fates.
    """

    cursor: int = 0
    messages: int = 0
    stored: int = 0
    duplicate: int = 0
    quarantined: int = 0
    dropped: int = 0
    values: int = 0
    conflicts: int = 0
    qos0: int = 0  # of the messages, those that came with QoS 0: without promise

    def less(self, messages: int, values: int) -> Ledger:
        """With so many messages moved from stored to quarantined, and so many values fewer."""
        return replace(
            self,
            stored=self.stored - messages,
            quarantined=self.quarantined + messages,
            values=self.values - values,
        )


COUNTS = tuple(field.name for field in fields(Ledger))


def plain(text: str) -> str:
    """The text as any store can take it: half a surrogate pair must not stop one."""
    return text.encode("utf-8", "replace").decode()


class StoreError(Exception):
    """The store could not do what was asked. `permanent`: the same again will fail again (its file is bad).

    Otherwise (disk full, memory, the server away) try again: what `commit` was given is safe to give again,
    unchanged, even if the failed attempt reached the disk after all.
    """

    def __init__(self, what: str, *, permanent: bool) -> None:
        self.permanent = permanent
        super().__init__(what)


class Store(Protocol):
    """A place where readings stay. One writer; queries may run in other threads meanwhile.

    `new` rows only: the caller has asked `find` about every row that could be known already, so that the
    first journaled wins. What `commit` returned from survives SIGKILL.

    Times are kept to `resolution` (ns): the caller gives multiples of it. Values come back within a part of
    `tolerance` of what was given: 0 where they come back to the bit.
    """

    @property
    def resolution(self) -> int:
        """The finest step of time that it keeps, ns."""

    @property
    def tolerance(self) -> float:
        """How far a value that comes back may be off, as a part of it."""

    def ledger(self) -> Ledger | None:
        """What was last committed; None for a store that has never been written, or was set aside as bad."""

    def commit(self, new: Readings, rejects: list[Reject], ledger: Ledger) -> Ledger:
        """Write the rows, the rejects and the ledger: all or nothing, durable on return.

        Gives the ledger as it stands then, to go on from: the one given, unless the store had to refuse rows
        for good (a server may), which moves their messages from stored to quarantined.
        """

    def tend(self) -> None:
        """While nothing is to be committed, now and then: see that what was committed is still kept."""

    def find(self, series: I32, time: I64) -> tuple[Bools, F64]:
        """For each (series, time): is it there, and its value (NaN where it is not)."""

    def lasts(self) -> tuple[I32, I64, F64]:
        """Of every series its newest time and the value there: (series, epoch ns, value)."""

    def points(
        self, key: SeriesKey, start: int, end: int, step: int | None, agg: Aggregate, limit: int
    ) -> Points:
        """One series, start <= t < end (epoch ns), oldest first, at most `limit` points.

        Without `step` the raw readings; with it (ns) one point per non-empty bucket, stamped with the
        bucket's start; buckets begin at multiples of `step` since the epoch. Where raw readings were shed,
        roll-ups stand for them, each dated by its own bucket's start: the points' `tier` says so.
        """

    def charts(
        self, keys: list[SeriesKey], start: int, end: int, step: int | None, agg: Aggregate, limit: int
    ) -> dict[SeriesKey, Points]:
        """The `points` of several series, at most `limit` of them in all; unknown series may be left out."""

    def scan(self, start: int, end: int) -> Generator[Readings, None, None]:
        """All raw readings with start <= time < end (epoch ns) in bounded pieces.

        In order of time from piece to piece. Close it if it is not read to its end.
        """

    def snapshot(self, folder: Path) -> None:
        """A copy of all that is committed, made into the empty `folder` while the collector runs and commits.

        Opening it gives a store with that ledger. Immutable files may be hard links.
        """

    def usage(self) -> list[TierUsage]:
        """What is kept, by tier; for a server that does not say, an empty list."""

    def shed(self, tier: Tier, before: int) -> int:
        """Delete whole partitions of the tier that end at or before `before` (epoch ns).

        Gives the bytes freed.
        """

    def tidy(self, now: int) -> None:
        """Put in order what is due at `now` (epoch ns), such as days that are over. It may take minutes.

        For a thread of its own; commits and questions go on meanwhile.
        """

    def rejects(self, limit: int, before: int | None = None) -> list[Reject]:
        """The newest rejects first; `before` is the offset of the last one seen, for paging."""

    def close(self) -> None:
        """Release the file. Nothing committed is lost by not calling it."""
