"""A store that is only half copied: its ledger says so, and how far the copy is.

The ledger of a collector goes over last. Until then every commit of a copy carries one whose cursor is
negative; since a commit is all or nothing, what it says of the copy and the readings there never differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

from collector.store.base import Ledger

_BOTTOM = -(2**62)


@dataclass(frozen=True, slots=True)
class Halfway:
    """How far a copy is. All that the source has from before `at` (epoch ns) is there."""

    origin: int  # which source: see `origin`
    cursor: int  # where the source's own ledger stood when the copy began
    asking: bool  # the target may have readings already: it is asked about each before it is written
    step: int = 0  # commits so far
    at: int = 0
    rows: int = 0  # readings written so far that the target has not refused

    def ledger(self) -> Ledger:
        """What a commit carries. (A server that refuses rows corrects `values` and `quarantined`.)"""
        return Ledger(
            cursor=_BOTTOM + self.step,
            messages=self.at,
            duplicate=self.origin,
            dropped=int(self.asking),
            values=self.rows,
            conflicts=self.cursor,
        )

    @classmethod
    def of(cls, ledger: Ledger | None) -> Halfway | None:
        """What a ledger says of a copy; None for a whole store's, or for none."""
        if ledger is None or ledger.cursor >= 0:
            return None
        return cls(
            origin=ledger.duplicate,
            cursor=ledger.conflicts,
            asking=bool(ledger.dropped),
            step=ledger.cursor - _BOTTOM,
            at=ledger.messages,
            rows=ledger.values,
        )


def origin(url: str) -> int:
    """A source's name, as a number."""
    return crc32(url.encode())
