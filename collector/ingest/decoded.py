"""A batch's messages in columns: what decoding makes of them, and everybody behind it reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from collector.core.readings import F64, I32, I64, Bools
from collector.core.records import Batch, Flag
from collector.ingest.directory import REFUSED, SeriesNumbers
from devices.model import CommandAck, Event
from devices.payload.native import Tele
from devices.region import Region

NO_TS = np.iinfo(np.int64).min
"""In place of a time: the message has none."""


@dataclass(slots=True)
class Decoded:
    """A batch's messages in columns: messages have items (one, or an array's several), items have rows.

    `item_message` and `row_item` index the level above, rising.
    """

    record: I64  # of each message: its index in the batch
    device: I32  # the device's own series number; REFUSED for a message that was refused
    retained: Bools
    marked: Bools  # it carries a ts or a seq, so that a copy of it can be told
    item_message: I64
    item_ts: I64  # epoch ns as the device says; NO_TS
    row_item: I64
    series: I32
    value: F64
    refused: list[tuple[int, str]] = field(default_factory=list)  # (message, reason)
    states: list[tuple[int, bool]] = field(default_factory=list)  # (message, online)
    signs: dict[int, Event | CommandAck] = field(default_factory=dict)  # message -> the event or answer
    nulls: list[int] = field(default_factory=list)  # messages with no reading in them
    qos0: int = 0
    aged: list[int] = field(default_factory=list)  # items dated by `age_ms`, by no clock of the device's
    left_out: int = 0  # values of metrics that no inventory claims and for which there is no room

    def __len__(self) -> int:
        return len(self.record)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a batch in which one version of the region holds, decoded by it."""

    batch: Batch
    region: Region
    found: Decoded


def join(stretches: Sequence[Stretch]) -> Stretch:
    """Stretches that follow each other under one version of the region, as one."""
    if len(stretches) == 1:
        return stretches[0]
    batches, parts = [each.batch for each in stretches], [each.found for each in stretches]
    records, messages = _shifts(map(len, batches)), _shifts(map(len, parts))
    items = _shifts(len(part.item_message) for part in parts)
    each = list(zip(parts, messages, items, strict=True))
    found = Decoded(
        np.concatenate([part.record + shift for part, shift in zip(parts, records, strict=True)]),
        np.concatenate([part.device for part in parts]),
        np.concatenate([part.retained for part in parts]),
        np.concatenate([part.marked for part in parts]),
        np.concatenate([part.item_message + by for part, by, _ in each]),
        np.concatenate([part.item_ts for part in parts]),
        np.concatenate([part.row_item + by for part, _, by in each]),
        np.concatenate([part.series for part in parts]),
        np.concatenate([part.value for part in parts]),
        [(message + by, why) for part, by, _ in each for message, why in part.refused],
        [(message + by, online) for part, by, _ in each for message, online in part.states],
        {message + by: said for part, by, _ in each for message, said in part.signs.items()},
        [message + by for part, by, _ in each for message in part.nulls],
        sum(part.qos0 for part in parts),
        [item + by for part, _, by in each for item in part.aged],
        sum(part.left_out for part in parts),
    )
    return Stretch(Batch.join(batches), stretches[0].region, found)


def _shifts(lengths: Iterable[int]) -> list[int]:
    """By how much the indices of each part move, the parts laid end to end."""
    return [0, *accumulate(lengths)][:-1]


class Draft:
    """The lists that become the columns of a batch, message by message."""

    __slots__ = (
        "_batch", "aged", "devices", "item_count", "item_message", "item_ms", "marked", "records", "refused",
        "series", "signs", "states", "values",
    )  # fmt: skip

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self.records: list[int] = []
        self.devices: list[int] = []
        self.marked: list[bool] = []
        self.item_message: list[int] = []
        self.item_ms: list[int] = []
        self.item_count: list[int] = []
        self.series: list[int] = []
        self.values: list[float | bool | None] = []
        self.aged: list[tuple[int, int]] = []
        self.refused: list[tuple[int, str]] = []
        self.states: list[tuple[int, bool]] = []
        self.signs: dict[int, Event | CommandAck] = {}

    def begin(self, record: int) -> int:
        """The number of a new message, refused until its device is named."""
        message = len(self.records)
        self.records.append(record)
        self.devices.append(REFUSED)
        self.marked.append(False)
        return message

    def refuse(self, message: int, reason: str) -> None:
        """The message is refused, and why."""
        self.refused.append((message, reason))

    def item(self, message: int, tele: Tele, shape: SeriesNumbers) -> None:
        """The readings of one time."""
        if "ts" in tele:
            self.item_ms.append(tele["ts"])
            self.marked[message] = True
        else:
            self.item_ms.append(-1)
            if "seq" in tele:
                self.marked[message] = True
        if "age_ms" in tele:
            self.aged.append((len(self.item_ms) - 1, tele["age_ms"]))
        self.item_message.append(message)
        self.item_count.append(len(shape))
        self.series += shape
        self.values += tele["values"].values()

    def done(self) -> Decoded:
        """The columns. A null (NaN by now: values are finite) is no reading."""
        batch = self._batch
        record = np.array(self.records, np.int64)
        device = np.array(self.devices, np.int32)
        item_message = np.array(self.item_message, np.int64)
        ms = np.array(self.item_ms, np.int64)
        item_ts = np.where(ms >= 0, ms * 1_000_000, NO_TS)
        for item, age in self.aged:
            item_ts[item] = batch.stamps[record[item_message[item]]] - age * 1_000_000
        flags = np.array(batch.flags, np.uint8)[record]
        row_item = np.repeat(np.arange(len(ms), dtype=np.int64), self.item_count)
        series, value = np.array(self.series, np.int32), np.array(self.values, np.float64)
        nulls: list[int] = []
        out = series == REFUSED
        if np.isnan(value).any() or out.any():
            there = ~(np.isnan(value) | out)
            row_item, series, value = row_item[there], series[there], value[there]
            nulls = np.setdiff1d(item_message, item_message[row_item]).tolist()
        return Decoded(
            record,
            device,
            (flags & Flag.RETAIN) > 0,
            np.array(self.marked, np.bool_),
            item_message,
            item_ts,
            row_item,
            series,
            value,
            self.refused,
            self.states,
            self.signs,
            nulls,
            int(np.count_nonzero(flags & Flag.QOS0)),
            [item for item, _ in self.aged],
            int(np.count_nonzero(out)),
        )
