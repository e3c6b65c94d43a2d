"""Which devices' clocks are wrong: judged by what their newest readings say, message by message.

A device is right whose time is live by the stamps, by the machine's own clock or by what most devices say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from collector.core.readings import I32, I64, U8, Bools, grown
from collector.core.records import Batch
from collector.ingest.decoded import NO_TS, Decoded
from collector.ingest.quorum import AHEAD, BEHIND, SECOND, Quorum

DAWN = 1_577_836_800 * SECOND
"""2020-01-01: no clock that is right shows less."""
ALIKE = 5 * SECOND
ALIKE_MESSAGES = 5
ALIKE_SPAN = 120 * SECOND
_WRONG, _DOUBTED, _ODD = 1, 2, 4


@dataclass(slots=True)
class Stated:
    """What a batch's items say of their time: columns by item, in epoch ns or ns."""

    found: Decoded
    there: I64  # of receipt
    has: Bools  # it carries a time
    at: I64  # that time, from 1970 on; 0 without one
    offset: I64  # `at` less `there`; 0 without a time
    live: Bools  # said by a device's clock, now: clocks are judged by these
    strange: bool  # some item is bad or outside
    bad: Bools  # cannot be right
    outside: Bools  # older than what counts as live

    @staticmethod
    def of(received: I64, found: Decoded) -> Stated:
        """What the messages, received at those times, say."""
        there = received[found.item_message]
        has = found.item_ts != NO_TS
        at = np.maximum(found.item_ts, 0)
        offset = np.where(has, at - there, 0)
        live = has & ~found.retained[found.item_message]
        live[found.aged] = False
        early = bool(len(there)) and int(there[0]) < DAWN + BEHIND
        lowest, highest = int(offset.min(initial=0)), int(offset.max(initial=0))
        strange = early or lowest < -BEHIND or highest > AHEAD
        if strange:
            bad = has & ((offset > AHEAD) | (at < DAWN))
            outside = has & ~bad & (offset < -BEHIND)
        else:
            bad = outside = np.zeros(len(has), np.bool_)
        return Stated(found, there, has, at, offset, live, strange, bad, outside)

    def heads(self) -> I64:
        """Of each message with live items the newest of them, in the messages' order."""
        items, message = np.flatnonzero(self.live), self.found.item_message
        of = message[items]
        if (of[1:] != of[:-1]).all():
            return items
        items = items[np.lexsort((self.at[items], of))]
        newest: I64 = items[np.append(of[1:] != of[:-1], True)]  # `of` rises: sorting left it as it was
        return newest


@dataclass(slots=True)
class _Suspect:
    """A device whose times are off, perhaps by its clock. ns."""

    offset: int
    first: int
    count: int


class Clocks:
    """The memory behind `judge`. Devices go by the number of their own series."""

    def __init__(self) -> None:
        self.quorum = Quorum()
        self.wrong: set[int] = set()
        self._suspects: dict[int, _Suspect] = {}
        self._marks: U8 = np.empty(0, np.uint8)  # by series: whether it is in one of the two

    def judge(self, batch: Batch, stated: Stated, series: int) -> list[tuple[int, bool]]:
        """Which messages show a clock to be wrong (True) or right again; `series`: how many there are by now.

        The live items of a message whose clock is wrong, or ours is, are marked as `bad`.
        """
        calm = not (stated.strange or self.wrong or self._suspects)
        if calm and self.quorum.quiet(batch, stated.there):
            return []
        heads = stated.heads()
        message = stated.found.item_message[heads]
        device = stated.found.device[message]
        lead, off = self.quorum.hear(batch, device, stated.offset[heads], stated.there[heads])
        if calm:
            return []
        self._marks = grown(self._marks, series, 0)  # type: ignore[assignment]
        odd = stated.bad[heads] | stated.outside[heads]
        self._marks[device[odd]] |= _ODD
        asked = np.flatnonzero(self._marks[device])
        return self._verdicts(stated, heads[asked], lead[asked], off[asked])

    def _verdicts(self, stated: Stated, heads: I64, lead: I64, off: I64) -> list[tuple[int, bool]]:
        message = stated.found.item_message[heads]
        device, ahead = stated.found.device[message], stated.offset[heads] + lead
        bad, late = stated.bad[heads], stated.outside[heads]
        ours = (bad | late) & (_live(ahead) | _live(ahead - off))
        wrong = bad & ~ours
        self._ask(wrong, late & ~ours, device, ahead, stated.there[heads])
        unbelieved = np.zeros(len(stated.found), np.bool_)
        unbelieved[message[wrong | ours]] = True
        stated.bad = stated.bad | (stated.live & unbelieved[stated.found.item_message])
        return self._changes(message, device, wrong)

    def _ask(self, wrong: Bools, late: Bools, device: I32, ahead: I64, received: I64) -> None:
        """Mark as wrong also what is late by the same again and again."""
        rows = np.flatnonzero(~wrong)
        columns = (rows, late[rows], device[rows], ahead[rows], received[rows])
        for row, is_late, number, by, at in zip(*(column.tolist() for column in columns), strict=True):
            if is_late:
                wrong[row] = self._same_again(number, by, at)
            else:
                self._trust(number)

    def _trust(self, device: int) -> None:
        if self._suspects.pop(device, None) is not None:
            self._marks[device] &= ~np.uint8(_DOUBTED)

    def _same_again(self, device: int, offset: int, received: int) -> bool:
        suspect = self._suspects.get(device)
        if suspect is None or abs(offset - suspect.offset) > ALIKE:
            self._suspects[device] = _Suspect(offset, received, 1)
            self._marks[device] |= _DOUBTED
            return False
        suspect.count += 1
        return suspect.count >= ALIKE_MESSAGES and received - suspect.first >= ALIKE_SPAN

    def _changes(self, message: I64, device: I32, wrong: Bools) -> list[tuple[int, bool]]:
        """Where a device's verdict differs from the one before it; remember the last."""
        if not len(device):
            return []
        order = np.argsort(device, kind="stable")
        of, verdict = device[order], wrong[order]
        first = np.append(True, of[1:] != of[:-1])
        before = np.append(False, verdict[:-1])
        before[first] = (self._marks[of[first]] & _WRONG) > 0
        last = np.append(first[1:], True)
        self._marks[of[last]] = (self._marks[of[last]] & _DOUBTED) | verdict[last]
        changed = np.flatnonzero(verdict != before)
        for number, is_wrong in zip(of[changed].tolist(), verdict[changed].tolist(), strict=True):
            (self.wrong.add if is_wrong else self.wrong.discard)(number)
        return sorted(zip(message[order][changed].tolist(), verdict[changed].tolist(), strict=True))

    def save(self) -> dict[str, Any]:
        """All of it, to be kept as JSON."""
        suspects = [[number, s.offset, s.first, s.count] for number, s in self._suspects.items()]
        return {"wrong": sorted(self.wrong), "suspects": suspects, "quorum": self.quorum.save()}

    @classmethod
    def load(cls, kept: dict[str, Any], numbers: I32, series: int) -> Clocks:
        """What `save` gave, numbered so here. Raises KeyError, ValueError, IndexError, TypeError."""
        self = cls()
        self.quorum = Quorum.load(kept["quorum"], numbers)
        self.wrong = {int(numbers[number]) for number in kept["wrong"]}
        for number, *known in kept["suspects"]:
            self._suspects[int(numbers[number])] = _Suspect(*known)
        self._marks = grown(self._marks, series, 0)  # type: ignore[assignment]
        self._marks[list(self.wrong)] |= _WRONG
        self._marks[list(self._suspects)] |= _DOUBTED
        return self


def _live(ahead: I64) -> Bools:
    live: Bools = (ahead >= -BEHIND) & (ahead <= AHEAD)
    return live
