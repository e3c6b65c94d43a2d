"""What the journal holds: everything that alarming decides on, in receive order."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from itertools import chain

import numpy as np

from collector.core.readings import I64


class RecordKind(IntEnum):
    """The kinds of journal records. Bodies of all but MESSAGE are compact JSON."""

    MESSAGE = 1  # a message from the field: topic and payload as they came
    GAP = 2  # {"from": ns, "why": …}: from then until the record's stamp we could not listen
    ACTION = 3  # an operator's action, see Action
    REGION = 4  # {"hash": …}: from here on this version of rules and inventory holds
    WATERMARK = 5  # {}: up to here nothing came, and we were listening
    HEALTH = 6  # {"metric": value, …}: the collector's readings of itself, for its own alarms


class Flag(IntFlag):
    """How a message came, kept with its record."""

    RETAIN = 1
    DUP = 2
    QOS0 = 4
    CUT = 8  # too large to keep: only its first bytes stand here


@dataclass(frozen=True, slots=True)
class Action:
    """An operator's action on an alert, as it stands in the journal.

    `name` is ack | unack | shelve | unshelve | comment | assign. `id` is drawn by the API so that the
    answer can be awaited; `args` holds seconds (shelve: how long) or to (assign: whom).
    """

    id: str
    name: str
    alert: str
    by: str
    comment: str = ""
    args: dict[str, object] | None = None


@dataclass(slots=True)
class Batch:
    """A stretch of the journal, in columns of equal length. Offsets are opaque, rising positions.

    A message's body is (topics[i], payloads[i]); other records have topic "" and their JSON as payload.
    """

    start: int  # offset of the first record
    end: int  # offset just after the last record: a follower's cursor once it has taken this batch in
    kinds: list[int]
    flags: list[int]
    topics: list[str]
    payloads: list[bytes]
    stamps: I64  # epoch ns, strictly rising
    offsets: I64
    messages: int  # ever journaled up to `end`, with those lost in between; -1: not known at this place
    size: int = 0  # bytes it takes in memory, about
    shared: object = None  # what the first follower made of it, for the others
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __len__(self) -> int:
        return len(self.kinds)

    def cut(self, begin: int, end: int) -> Batch:
        """The records from index `begin` to before `end`. Where what is lost ends is not known inside."""
        whole, part = end == len(self), slice(begin, end)
        return Batch(
            self.start if begin == 0 else int(self.offsets[begin]),
            self.end if whole else int(self.offsets[end]),
            self.kinds[part],
            self.flags[part],
            self.topics[part],
            self.payloads[part],
            self.stamps[part],
            self.offsets[part],
            self.messages if whole else -1,
        )

    @staticmethod
    def join(parts: Sequence[Batch]) -> Batch:
        """Batches that follow each other, as one. How many messages there were is the last one's to know."""
        return Batch(
            parts[0].start,
            parts[-1].end,
            list(chain.from_iterable(part.kinds for part in parts)),
            list(chain.from_iterable(part.flags for part in parts)),
            list(chain.from_iterable(part.topics for part in parts)),
            list(chain.from_iterable(part.payloads for part in parts)),
            np.concatenate([part.stamps for part in parts]),
            np.concatenate([part.offsets for part in parts]),
            parts[-1].messages,
        )

    @staticmethod
    def empty(start: int, end: int, messages: int) -> Batch:
        """Nothing but the way from one offset to another."""
        none = np.empty(0, np.int64)
        return Batch(start, end, [], [], [], [], none, none, messages)
