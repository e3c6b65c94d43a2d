"""From the journal's messages to columns: parsed, checked, numbered; or refused with a reason."""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable

from collector.core.readings import SeriesTable
from collector.core.records import Batch, Flag, RecordKind
from collector.ingest.decoded import Decoded, Draft, Stretch
from collector.ingest.directory import REFUSED, Caps, Directory, SeriesNumbers, TopicMeaning
from devices import topics
from devices.model import Suffix
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
_MESSAGE = int(RecordKind.MESSAGE)
_REGION = int(RecordKind.REGION)
_CUT = int(Flag.CUT)
_TOO_LARGE = f"the payload has more than {MAX_BYTES} bytes"
_VERSIONS = 3
"""So many versions of the region are kept ready: the newest, and those that laggards still read by."""


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
        directory, work = self.directory(region), Draft(batch)
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
    directory: Directory, means: TopicMeaning, topic: str, tele: Tele | list[Tele], work: Draft, message: int
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


def _other(means: TopicMeaning, topic: str, payload: bytes, work: Draft, message: int) -> None:
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
