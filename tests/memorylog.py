"""A log in memory that numbers as a replicated one would: an offset is (pack << 20) | place in the pack."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from collector.core.config import JournalSettings as Caps
from collector.core.records import Batch, RecordKind
from collector.ingest.log import RecordColumns, Retention

PACK = 1 << 20


@dataclass
class Medium:
    """What outlives a process: the packs, by their number."""

    packs: dict[int, tuple[RecordColumns, int]] = field(default_factory=dict)  # with messages before it
    durable: Callable[[], None] = lambda: None  # may refuse, as an fsync does


class MemoryLog:
    """A `Log`. Packs are dropped one at a time."""

    def __init__(self, medium: Medium, caps: Caps) -> None:
        self._medium = medium
        self._caps = caps
        self.end = self.stamp = self.messages = 0
        self.damage: list[str] = []

    def open(self, at_least: int = 0, messages: int = 0) -> None:
        if self._medium.packs:
            number, (columns, before) = max(self._medium.packs.items())
            self.stamp, self.messages = int(columns.stamps[-1]), before + said(columns)
            self.end = (number + 1) * PACK
        self.end = max(self.end, -(-at_least // PACK) * PACK)
        self.messages = max(self.messages, messages)

    def write(self, columns: RecordColumns) -> Batch:
        self._medium.durable()
        number, start = self.end // PACK, self.end
        self._medium.packs[number] = columns, self.messages
        self.messages += said(columns)
        self.end, self.stamp = start + PACK, int(columns.stamps[-1])
        return self._batch(start, number, 0, len(columns.kinds), self.end)

    def read(self, cursor: int, stop: int) -> Batch:
        numbers = sorted(self._medium.packs)
        at = bisect_right(numbers, cursor // PACK) - 1
        if at < 0 or numbers[at] != cursor // PACK:  # before the first, or what never was
            end = min(numbers[at + 1] * PACK if at + 1 < len(numbers) else self.end, stop)
            _, before = self._medium.packs.get(end // PACK, (None, self.messages))
            return Batch.empty(cursor, end, before)
        number, first = numbers[at], cursor % PACK
        last = stop % PACK if stop // PACK == number else len(self._medium.packs[number][0].kinds)
        return self._batch(cursor, number, first, last, min(stop, (number + 1) * PACK))

    def _batch(self, start: int, number: int, first: int, last: int, end: int) -> Batch:
        columns, before = self._medium.packs[number]
        taken = RecordColumns(*(column[first:last] for column in columns))  # type: ignore[arg-type]
        offsets = number * PACK + np.arange(first, last, dtype=np.int64)
        messages = before + said(columns, last)
        return Batch(start, end, *taken, offsets, messages, size=sum(map(len, taken.payloads)) + 100)

    def trim(self, retention: Retention) -> int:
        needed, read, lost = retention.needed(), retention.read(), 0
        while len(self._medium.packs) > 2:
            oldest, second = sorted(self._medium.packs)[:2]
            if needed is None or needed < second * PACK:
                break
            unread = read is None or read < second * PACK
            age = self.stamp - int(self._medium.packs[oldest][0].stamps[-1])
            if self.size <= self._caps.max_bytes and (unread or age <= self._caps.max_age * 1e9):
                break
            del self._medium.packs[oldest]
            lost += unread
        return lost

    def close(self) -> None:
        pass

    @property
    def first(self) -> int:
        return min(self._medium.packs) * PACK if self._medium.packs else self.end

    @property
    def size(self) -> int:
        return sum(len(body) + 33 for columns, _ in self._medium.packs.values() for body in columns.payloads)

    def durable_files(self) -> list[tuple[Path, int]]:
        return []


def said(columns: RecordColumns, until: int | None = None) -> int:
    """How many messages are among the records."""
    return sum(kind == RecordKind.MESSAGE for kind in columns.kinds[:until])
