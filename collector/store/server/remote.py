"""What is asked of a time-series server; ServerStore makes a Store of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from collector.core.readings import F64, I64, U8, Bools, SeriesKey
from collector.store.base import Aggregate, TierUsage

NewestReading = tuple[str, str, int, float]
"""Site, device, epoch ns, value."""


class Piece(NamedTuple):
    """Readings of a stretch of time, in order of time: columns of equal length, series as keys[which[i]]."""

    keys: list[SeriesKey]
    which: I64
    time: I64  # epoch ns
    value: F64
    quality: U8


class Server(Protocol):
    """A time-series server. Times in epoch ns. Every method raises StoreError when it is away or fails."""

    resolution: int
    tolerance: float
    settles: float

    def incarnation(self) -> str:
        """Which run of the server this is: another word after each start that may have lost something."""

    def write(self, rows: list[str]) -> None:
        """Send lines; returns once they are acknowledged. LinesRefusedError: it never takes them."""

    def show(self) -> None:
        """Returns once what was written is found by queries."""

    def find(self, keys: list[SeriesKey], which: I64, times: I64) -> tuple[Bools, F64]:
        """For each (keys[which[i]], times[i]): is it there, and its value (NaN where it is not)."""

    def newest(self, metric: str, since: int, until: int) -> Iterable[NewestReading]:
        """Of every series of that metric the newest reading with since <= t < until."""

    def points(
        self, key: SeriesKey, start: int, end: int, step: int | None, agg: Aggregate, limit: int
    ) -> list[tuple[int, float]]:
        """As Store.points."""

    def scan(self, start: int, end: int) -> Iterator[Piece]:
        """As Store.scan; what is not ours on the server is left out."""

    def usage(self) -> list[TierUsage]:
        """As Store.usage: empty if the server does not say."""

    def close(self) -> None:
        """Let go of its connections."""
