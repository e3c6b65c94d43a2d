"""What topics and metrics mean in one version of the region: whose they are, and which nobody claims."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from collector.core.readings import DEVICE, I32, Bools, SeriesKey, SeriesTable, grown
from devices import topics
from devices.catalogue import COLLECTOR, KINDS
from devices.model import Suffix
from devices.payload.native import check_names
from devices.region import Region

REFUSED = -1
"""In place of a series' number: it is not taken."""
_MOST_TOPICS = 1_000_000
_MOST_SHAPES = 64
_MOST_NAMES = 10_000

SeriesNumbers = range | tuple[int, ...]
"""Series numbers: a first message numbers its series in a row, and a range is all it takes to say so."""


@dataclass(frozen=True, slots=True)
class Caps:
    """How many series that no inventory claims are taken: in all, and of one device."""

    unclaimed: int = 10_000
    of_device: int = 100


@dataclass(slots=True)
class TopicMeaning:
    """What a topic means, worked out once. There may be a million: it keeps what each message needs, no more.

    `numbers` are of the metrics `names`, the first that were sent at once; of other sets, `others` has them.
    """

    tele: bool
    device: int  # the number of the device's own series
    kind: str | None  # of the device, if this version knows it there
    names: tuple[str, ...] = ()
    numbers: SeriesNumbers = ()
    others: dict[tuple[str, ...], SeriesNumbers] | None = None


class Directory:
    """The meaning of topics in one version of the region. May be used from several threads.

    Series of devices or metrics that this version does not know are *unclaimed*: they are numbered up to the
    caps, so that one device that invents names fills neither memory nor the room of the others.
    """

    def __init__(self, table: SeriesTable, region: Region, caps: Caps) -> None:
        self.region = region
        self._table = table
        self._caps = caps
        self._lock = threading.Lock()
        self.topics: dict[str, TopicMeaning] = {}
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}  # sets of metrics, each kept once for all
        self._strange: Bools = np.zeros(0, np.bool_)
        self._of_device: Counter[tuple[str, str]] = Counter()
        self.unclaimed = 0
        self._count()

    def strange(self, series: I32) -> Bools | None:
        """Of each of these series whether nobody claims it; None if all are claimed."""
        if not self.unclaimed:
            return None
        strange = self._strange
        if len(strange) < len(self._table):
            with self._lock:
                strange = self._widen()
        found: Bools = strange[series]
        return found if found.any() else None

    def numbers(self, meaning: TopicMeaning, names: tuple[str, ...]) -> SeriesNumbers:
        """The numbers of the device's metrics; REFUSED for one that is beyond the caps.

        Raises PayloadError for a name that is no metric's.
        """
        others = meaning.others
        if others is not None and names in others:
            return others[names]
        if names not in self._names:
            check_names(names)
        numbers = _in_a_row(self._siblings(meaning, names))
        if REFUSED not in numbers:  # room may be made: it is asked for anew each time
            with self._lock:
                self._keep(meaning, names, numbers)
        return numbers

    def full(self, meaning: TopicMeaning) -> str:
        """Why a message with nothing but metrics beyond the caps is refused."""
        site, device = self._table.place(meaning.device)
        return self._why(f"{device} with these metrics", site, device)

    def learn(self, topic: str) -> TopicMeaning | str:
        """What a topic means that is not among `topics` yet; or why a message on it is refused."""
        try:
            sent = topics.parse(topic)
        except topics.TopicError as error:
            return str(error)
        if sent.device == COLLECTOR:
            return f"the device id {COLLECTOR} is the collector's own; give the device another"
        site = self.region.site_id(sent.site)
        device = self._number(SeriesKey(site, sent.device, DEVICE))
        if device == REFUSED:
            return self._why(sent.device, site, sent.device)
        if len(self.topics) >= _MOST_TOPICS:
            self.topics.clear()
        meaning = TopicMeaning(sent.suffix is Suffix.TELE, device, self._kind_at(site, sent.device))
        self.topics[topic] = meaning
        return meaning

    def _why(self, what: str, site: str, device: str) -> str:
        full = self.unclaimed >= self._caps.unclaimed
        most = f"{self._caps.unclaimed} unclaimed series" if full else f"{self._caps.of_device} of {device}"
        return f"the inventory does not know {what} at {site}, and the cap of {most} is reached"

    def _siblings(self, meaning: TopicMeaning, names: tuple[str, ...]) -> Sequence[int]:
        known = KINDS.get(meaning.kind) if meaning.kind else None
        if known and known.metrics.keys() >= set(names):
            return self._table.siblings(meaning.device, names)
        site, device = self._table.place(meaning.device)
        return [self._number(SeriesKey(site, device, name)) for name in names]

    def _number(self, key: SeriesKey) -> int:
        """The number of a series, given now if it is new and there is room for it; else REFUSED."""
        found = self._table.find(key)
        if found is not None:
            return found
        if _claims(self._kind_at(key.site, key.device), key.metric):
            return self._table.number(key)
        with self._lock:
            place = key.site, key.device
            caps = self._caps
            if self.unclaimed >= caps.unclaimed or self._of_device[place] >= caps.of_device:
                return REFUSED
            number = self._table.number(key)
            self._widen()[number] = True
            self._of_device[place] += 1
            self.unclaimed += 1
        return number

    def _widen(self) -> Bools:
        self._strange = grown(self._strange, len(self._table), False)  # type: ignore[assignment]
        return self._strange

    def _keep(self, meaning: TopicMeaning, names: tuple[str, ...], numbers: SeriesNumbers) -> None:
        if len(self._names) >= _MOST_NAMES:
            self._names.clear()
        names = self._names.setdefault(names, names)
        if not meaning.names:
            meaning.numbers = numbers  # first: another thread goes by the names
            meaning.names = names
        elif meaning.others is None or len(meaning.others) >= _MOST_SHAPES:
            meaning.others = {names: numbers}
        else:
            meaning.others[names] = numbers

    def _kind_at(self, site: str, device: str) -> str | None:
        """The device's kind; None if this version does not know it there."""
        known = self.region.devices.get(device)
        return known.kind if known is not None and known.site == site else None

    def _count(self) -> None:
        """Which of the series that are known already nobody claims."""
        place, metric = self._table.columns()  # before the names, which then know all of them
        places, metrics = self._table.names()
        if not len(place):
            return
        kinds = [self._kind_at(site, device) for site, device in places]
        known = {kind: number for number, kind in enumerate(dict.fromkeys(kinds))}
        claimed = np.array([[_claims(kind, name) for name in metrics] for kind in known], np.bool_)
        of = np.array([known[kind] for kind in kinds], np.intp)
        self._strange = ~claimed[of[place], metric]
        self.unclaimed = int(np.count_nonzero(self._strange))
        strange = np.bincount(place[self._strange], minlength=len(places))
        self._of_device.update({places[n]: int(strange[n]) for n in np.flatnonzero(strange).tolist()})


def _claims(kind: str | None, metric: str) -> bool:
    """Whether a device of that kind has the metric; None is no device."""
    known = None if kind is None else KINDS.get(kind)
    return kind is not None and (metric == DEVICE or (known is not None and metric in known.metrics))


def _in_a_row(numbers: Sequence[int]) -> SeriesNumbers:
    if isinstance(numbers, range):
        return numbers
    if REFUSED in numbers:
        return tuple(numbers)
    row = range(numbers[0], numbers[0] + len(numbers)) if numbers else range(0)
    return row if list(row) == list(numbers) else tuple(numbers)
