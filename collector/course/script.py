"""The order of things in a batch, as the engine must hear them: readings in stretches, all else between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from collector.core.readings import I64, Quality, Readings, SeriesKey, SeriesTable
from collector.core.records import Batch, RecordKind
from collector.ingest.dating import Dated
from collector.ingest.decoded import Decoded
from devices.model import CommandAck, Event


@dataclass(frozen=True, slots=True)
class Rows:
    """A stretch of readings."""

    rows: Readings
    offsets: I64
    listening: ClassVar[bool] = True  # it shows that we listened

    @property
    def offset(self) -> int:
        """The first one's record."""
        return int(self.offsets[0])


@dataclass(frozen=True, slots=True)
class Control:
    """A record of the collector's own."""

    kind: RecordKind
    body: dict[str, Any]
    stamp: int
    offset: int

    @property
    def listening(self) -> bool:
        """Whether it shows that we listened."""
        return self.kind is RecordKind.WATERMARK


@dataclass(frozen=True, slots=True)
class Unknown:
    """A record of a kind that a newer version wrote."""

    kind: int
    offset: int
    listening: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Sign:
    """A message without readings: an event or answer (`says`), nulls, or (`online` not None) a state."""

    device: SeriesKey
    online: bool | None
    retained: bool
    stamp: int
    offset: int
    says: Event | CommandAck | None = None
    listening: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class DeviceClock:
    """A device's clock was found wrong, or right again."""

    device: SeriesKey
    wrong: bool
    stamp: int
    offset: int
    listening: ClassVar[bool] = True


_MESSAGE = int(RecordKind.MESSAGE)
_KINDS = frozenset(map(int, RecordKind))
Scene = Rows | Control | Sign | DeviceClock | Unknown


def scenes(batch: Batch, found: Decoded, dated: Dated, table: SeriesTable) -> Iterator[Scene]:
    """What the batch says, in the journal's order."""
    between = sorted(_between(batch, found, dated, table), key=lambda scene: scene.offset)
    offsets = batch.offsets[found.record[dated.message]]
    if not between:
        if len(offsets):
            yield Rows(dated.readings, offsets)
        return
    at = 0
    for scene in between:
        to = int(np.searchsorted(offsets, scene.offset))
        if to > at:
            yield Rows(dated.readings.take(np.arange(at, to)), offsets[at:to])
            at = to
        yield scene
    if at < len(offsets):
        yield Rows(dated.readings.take(np.arange(at, len(offsets))), offsets[at:])


def _between(
    batch: Batch, found: Decoded, dated: Dated, table: SeriesTable
) -> Iterator[Control | Sign | DeviceClock | Unknown]:
    for record, kind in enumerate(batch.kinds):
        if kind == _MESSAGE:
            continue
        if kind in _KINDS:
            body = json.loads(batch.payloads[record])
            yield Control(RecordKind(kind), body, int(batch.stamps[record]), int(batch.offsets[record]))
        else:
            yield Unknown(kind, int(batch.offsets[record]))
    keys = table.keys

    def place(message: int) -> tuple[SeriesKey, int, int]:
        record = int(found.record[message])
        return keys[int(found.device[message])], int(batch.stamps[record]), int(batch.offsets[record])

    for message, online in found.states:
        key, stamp, offset = place(message)
        yield Sign(key, online, bool(found.retained[message]), stamp, offset)
    for message in (*found.signs, *found.nulls):
        if not found.retained[message] and not dated.copy[message]:
            key, stamp, offset = place(message)
            yield Sign(key, None, False, stamp, offset, found.signs.get(message))
    for message, wrong in dated.clock:
        key, stamp, offset = place(message)
        yield DeviceClock(key, wrong, stamp, offset)


def one_row(table: SeriesTable, key: SeriesKey, value: float, stamp: int, offset: int) -> Rows:
    """A reading of the collector's own making."""
    rows = Readings(
        np.array([table.number(key)], np.int32),
        np.array([stamp], np.int64),
        np.array([value], np.float64),
        np.array([Quality(0)], np.uint8),
        np.array([stamp], np.int64),
    )
    return Rows(rows, np.array([offset], np.int64))
