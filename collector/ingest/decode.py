"""From the journal's messages to columns: parsed, checked, numbered; or refused with a reason."""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from collector.core.readings import F64, I32, I64, Bools, SeriesTable
from collector.core.records import Batch, Flag, RecordKind
from collector.ingest.directory import REFUSED, Caps, Directory, SeriesNumbers, TopicMeaning
from devices import topics
from devices.model import CommandAck, Event, Suffix
from devices.payload.native import (
    MAX_BYTES,
    PayloadError,
    Tele,
    check_identity,
    parse_ack,
    parse_event,
    parse_state,
    parse_tele,
)
from devices.problems import Problems
from devices.region import Region

log = logging.getLogger(__name__)
NO_TS = np.iinfo(np.int64).min
"""In place of a time: the message has none."""
_MESSAGE = int(RecordKind.MESSAGE)
_REGION = int(RecordKind.REGION)
_CUT = int(Flag.CUT)
_TOO_LARGE = f"the payload has more than {MAX_BYTES} bytes"
_VERSIONS = 3
"""So many versions of the region are kept ready: the newest, and those that laggards still read by."""


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


class Decoder:
    """Decodes batches, each record by the version of the region in force at it. For several threads.

    `regions` gives a version by its hash; it raises KeyError or Problems for one that cannot be had: then the
    version before goes on.
    """

    def __init__(
        self, table: SeriesTable, regions: Callable[[str], Region], caps: Caps | None = None
    ) -> None:
        self._table = table
        self._regions = regions
        self._caps = caps or Caps()
        self._lock = threading.Lock()
        self._directories: OrderedDict[str, Directory] = OrderedDict()
        self._missing: set[str] = set()

    def shared(self, batch: Batch, region: Region) -> list[Stretch]:
        """The batch decoded, once for all followers. `region` holds at its beginning."""
        with batch.lock:
            made = batch.shared
            if isinstance(made, list) and made[0].region.hash == region.hash:
                return made
            stretches = self.stretches(batch, region)
            if stretches[0].region.hash == region.hash:  # not where the batch begins with a change
                batch.shared = stretches
            return stretches

    def stretches(self, batch: Batch, region: Region) -> list[Stretch]:
        """The batch in parts, each decoded by its version: cut where a record lets another one hold."""
        if _REGION not in batch.kinds:
            return [Stretch(batch, region, self.decode(batch, region))]
        made, begin = [], 0
        for record, kind in enumerate(batch.kinds):
            following = self._version(batch.payloads[record]) if kind == _REGION else None
            if following is not None and following.hash != region.hash:
                made += self._stretch(batch, begin, record, region)
                begin, region = record, following
        return made + self._stretch(batch, begin, len(batch), region)

    def directory(self, region: Region) -> Directory:
        """What topics mean in that version."""
        found = self._directories.get(region.hash)
        if found is not None:
            return found
        with self._lock:
            if region.hash not in self._directories:
                self._directories[region.hash] = Directory(self._table, region, self._caps)
                while len(self._directories) > _VERSIONS:
                    self._directories.popitem(last=False)
            return self._directories[region.hash]

    def decode(self, batch: Batch, region: Region) -> Decoded:
        """The batch's messages, in columns, all by one version."""
        directory, work = self.directory(region), _Work(batch)
        known, learn = directory.topics.get, directory.learn
        records = zip(batch.kinds, batch.flags, batch.topics, batch.payloads, strict=True)
        for record, (kind, flags, topic, payload) in enumerate(records):
            if kind != _MESSAGE:
                continue
            means = known(topic) or learn(topic)
            message = work.begin(record)
            try:
                if isinstance(means, str) or flags & _CUT:
                    work.refuse(message, means if isinstance(means, str) else _TOO_LARGE)
                elif means.tele:
                    _tele(directory, means, topic, parse_tele(payload), work, message)
                else:
                    _other(means, topic, payload, work, message)
            except PayloadError as error:
                work.refuse(message, error.reason)
        return work.done()

    def _stretch(self, batch: Batch, begin: int, end: int, region: Region) -> list[Stretch]:
        if begin == end:
            return []
        part = batch.cut(begin, end)
        return [Stretch(part, region, self.decode(part, region))]

    def _version(self, payload: bytes) -> Region | None:
        content = region_of(payload)
        try:
            return self._regions(content)
        except (KeyError, Problems) as error:  # state.db was lost, or this program refuses what an older took
            if content not in self._missing:
                self._missing.add(content)
                log.warning("the region %s cannot be had (%s); the one before goes on", content, error)
            return None


def region_of(payload: bytes) -> str:
    """The hash that a REGION record names."""
    return str(json.loads(payload)["hash"])


def _tele(
    directory: Directory, means: TopicMeaning, topic: str, tele: Tele | list[Tele], work: _Work, message: int
) -> None:
    if isinstance(tele, list):
        shapes = [_checked(directory, means, topic, one) for one in tele]
        if all(_nothing(shape) for shape in shapes):
            raise PayloadError(directory.full(means))
        for one, shape in zip(tele, shapes, strict=True):
            work.item(message, one, shape)
    else:
        shape = _checked(directory, means, topic, tele)
        if _nothing(shape):
            raise PayloadError(directory.full(means))
        work.item(message, tele, shape)
    work.devices[message] = means.device


def _checked(directory: Directory, means: TopicMeaning, topic: str, tele: Tele) -> SeriesNumbers:
    if "device" in tele or "site" in tele:
        check_identity(tele, topics.parse(topic))
    names = tuple(tele["values"])
    return means.numbers if names == means.names else directory.numbers(means, names)


def _nothing(shape: SeriesNumbers) -> bool:
    """Whether none of these series is taken."""
    return type(shape) is tuple and all(number == REFUSED for number in shape)


def _other(means: TopicMeaning, topic: str, payload: bytes, work: _Work, message: int) -> None:
    address = topics.parse(topic)
    if address.suffix is Suffix.STATE:
        work.states.append((message, parse_state(payload) == "online"))
    elif address.suffix is Suffix.CMD:
        raise PayloadError("a command is not for the collector to take in")
    else:
        said = (parse_event if address.suffix is Suffix.EVENT else parse_ack)(payload, address)
        work.marked[message] = said.ts is not None
        work.signs[message] = said
    work.devices[message] = means.device


class _Work:
    """The lists that become the columns."""

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
