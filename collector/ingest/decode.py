"""From the journal's messages to columns: parsed, checked, numbered; or refused with a reason."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from collector.core.readings import DEVICE, F64, I32, I64, Bools, SeriesKey, SeriesTable
from collector.core.records import Batch, Flag, RecordKind
from devices import topics
from devices.catalogue import COLLECTOR, KINDS
from devices.model import Suffix
from devices.payload.native import (
    MAX_BYTES,
    PayloadError,
    Tele,
    check_identity,
    check_names,
    parse_ack,
    parse_event,
    parse_state,
    parse_tele,
)
from devices.region import Region

NO_TS = np.iinfo(np.int64).min
"""In place of a time: the message has none."""
REFUSED = -1
_MESSAGE = int(RecordKind.MESSAGE)
_CUT = int(Flag.CUT)
_TOO_LARGE = f"the payload has more than {MAX_BYTES} bytes"
_MOST_TOPICS = 1_000_000
_MOST_SHAPES = 64
_MOST_NAMES = 10_000


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
    signs: list[int] = field(default_factory=list)  # messages of events and acks
    nulls: list[int] = field(default_factory=list)  # messages with no reading in them
    qos0: int = 0
    aged: list[int] = field(default_factory=list)  # items dated by `age_ms`, by no clock of the device's

    def __len__(self) -> int:
        return len(self.record)


Numbers = range | tuple[int, ...]
"""Series numbers: a first message numbers its series in a row, and a range is all it takes to say so."""


@dataclass(slots=True)
class _Entry:
    """What a topic means, worked out once. There may be a million: it keeps what each message needs, no more.

    `numbers` are of the metrics `names`, the first that were sent at once; of other sets, `others` has them.
    """

    tele: bool
    device: int
    kind: str | None  # of the device, if today's inventory knows it there
    names: tuple[str, ...] = ()
    numbers: Numbers = ()
    others: dict[tuple[str, ...], Numbers] | None = None


class Decoder:
    """Decodes batches against today's region. May be used from several threads."""

    def __init__(self, table: SeriesTable, region: Callable[[], Region], unclaimed_cap: int) -> None:
        self._table = table
        self._region = region
        self._cap = unclaimed_cap
        self._lock = threading.Lock()
        self._known: Region | None = None
        self._topics: dict[str, _Entry | str] = {}
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}  # sets of metrics, each kept once for all
        self.unclaimed: set[int] = set()

    def shared(self, batch: Batch) -> Decoded:
        """The batch decoded, once for all followers."""
        with batch.lock:
            if batch.shared is None:
                batch.shared = self.decode(batch)
            assert isinstance(batch.shared, Decoded)
            return batch.shared

    def decode(self, batch: Batch) -> Decoded:
        """The batch's messages, in columns."""
        self._refresh()
        work = _Work(batch)
        known, learn = self._topics.get, self._learn
        records = zip(batch.kinds, batch.flags, batch.topics, batch.payloads, strict=True)
        for record, (kind, flags, topic, payload) in enumerate(records):
            if kind != _MESSAGE:
                continue
            entry = known(topic) or learn(topic)
            message = work.begin(record)
            try:
                if isinstance(entry, str) or flags & _CUT:
                    work.refuse(message, entry if isinstance(entry, str) else _TOO_LARGE)
                elif entry.tele:
                    self._tele(entry, topic, parse_tele(payload), work, message)
                else:
                    self._other(entry, topic, payload, work, message)
            except PayloadError as error:
                work.refuse(message, error.reason)
        return work.done()

    def claims(self, key: SeriesKey) -> bool:
        """Whether today's inventory knows the device at its site, and its kind the metric."""
        return _claims(self._kind_at(key.site, key.device), key.metric)

    def recount(self) -> None:
        """Count anew which of the known series no inventory claims."""
        (places, metrics), (place, metric) = self._table.names(), self._table.columns()
        kinds = [self._kind_at(site, device) for site, device in places]
        known = {kind: number for number, kind in enumerate(dict.fromkeys(kinds))}
        claimed = np.array([[_claims(kind, name) for name in metrics] for kind in known], np.bool_)
        of = np.array([known[kind] for kind in kinds], np.intp)
        self.unclaimed = set(np.flatnonzero(~claimed[of[place], metric]).tolist()) if len(place) else set()

    def _kind_at(self, site: str, device: str) -> str | None:
        """The device's kind; None if today's inventory does not know it there."""
        known = self._region().devices.get(device)
        return known.kind if known is not None and known.site == site else None

    def _refresh(self) -> None:
        region = self._region()
        if region is not self._known or len(self._topics) > _MOST_TOPICS:
            self._topics.clear()
            self._names.clear()
            self._known = region
            self.recount()

    def _learn(self, topic: str) -> _Entry | str:
        try:
            sent = topics.parse(topic)
            if sent.device == COLLECTOR:
                return f"the device id {COLLECTOR} is the collector's own; give the device another"
            site = self._region().site_id(sent.site)
            device = self._number(SeriesKey(site, sent.device, DEVICE))
        except (topics.TopicError, PayloadError) as error:
            return str(error)
        entry = self._topics[topic] = _Entry(
            sent.suffix is Suffix.TELE, device, self._kind_at(site, sent.device)
        )
        return entry

    def _number(self, key: SeriesKey) -> int:
        found = self._table.find(key)
        if found is not None:
            return found
        if self.claims(key):
            return self._table.number(key)
        if len(self.unclaimed) >= self._cap:
            what = f"{key.device} with {key.metric}" if key.metric else key.device
            cap = f"the cap of {self._cap} unclaimed series is reached"
            raise PayloadError(f"the inventory does not know {what} at {key.site}, and {cap}")
        number = self._table.number(key)
        self.unclaimed.add(number)
        return number

    def _shape(self, entry: _Entry, names: tuple[str, ...]) -> Numbers:
        """The numbers of the device's metrics, for a set that is not the usual one."""
        others = entry.others
        if others is not None and names in others:
            return others[names]
        if names not in self._names:
            check_names(names)
        numbers = _in_a_row(self._siblings(entry, names))
        with self._lock:
            self._keep(entry, names, numbers)
        return numbers

    def _siblings(self, entry: _Entry, names: tuple[str, ...]) -> Sequence[int]:
        known = KINDS.get(entry.kind) if entry.kind else None
        if known and known.metrics.keys() >= set(names):
            return self._table.siblings(entry.device, names)
        site, device = self._table.place(entry.device)
        return [self._number(SeriesKey(site, device, name)) for name in names]

    def _keep(self, entry: _Entry, names: tuple[str, ...], numbers: Numbers) -> None:
        if len(self._names) >= _MOST_NAMES:
            self._names.clear()
        names = self._names.setdefault(names, names)
        if not entry.names:
            entry.numbers = numbers  # first: another thread goes by the names
            entry.names = names
        elif entry.others is None or len(entry.others) >= _MOST_SHAPES:
            entry.others = {names: numbers}
        else:
            entry.others[names] = numbers

    def _tele(self, entry: _Entry, topic: str, tele: Tele | list[Tele], work: _Work, message: int) -> None:
        if isinstance(tele, list):
            shapes = [self._checked(entry, topic, one) for one in tele]
            for one, shape in zip(tele, shapes, strict=True):
                work.item(message, one, shape)
        else:
            work.item(message, tele, self._checked(entry, topic, tele))
        work.devices[message] = entry.device

    def _checked(self, entry: _Entry, topic: str, tele: Tele) -> Numbers:
        if "device" in tele or "site" in tele:
            check_identity(tele, topics.parse(topic))
        names = tuple(tele["values"])
        return entry.numbers if names == entry.names else self._shape(entry, names)

    def _other(self, entry: _Entry, topic: str, payload: bytes, work: _Work, message: int) -> None:
        address = topics.parse(topic)
        if address.suffix is Suffix.STATE:
            work.states.append((message, parse_state(payload) == "online"))
        elif address.suffix is Suffix.EVENT:
            work.marked[message] = parse_event(payload, address).ts is not None
            work.signs.append(message)
        elif address.suffix is Suffix.ACK:
            work.marked[message] = parse_ack(payload, address).ts is not None
            work.signs.append(message)
        else:
            raise PayloadError("a command is not for the collector to take in")
        work.devices[message] = entry.device


def _claims(kind: str | None, metric: str) -> bool:
    """Whether a device of that kind has the metric; None is no device."""
    known = None if kind is None else KINDS.get(kind)
    return kind is not None and (metric == DEVICE or (known is not None and metric in known.metrics))


def _in_a_row(numbers: Sequence[int]) -> Numbers:
    if isinstance(numbers, range):
        return numbers
    row = range(numbers[0], numbers[0] + len(numbers)) if numbers else range(0)
    return row if list(row) == numbers else tuple(numbers)


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
        self.signs: list[int] = []

    def begin(self, record: int) -> int:
        """The number of a new message, refused until its device is named."""
        message = len(self.records)
        self.records.append(record)
        self.devices.append(REFUSED)
        self.marked.append(False)
        return message

    def refuse(self, message: int, reason: str) -> None:
        self.refused.append((message, reason))

    def item(self, message: int, tele: Tele, shape: Numbers) -> None:
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
        if np.isnan(value).any():
            there = ~np.isnan(value)
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
        )
