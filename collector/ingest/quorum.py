"""Whether the collector's own clock is wrong: judged by most devices' clocks, which nobody set together.

In every stretch of a few seconds of receipt the first devices to speak have a vote: how far their clock is
ahead of the machine's. Where most votes of a minute agree on a time that cannot be live, and go on agreeing
for two windows, it is the machine that is wrong. A backlog is no such case: its age shrinks as it comes.

The journal's stamps never turn back. So after the machine's clock was set back they lead it for a while, at
half its pace; the collector writes down how far, as its own health, and votes are counted against its clock.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from collector.core.readings import I32, I64
from collector.core.records import Batch, RecordKind
from devices.catalogue import CLOCK_AHEAD

SECOND = 1_000_000_000
AHEAD = 10 * SECOND
BEHIND = 60 * SECOND
"""A reading is live from so long before its receipt to so long after it."""
WINDOW = 7 * SECOND
"""Devices send every 10, 30 or 60 s: in windows of 7 s others speak first each time."""
VOTERS = 32
FEWEST = 3
MEMORY = 60 * SECOND
SPREAD = 30 * SECOND
"""Votes agree within this: pollers keep readings for a while before they send them."""
DRIFT = 5 * SECOND
STEADY = 14 * SECOND


class Quorum:
    """The votes, and `off`: how far most devices' clocks are ahead of the machine's (ns); 0: it is right."""

    def __init__(self) -> None:
        self.off = 0
        self._lead = (0, 0)  # (ns, since): how far the stamps lead the machine's clock, as of a stamp
        self._votes: dict[int, tuple[int, int]] = {}  # device -> (how far ahead, when it said so)
        self._window, self._left = -1, VOTERS
        self._guess: tuple[int, int] | None = None  # (off, since): what most agree on, and since when

    def quiet(self, batch: Batch, received: I64) -> bool:
        """Whether a batch of items so received changes nothing here, and nothing is known to be wrong."""
        if self.off or batch.kinds.count(RecordKind.MESSAGE) < len(batch):
            return False
        if not len(received):
            return True
        full = not self._left and int(received[-1]) // WINDOW == self._window
        return full and not self._lead_at(received[:1]).any()

    def hear(self, batch: Batch, device: I32, offset: I64, received: I64) -> tuple[I64, I64]:
        """Take in a batch's clocked readings, one of each message: how far ahead of its receipt it is dated.

        Gives of each, at its receipt: how far the stamps led the machine's clock, and `off`.
        """
        lead, off = np.zeros((2, len(device)), np.int64)
        start = 0
        for edge, record in [*self._edges(batch, received), (len(device), -1)]:
            if edge > start:
                part = slice(start, edge)
                self._turn(int(received[start]) // WINDOW)
                lead[part], off[part] = self._lead_at(received[part]), self.off
                self._poll(device[part], offset[part] + lead[part], received[part])
            start = edge
            if record >= 0:
                self._note(batch, record)
        return lead, off

    @staticmethod
    def _edges(batch: Batch, received: I64) -> list[tuple[int, int]]:
        """Before which readings a window ends (reading, -1) or the collector speaks (reading, record)."""
        window = received // WINDOW
        edges = [(edge, -1) for edge in (np.flatnonzero(window[1:] != window[:-1]) + 1).tolist()]
        if batch.kinds.count(RecordKind.MESSAGE) < len(batch):
            told = [
                row for row, kind in enumerate(batch.kinds) if kind in (RecordKind.GAP, RecordKind.HEALTH)
            ]
            edges += zip(np.searchsorted(received, batch.stamps[told]).tolist(), told, strict=True)
        return sorted(edges)

    def _note(self, batch: Batch, record: int) -> None:
        """After a gap, or once the clock was set back, what was said before says nothing any more."""
        if batch.kinds[record] == RecordKind.GAP:
            self._forget()
            return
        ahead = json.loads(batch.payloads[record]).get(CLOCK_AHEAD)
        if ahead is not None:
            stamps = batch.stamps[record : record + 1]
            known = int(self._lead_at(stamps)[0])
            self._lead = round(ahead * SECOND), int(stamps[0])
            if abs(self._lead[0] - known) > DRIFT:
                self._forget()

    def _forget(self) -> None:
        self._votes, self._left, self._guess = {}, VOTERS, None

    def _lead_at(self, stamps: I64) -> I64:
        """How far the stamps led the machine's clock at each: it gains a second in each second of theirs."""
        ahead, since = self._lead
        return np.maximum(ahead - (stamps - since), 0) if ahead else np.zeros(len(stamps), np.int64)

    def _turn(self, window: int) -> None:
        if window != self._window:
            self._count((self._window + 1) * WINDOW)
            self._window, self._left = window, VOTERS

    def _poll(self, device: I32, ahead: I64, received: I64) -> None:
        """The first of each device in the window has its vote, as long as there are any left."""
        if not self._left:
            return
        if len(device) > 2 * VOTERS:
            firsts = np.sort(np.unique(device, return_index=True)[1])
            device, ahead, received = device[firsts], ahead[firsts], received[firsts]
        for number, by, at in zip(device.tolist(), ahead.tolist(), received.tolist(), strict=True):
            before = self._votes.get(number)
            if before is None or before[1] // WINDOW != self._window:
                self._votes[number] = by, at
                self._left -= 1
                if not self._left:
                    return

    def _count(self, now: int) -> None:
        """At a window's end: what do most say?"""
        self._votes = {number: vote for number, vote in self._votes.items() if vote[1] > now - MEMORY}
        ahead = sorted(by for by, _ in self._votes.values())
        if len(ahead) < FEWEST:
            return
        most = ahead[len(ahead) // 2]
        agreed = 2 * sum(abs(by - most) <= SPREAD for by in ahead) > len(ahead)
        if not agreed or -BEHIND <= most <= AHEAD:
            self.off, self._guess = 0, None
        elif self._guess is None or abs(most - self._guess[0]) > DRIFT:
            self._guess = most, now
        elif now - self._guess[1] >= STEADY:
            self.off = most

    def save(self) -> dict[str, Any]:
        """All of it, to be kept as JSON."""
        votes = [[number, *vote] for number, vote in self._votes.items()]
        return {
            "off": self.off,
            "lead": self._lead,
            "window": self._window,
            "guess": self._guess,
            "votes": votes,
        }

    @classmethod
    def load(cls, kept: dict[str, Any], numbers: I32) -> Quorum:
        """What `save` gave, numbered so here. Raises KeyError, ValueError, IndexError, TypeError."""
        self = cls()
        self.off, self._window = int(kept["off"]), int(kept["window"])
        (ahead, since), guess = kept["lead"], kept["guess"]
        self._lead, self._guess = (ahead, since), None if guess is None else (guess[0], guess[1])
        self._votes = {int(numbers[number]): (by, at) for number, by, at in kept["votes"]}
        self._left -= sum(at // WINDOW == self._window for _, at in self._votes.values())
        return self
