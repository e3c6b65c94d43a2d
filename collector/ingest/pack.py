"""What is handed to the journal at once, and how several of them become one write."""

from __future__ import annotations

import json
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from collector.core.records import RecordKind
from collector.ingest.log import RecordColumns

SPACING = 1000
"""Stamps lie at least so far apart (ns): room for an array's readings that have no time of their own."""

_FRAME = 64
"""Bytes that a log may add to a record, its topic included, about."""


@dataclass(slots=True)
class Pack:
    """Records that came at once, to be written together. `received` is when (epoch ns)."""

    kinds: list[int]
    flags: list[int]
    topics: list[str]
    payloads: list[bytes]
    received: int
    token: object = None  # the caller's own, handed back when the pack is durable
    written: Future[tuple[int, int]] | None = None  # gets (stamp, offset) of a control record

    @property
    def control(self) -> bool:
        """Whether it is the collector's own record, not the field's."""
        return self.written is not None


def gather(packs: list[Pack], last: int) -> RecordColumns:
    """The packs as one, stamped with when they came, but always after `last` and after each other."""
    stamps = np.empty(sum(len(pack.kinds) for pack in packs), np.int64)
    out = RecordColumns([], [], [], [], stamps)
    for pack in packs:
        first, at, count = max(pack.received, last + SPACING), len(out.kinds), len(pack.kinds)
        out.kinds.extend(pack.kinds)
        out.flags.extend(pack.flags)
        out.topics.extend(pack.topics)
        out.payloads.extend(pack.payloads)
        out.stamps[at : at + count] = first + SPACING * np.arange(count)
        last = first + SPACING * (count - 1)
    return out


def control_pack(
    kind: RecordKind, body: dict[str, object], received: int
) -> tuple[Pack, Future[tuple[int, int]]]:
    """A control record, and the future that gets its (stamp, offset)."""
    payload = json.dumps(body, separators=(",", ":"), sort_keys=True).encode()
    written: Future[tuple[int, int]] = Future()
    written.set_running_or_notify_cancel()  # whoever gives up waiting cannot trip the writer
    return Pack([kind], [0], [""], [payload], received, written=written), written


def weight(packs: list[Pack]) -> int:
    """Bytes that the packs will take on disk, at most about."""
    return sum(len(body) + _FRAME for pack in packs for body in pack.payloads)
