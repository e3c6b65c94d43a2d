"""What became of each message of a batch, and which rows are new. Pure but for one question to the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from collector.core.readings import F64, I32, I64, Bools
from collector.core.records import Batch
from collector.ingest.dating import Dated
from collector.ingest.decoded import Decoded
from collector.store.base import Ledger, Reject

HEAD = 200
"""First bytes kept of a refused payload."""

Find = Callable[[I32, I64], tuple[Bools, F64]]


@dataclass(slots=True)
class Fates:
    """Of a batch: the rows that are new, how many messages met which fate, and the refused ones."""

    new: Bools  # of each dated row
    stored: int
    duplicate: int
    conflicts: int
    rejects: list[Reject]
    qos0: int

    def count(self, ledger: Ledger, batch: Batch, messages: int) -> None:
        """Book them. What was journaled and is not here any more is dropped."""
        ledger.cursor = batch.end
        ledger.stored += self.stored
        ledger.duplicate += self.duplicate
        ledger.quarantined += len(self.rejects)
        ledger.values += int(np.count_nonzero(self.new))
        ledger.conflicts += self.conflicts
        ledger.qos0 += self.qos0
        if batch.messages >= 0:
            ledger.dropped += batch.messages - ledger.messages - messages
            ledger.messages = batch.messages
        else:
            ledger.messages += messages


def judge(batch: Batch, found: Decoded, dated: Dated, find: Find, tolerance: float = 0.0) -> Fates:
    """The batch's fates. `find` is asked about the rows that may be known already, if there are any.

    Its values may be off by that part of them, and still be those that were stored.
    """
    new, conflicts = dated.newer, 0
    if not new.all():
        new, conflicts = _first_journaled(dated, find, tolerance)
    kept = np.zeros(len(found), np.bool_)
    kept[dated.message[new]] = True
    kept[[message for message, _ in found.states]] = True
    kept[list(found.signs)] = True
    kept &= ~dated.copy
    stored = int(np.count_nonzero(kept))
    rejects = [_reject(batch, found, message, reason) for message, reason in found.refused]
    return Fates(new, stored, len(found) - stored - len(rejects), conflicts, rejects, found.qos0)


def _first_journaled(dated: Dated, find: Find, tolerance: float) -> tuple[Bools, int]:
    """Which rows are new, where some may be known (the first journaled wins); how many known ones differ."""
    rows, new = dated.readings, dated.newer.copy()
    asked = np.flatnonzero(~new)
    there, values = find(rows.series[asked], rows.time[asked])
    new[asked] = ~there
    conflicts = int(np.count_nonzero(there & ~_alike(values, rows.value[asked], tolerance)))
    seen: dict[tuple[int, int], float] = {}
    touched = np.isin(rows.series, rows.series[asked])
    for row in np.flatnonzero(touched & new).tolist():
        key = int(rows.series[row]), int(rows.time[row])
        value = float(rows.value[row])
        if key in seen:
            new[row] = False
            conflicts += seen[key] != value
        else:
            seen[key] = value
    return new, conflicts


def _alike(stored: F64, given: F64, tolerance: float) -> Bools:
    with np.errstate(over="ignore"):
        near: Bools = np.abs(stored - given) <= tolerance * np.abs(given)
    return near


def _reject(batch: Batch, found: Decoded, message: int, reason: str) -> Reject:
    record = int(found.record[message])
    payload = batch.payloads[record]
    offset, stamp = int(batch.offsets[record]), int(batch.stamps[record])
    return Reject(offset, stamp, batch.topics[record], reason, payload[:HEAD], len(payload))
