"""Whose time: which reading is dated by the device and which by receipt, what is late, what is a copy.

Decided from journal data alone, so that every follower, and every replay, dates alike.
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
from collector.ingest.decoded import NO_TS, Decoded
from collector.ingest.directory import REFUSED

SECOND = 1_000_000_000
AHEAD = 10 * SECOND
BEHIND = 60 * SECOND
OLD = 24 * 3600 * SECOND
DAWN = 1_577_836_800 * SECOND
"""2020-01-01: no clock that is right shows less."""
ALIKE = 5 * SECOND
ALIKE_MESSAGES = 5
ALIKE_SPAN = 120 * SECOND
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


@dataclass(slots=True)
class _Suspect:
    """A device whose times are off, perhaps by its clock. ns."""

    offset: int
    first: int
    count: int


class Dating:
    """The memory behind `date`: series' last times, doubtful clocks, recent messages of no believed time."""

    def __init__(self, table: SeriesTable) -> None:
        self._table = table
        self.last: I64 = np.empty(0, np.int64)
        self.wrong: set[int] = set()
        self._suspects: dict[int, _Suspect] = {}
        self._recent: dict[int, int] = {}

    def date(self, batch: Batch, found: Decoded) -> Dated:
        """The batch's readings, dated. Call once per batch, in journal order."""
        self.last = grown(self.last, len(self._table), NO_TS)  # type: ignore[assignment]
        received = batch.stamps[found.record]
        there = received[found.item_message]
        has = found.item_ts != NO_TS
        offset = np.where(has, found.item_ts - there, 0)
        bad = has & ((offset > AHEAD) | (found.item_ts < DAWN))
        outside = has & ~bad & (offset < -BEHIND)
        believed = has
        if found.aged:
            believed = has.copy()
            believed[found.aged] = False
        clock = self._judge_clocks(found, received, offset, bad, outside, believed)
        copy = self._copies(batch, found, received, ~believed | bad | outside)
        time = np.where(has, found.item_ts, there)
        if bad.any() or (found.item_message[1:] == found.item_message[:-1]).any():
            _by_receipt(time, found, there, bad, has)
        quality = _quality(found, offset, bad, outside)
        return self._rows(found, there, time, quality, has & ~bad, copy, clock)

    def _rows(
        self,
        found: Decoded,
        there: I64,
        time: I64,
        quality: U8,
        dated: Bools,
        copy: Bools,
        clock: list[tuple[int, bool]],
    ) -> Dated:
        item, series, value = found.row_item, found.series, found.value
        message = found.item_message[item]
        if copy.any():
            keep = ~copy[message]
            item, series, value, message = item[keep], series[keep], value[keep], message[keep]
        when, flags = time[item], quality[item]
        newer = self._advance(series, when)
        if not newer.all():
            flags = flags.copy()
            flags[~newer & dated[item] & (flags == 0)] = Quality.LATE
        return Dated(Readings(series, when, value, flags, there[item]), message, newer, copy, clock)

    def _advance(self, series: I32, time: I64) -> Bools:
        """Which rows are newer than all before them of their series; the last times move on."""
        if not len(series):
            return np.empty(0, np.bool_)
        order = np.argsort(series, kind="stable")
        sorted_series, sorted_time = series[order], time[order]
        first = np.empty(len(order), np.bool_)
        first[0] = True
        np.not_equal(sorted_series[1:], sorted_series[:-1], out=first[1:])
        before = np.empty(len(order), np.int64)
        before[1:] = sorted_time[:-1]
        before[first] = self.last[sorted_series[first]]
        newer = sorted_time > before
        ends = np.flatnonzero(np.append(first[1:], True))
        if newer.all():
            self.last[sorted_series[ends]] = sorted_time[ends]
        else:
            self._crawl(sorted_series, sorted_time, newer)
        out = np.empty(len(order), np.bool_)
        out[order] = newer
        return out

    def _crawl(self, series: I32, time: I64, newer: Bools) -> None:
        """The same, row by row, where some series does not simply rise."""
        last = self.last
        for row, (number, when) in enumerate(zip(series.tolist(), time.tolist(), strict=True)):
            newer[row] = when > last[number]
            if newer[row]:
                last[number] = when

    def _judge_clocks(
        self, found: Decoded, received: I64, offset: I64, bad: Bools, outside: Bools, has: Bools
    ) -> list[tuple[int, bool]]:
        """Mark as `bad` also the items whose device's clock is off by the same again and again."""
        if not (self.wrong or self._suspects or bad.any() or outside.any()):
            return []
        device = found.device[found.item_message]
        live = has & ~found.retained[found.item_message]
        watched = {*self.wrong, *self._suspects, *device[live & (bad | outside)].tolist()}
        odd = np.flatnonzero(live & np.isin(device, list(watched)))
        newest: dict[int, int] = {}  # message -> its newest item
        for item in odd.tolist():
            message = int(found.item_message[item])
            best = newest.get(message)
            if best is None or found.item_ts[item] > found.item_ts[best]:
                newest[message] = item
        changes = []
        for message, item in newest.items():
            number = int(found.device[message])
            wrong = bool(bad[item]) or self._same_again(number, int(offset[item]), int(received[message]))
            if wrong:
                bad |= live & (found.item_message == message)
            if wrong != (number in self.wrong):
                (self.wrong.add if wrong else self.wrong.discard)(number)
                changes.append((message, wrong))
        return changes

    def _same_again(self, device: int, offset: int, received: int) -> bool:
        if offset >= -BEHIND:
            self._suspects.pop(device, None)
            return False
        suspect = self._suspects.get(device)
        if suspect is None or abs(offset - suspect.offset) > ALIKE:
            self._suspects[device] = _Suspect(offset, received, 1)
            return False
        suspect.count += 1
        return suspect.count >= ALIKE_MESSAGES and received - suspect.first >= ALIKE_SPAN

    def _copies(self, batch: Batch, found: Decoded, received: I64, undated: Bools) -> Bools:
        """Which messages came before, of those that their times alone do not tell apart."""
        copy = np.zeros(len(found), np.bool_)
        asked = np.zeros(len(found), np.bool_)
        asked[found.item_message[undated]] = True
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
        suspects = [[number, s.offset, s.first, s.count] for number, s in self._suspects.items()]
        recent = np.array([*self._recent], np.uint64), np.array([*self._recent.values()], np.int64)
        return Part(
            {"wrong": sorted(self.wrong), "suspects": suspects},
            {"last": by_roster(self.last, size, NO_TS), "copies": recent[0], "copied": recent[1]},
        )

    @classmethod
    def load(cls, table: SeriesTable, part: Part, numbers: I32) -> Dating:
        """What `save` gave, its series numbered so here. Raises BundleError."""
        self = cls(table)
        self.last = cast(I64, grown(self.last, len(table), NO_TS))
        try:
            self.last[numbers] = part.columns["last"]
            self.wrong = {int(numbers[number]) for number in part.head["wrong"]}
            for number, *known in part.head["suspects"]:
                self._suspects[int(numbers[number])] = _Suspect(*known)
            copies = part.columns["copies"].tolist(), part.columns["copied"].tolist()
            self._recent = dict(zip(*copies, strict=True))
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise BundleError(f"what is known of times is damaged ({error})") from None
        return self


def _quality(found: Decoded, offset: I64, bad: Bools, outside: Bools) -> U8:
    quality = np.zeros(len(offset), np.uint8)
    quality[outside & ~bad] |= np.uint8(Quality.LATE)
    quality[outside & ~bad & (offset < -OLD)] |= np.uint8(Quality.OLD)
    quality[bad] |= np.uint8(Quality.CLOCK)
    quality[found.retained[found.item_message]] |= np.uint8(Quality.RETAINED)
    return quality


def _by_receipt(time: I64, found: Decoded, there: I64, bad: Bools, has: Bools) -> None:
    """Date by receipt what is not believed: an array keeps its spacing, its newest reading at receipt."""
    for message in np.unique(found.item_message[bad]).tolist():
        items = np.flatnonzero(bad & (found.item_message == message))
        time[items] = there[items] - (found.item_ts[items].max() - found.item_ts[items])
    several = np.bincount(found.item_message, minlength=len(found))
    for message in np.flatnonzero(several > 1).tolist():
        items = np.flatnonzero(~has & (found.item_message == message))
        time[items] = there[items] - np.arange(len(items))[::-1]
