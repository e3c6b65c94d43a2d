"""Whose time: which reading is dated by the device and which by receipt, what is late, what is a copy.

Decided from journal data alone, so that every follower, and every replay, dates alike. A live reading keeps
its device's time, so that a copy of it is known by it: that may be up to ten seconds after its receipt. All
else is dated by receipt or earlier. A clock that ran ahead and was set back blinds nobody: what is dated
after a reading's receipt cannot make that reading late.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import cast

import numpy as np

from collector.core.bundle import BundleError
from collector.core.readings import I32, I64, U8, Bools, Quality, Readings, SeriesTable, grown
from collector.core.records import Batch
from collector.core.roster import Part, by_roster
from collector.ingest.clocks import Clocks, Stated
from collector.ingest.decoded import NO_TS, Decoded
from collector.ingest.directory import REFUSED
from collector.ingest.quorum import AHEAD, SECOND

OLD = 24 * 3600 * SECOND
SPACING = 7 * OLD
"""An array that is dated by receipt keeps its spacing up to here; beyond, it is no spacing but nonsense."""
SOON = SECOND // 10
"""Messages dated further than this after their receipt are remembered, so that copies of them are known."""
COPY_WINDOW = 600 * SECOND
MOST_COPIES = 500_000
"""So many messages are remembered at most: under a flood the window is shorter."""


@dataclass(slots=True)
class Dated:
    """A batch's readings with their times. Copies' rows are left out."""

    readings: Readings
    message: I64  # of each row its message in the Decoded
    newer: Bools  # of each row: newer than all its series had before, so certainly new
    copy: Bools  # of each message: the same message came before
    clock: list[tuple[int, bool]]  # (message, wrong): its device's clock was found wrong, or right again


class Dating:
    """The memory behind `date`: series' last times, doubtful clocks, recent messages of no believed time."""

    def __init__(self, table: SeriesTable) -> None:
        self._table = table
        self.last: I64 = np.empty(0, np.int64)
        self._clocks = Clocks()
        self._recent: dict[int, int] = {}

    @property
    def wrong(self) -> set[int]:
        """The devices whose clock is found wrong, by the number of their own series."""
        return self._clocks.wrong

    @property
    def off(self) -> int:
        """How far most devices' clocks are ahead of the machine's own (ns); 0 while it is right."""
        return self._clocks.quorum.off

    def date(self, batch: Batch, found: Decoded) -> Dated:
        """The batch's readings, dated. Call once per batch, in journal order."""
        self.last = grown(self.last, len(self._table), NO_TS)  # type: ignore[assignment]
        received = batch.stamps[found.record]
        stated = Stated.of(received, found)
        clock = self._clocks.judge(batch, stated, len(self._table))
        copy = self._copies(batch, found, received, stated)
        return self._rows(found, stated, _times(stated), copy, clock)

    def _rows(
        self, found: Decoded, stated: Stated, time: I64, copy: Bools, clock: list[tuple[int, bool]]
    ) -> Dated:
        item, series, value = found.row_item, found.series, found.value
        message = found.item_message[item]
        if copy.any():
            keep = ~copy[message]
            item, series, value, message = item[keep], series[keep], value[keep], message[keep]
        when, there, flags = time[item], stated.there[item], _quality(stated)[item]
        newer, late = self._advance(series, when, there)
        if late is not None:
            flags[late & (stated.has & ~stated.bad)[item] & (flags == 0)] = Quality.LATE
        return Dated(Readings(series, when, value, flags, there), message, newer, copy, clock)

    def _advance(self, series: I32, time: I64, received: I64) -> tuple[Bools, Bools | None]:
        """Which rows are newer than all before them of their series, and which come late; None: none does.

        The last times move on.
        """
        if not len(series):
            return np.empty(0, np.bool_), None
        order = np.argsort(series, kind="stable")
        sorted_series, sorted_time = series[order], time[order]
        first = np.empty(len(order), np.bool_)
        first[0] = True
        np.not_equal(sorted_series[1:], sorted_series[:-1], out=first[1:])
        before = np.empty(len(order), np.int64)
        before[1:] = sorted_time[:-1]
        before[first] = self.last[sorted_series[first]]
        newer = sorted_time > before
        if newer.all():
            ends = np.flatnonzero(np.append(first[1:], True))
            self.last[sorted_series[ends]] = sorted_time[ends]
            return newer, None
        late = self._crawl(sorted_series, sorted_time, received[order], newer)
        out = np.empty((2, len(order)), np.bool_)
        out[:, order] = newer, late
        return out[0], out[1]

    def _crawl(self, series: I32, time: I64, received: I64, newer: Bools) -> Bools:
        """The same, row by row, where some series does not simply rise; gives which rows come late."""
        last, late = self.last, np.zeros(len(series), np.bool_)
        columns = (series.tolist(), time.tolist(), received.tolist())
        for row, (number, when, at) in enumerate(zip(*columns, strict=True)):
            known = int(last[number])
            newer[row] = when > known
            late[row] = when <= known <= at
            if newer[row] or known > at + AHEAD:  # no time is to come: an older program believed it
                last[number] = when
        return late

    def _copies(self, batch: Batch, found: Decoded, received: I64, stated: Stated) -> Bools:
        """Which messages came before, of those that their times alone do not tell apart."""
        copy = np.zeros(len(found), np.bool_)
        unsure = ~stated.has | stated.bad | stated.outside | (stated.offset > SOON)
        unsure[found.aged] = True
        asked = np.zeros(len(found), np.bool_)
        asked[found.item_message[unsure]] = True
        asked[list(found.signs)] = True
        recent = self._recent
        for message in np.flatnonzero(asked & found.marked & (found.device != REFUSED)).tolist():
            record, at = int(found.record[message]), int(received[message])
            text = batch.topics[record].encode() + b"\0" + batch.payloads[record]
            key = int.from_bytes(blake2b(text, digest_size=8).digest(), "big")
            if at - recent.get(key, NO_TS // 2) <= COPY_WINDOW:
                copy[message] = True
            else:
                recent.pop(key, None)
                recent[key] = at
        if recent and len(received):
            oldest = int(received[-1]) - COPY_WINDOW
            while recent and (recent[first := next(iter(recent))] < oldest or len(recent) > MOST_COPIES):
                del recent[first]
        return copy

    def save(self, size: int) -> Part:
        """All of it, by the table's first `size` series."""
        recent = np.array([*self._recent], np.uint64), np.array([*self._recent.values()], np.int64)
        return Part(
            self._clocks.save(),
            {"last": by_roster(self.last, size, NO_TS), "copies": recent[0], "copied": recent[1]},
        )

    @classmethod
    def load(cls, table: SeriesTable, part: Part, numbers: I32) -> Dating:
        """What `save` gave, its series numbered so here. Raises BundleError."""
        self = cls(table)
        self.last = cast(I64, grown(self.last, len(table), NO_TS))
        try:
            self.last[numbers] = part.columns["last"]
            self._clocks = Clocks.load(part.head, numbers, len(table))
            copies = part.columns["copies"].tolist(), part.columns["copied"].tolist()
            self._recent = dict(zip(*copies, strict=True))
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise BundleError(f"what is known of times is damaged ({error})") from None
        return self


def _quality(stated: Stated) -> U8:
    """Of each item. A copy."""
    retained = stated.found.retained[stated.found.item_message]
    quality = np.where(retained, np.uint8(Quality.RETAINED), np.uint8(0))
    if stated.strange:
        late = stated.outside & ~stated.bad
        quality[late] |= np.uint8(Quality.LATE)
        quality[late & (stated.offset < -OLD)] |= np.uint8(Quality.OLD)
    quality[stated.bad] |= np.uint8(Quality.CLOCK)
    return quality


def _times(stated: Stated) -> I64:
    """Of each item, as far as it is believed. What is not is dated by receipt: the newest of an array at it.

    An array whose clock is wrong keeps its spacing; one without times is told apart by single nanoseconds.
    """
    time, message = np.where(stated.has, stated.at, stated.there), stated.found.item_message
    bare = np.flatnonzero(~stated.has)
    if len(bare):
        time[bare] -= _followers(message[bare])
    bad = np.flatnonzero(stated.bad)
    if len(bad):
        time[bad] = stated.there[bad] - _spacing(message[bad], stated.at[bad])
    return time


def _followers(message: I64) -> I64:
    """How many items of the same message come after each item."""
    return np.searchsorted(message, message, "right") - 1 - np.arange(len(message))


def _spacing(message: I64, at: I64) -> I64:
    """How long before the newest item of its message each item was measured (ns, never negative)."""
    starts = np.flatnonzero(np.append(True, message[1:] != message[:-1]))
    sizes = np.diff(np.append(starts, len(message)))
    back = np.repeat(np.maximum.reduceat(at, starts), sizes) - at
    far = back > SPACING
    back[far] = SPACING + _followers(message)[far]
    return back
