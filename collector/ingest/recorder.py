"""What the journal is told beside the messages: gaps, watermarks, and records of the collector's own.

The one rule: `now` never moves past a time in which we could not listen without a gap record saying so first.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from collector.core.records import RecordKind

Journaled = Future[tuple[int, int]]
"""Done once the record is synced: its (stamp, offset); else the OSError."""


class Appender(Protocol):
    """The journal, as far as it is needed here."""

    def control(self, kind: RecordKind, body: dict[str, object], received: int) -> Journaled:
        """Append a record of the collector's own."""


class Recorder:
    """Keeps the account of when we listened, and puts every control record in its place. One thread's own.

    Begins as not listening, since `covered` (epoch ns): the last stamp of the journal.
    """

    def __init__(self, journal: Appender, now: Callable[[], int], covered: int) -> None:
        self._journal = journal
        self._now = now
        self.since: int | None = covered
        self.why = "the collector was down"
        self.gaps = 0

    @property
    def listening(self) -> bool:
        """Whether what is published now reaches us."""
        return self.since is None

    def lost(self, since: int, why: str) -> None:
        """From `since` on (epoch ns) we could not listen."""
        if self.since is None:
            self.since, self.why = since, why
            self.gaps += 1

    def regained(self) -> None:
        """We listen again, from now on."""
        self.cover()
        self.since = None

    def cover(self) -> None:
        """Tell the journal of the gap so far."""
        if self.since is not None:
            now = self._now()
            self._journal.control(RecordKind.GAP, {"from": self.since, "why": self.why}, now)
            self.since = now

    def gap(self, since: int, why: str) -> None:
        """A gap that is over already: from `since` until now."""
        if self.since is None:
            self.lost(since, why)
            self.regained()

    def leapt(self, leap: int, now: int) -> None:
        """The machine's clock has leapt `leap` ns ahead, to `now`: nobody was silent for so long."""
        if self.since is None:
            self.gaps += 1
            body: dict[str, object] = {"from": now - leap, "why": "the machine's clock leapt ahead"}
            self._journal.control(RecordKind.GAP, body, now)

    def watermark(self) -> None:
        """Nothing came up to now, and we were listening."""
        if self.since is None:
            self._journal.control(RecordKind.WATERMARK, {}, self._now())

    def record(self, kind: RecordKind, body: dict[str, object]) -> Journaled:
        """A record of the collector's own; its future gets (stamp, offset)."""
        self.cover()
        return self._journal.control(kind, body, self._now())
