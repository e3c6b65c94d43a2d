"""The course: batches of the journal in, decisions out. It knows no thread, state.db, journal or clock.

decode (by the version of the region in force at each record) → date → order → engine. The same journal gives
the same decisions, however it is cut into batches and from whichever saved state it goes on.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from collector.alarms.engine import Engine
from collector.alarms.model import Alert
from collector.alarms.rules import RuleSet
from collector.core.decision import CommandAnswer, Decision, DeviceEvent, Gap
from collector.core.readings import SeriesKey, SeriesTable
from collector.core.records import Action, Batch, RecordKind
from collector.core.roster import Part, apart, numbers, roster, together
from collector.course.script import Control, DeviceClock, Rows, Scene, Sign, Unknown, one_row, scenes
from collector.ingest.dating import Dating
from collector.ingest.decode import Decoder
from collector.ingest.decoded import Stretch
from devices.catalogue import CLOCK_WRONG, COLLECTOR
from devices.model import CommandAck, Event, Presence
from devices.problems import Problems
from devices.region import Region

log = logging.getLogger(__name__)
Version = tuple[Region, RuleSet]
REPORTS_A_MINUTE = 20
"""Of one device so many events and answers are written down a minute; each of them is a sign of life."""
_MINUTE = 60 * 10**9
MOST_DATA = 2_000
"""Characters of an event's data that are written down; of more, only how many there were."""


class Course:
    """What alarming, replay, backtest and drill have in common. `start` is the version that holds at first.

    `versions` gives a version of the region by its hash; it raises KeyError or Problems for one that cannot
    be had. `cursor` is the position after the last batch taken, `stamp` its last record's (epoch ns).
    """

    def __init__(
        self, table: SeriesTable, decoder: Decoder, versions: Callable[[str], Version], start: Version
    ) -> None:
        self._table = table
        self._decoder = decoder
        self._versions = versions
        self._engine = Engine(table)
        self._dating = Dating(table)
        self._region, rules = start
        self._engine.region(self._region, rules, 0, 0)
        self._gap: Gap | None = None
        self._reports = _Quota()
        self._out: list[Decision] = []
        self.unknown: Counter[int] = Counter()  # records passed over, by their kind's number
        self.stamp = 0
        self.messages = 0  # taken in by this object

    @property
    def alerts(self) -> Mapping[str, Alert]:
        """All alerts that are not gone, by id."""
        return self._engine.alerts

    @property
    def region(self) -> Region:
        """The version that holds, as far as the journal was taken in."""
        return self._region

    def presence_of(self, device: str) -> Presence | None:
        """As in `presence`, of one device. From any thread."""
        return self._engine.presence_of(device)

    @property
    def presence(self) -> Mapping[str, Presence]:
        """By device id, of those whose presence is known. From any thread."""
        return self._engine.presence()

    @property
    def clock_off(self) -> int:
        """How far most devices' clocks are ahead of this machine's (ns); 0 while it is right."""
        return self._dating.off

    @property
    def wrong_clocks(self) -> int:
        """Devices whose clock is found wrong."""
        return len(self._dating.wrong)

    def take(self, batch: Batch) -> list[Decision]:
        """What follows from the next batch, in order. Each batch once, in the journal's order."""
        for stretch in self._decoder.shared(batch, self._region):
            self._play(stretch)
        if len(batch):
            self.stamp = int(batch.stamps[-1])
        self._drain()
        out, self._out = self._out, []
        return out

    def save(self) -> Part:
        """All of it after the batches taken, as a copy. Holds names, no series numbers."""
        size, series = roster(self._table)
        head = {
            "region": self._region.hash,
            "gap": self._gap and [self._gap.since, self._gap.at, self._gap.offset, self._gap.reason],
            "reports": self._reports.save(),
        }
        parts = {"series": series, "dating": self._dating.save(size), "engine": self._engine.save()}
        return together({**parts, "course": Part(head, {})})

    @classmethod
    def load(
        cls, table: SeriesTable, decoder: Decoder, versions: Callable[[str], Version], part: Part
    ) -> Course:
        """The course that was saved. Raises BundleError, KeyError, ValueError, Problems."""
        parts = apart(part.head, part.columns)
        own = parts["course"]
        version = versions(own.head["region"])
        self = cls(table, decoder, versions, version)
        here = numbers(table, parts["series"])
        self._dating = Dating.load(table, parts["dating"], here)
        self._engine = Engine.load(table, *version, parts["engine"])
        if own.head["gap"]:
            since, at, offset, why = own.head["gap"]
            self._gap = Gap("gap", at, offset, since, reason=why)
        self._reports = _Quota.load(own.head["reports"])
        return self

    def _play(self, stretch: Stretch) -> None:
        batch, found = stretch.batch, stretch.found
        dated = self._dating.date(batch, found)
        for scene in scenes(batch, found, dated, self._table):
            if scene.listening:
                self._end_gap(scene.offset)
            self._act(scene)
        self.messages += len(found)

    def _end_gap(self, offset: int) -> None:
        """Write the gap down, if there is one: `offset` is the record that shows that it is over."""
        if self._gap is not None:
            self._drain()
            self._out.append(replace(self._gap, offset=offset))
            self._gap = None

    def _drain(self) -> None:
        self._out += self._engine.drain()

    def _act(self, scene: Scene) -> None:
        match scene:
            case Rows():
                self._engine.rows(scene.rows, scene.offsets)
            case Control():
                self._control(scene)
            case Sign():
                self._sign(scene)
            case DeviceClock(device, wrong, stamp, offset):
                key = SeriesKey(device.site, device.device, CLOCK_WRONG)
                self._act(one_row(self._table, key, float(wrong), stamp, offset))
            case Unknown(kind):
                if not self.unknown[kind]:
                    log.warning("records of kind %d are of a newer version and are passed over", kind)
                self.unknown[kind] += 1

    def _control(self, record: Control) -> None:
        engine, body = self._engine, record.body
        match record.kind:
            case RecordKind.GAP:
                self._no_listening(int(body["from"]), str(body["why"]), record)
            case RecordKind.WATERMARK:
                engine.advance(record.stamp, record.offset)
            case RecordKind.ACTION:
                engine.action(Action(**body), record.stamp, record.offset)
            case RecordKind.REGION:
                self._take_version(str(body["hash"]), record)
            case RecordKind.HEALTH:
                for metric, value in sorted(body.items()):
                    key = SeriesKey(self._region.centre, COLLECTOR, metric)
                    self._act(one_row(self._table, key, float(value), record.stamp, record.offset))

    def _no_listening(self, since: int, why: str, record: Control) -> None:
        """A gap is told piece by piece while it grows, and written down as one when it is over."""
        self._engine.gap(since, record.stamp, record.offset)
        gap = Gap("gap", record.stamp, record.offset, since, reason=why)
        if self._gap is not None and self._gap.at == since:
            gap = replace(gap, since=self._gap.since, reason=self._gap.reason)
        else:
            self._end_gap(record.offset)
        self._gap = gap

    def _take_version(self, content: str, record: Control) -> None:
        try:
            self._region, rules = self._versions(content)
        except (KeyError, Problems):  # the decoder has said so
            return
        self._engine.region(self._region, rules, record.stamp, record.offset)

    def _sign(self, sign: Sign) -> None:
        key = sign.device
        if sign.online is None:
            self._engine.heard(key, sign.stamp, sign.offset)
            if sign.says is not None and self._knows(key):
                self._report(key, sign.says, sign)
            return
        where = key.site, key.device, sign.online, sign.stamp, sign.offset
        self._engine.state(*where, retained=sign.retained)

    def _knows(self, key: SeriesKey) -> bool:
        device = self._region.devices.get(key.device)
        return device is not None and device.site == key.site

    def _report(self, key: SeriesKey, says: Event | CommandAck, sign: Sign) -> None:
        if not self._reports.allows(key, sign.stamp):
            return
        self._drain()
        where = (sign.stamp, sign.offset, key.site, key.device)
        if isinstance(says, Event):
            size = len(str(says.data))
            data = says.data if size <= MOST_DATA else {"characters_left_out": size}
            self._out.append(DeviceEvent(says.event, *where, says.ts, data, reason="reported"))
        else:
            answer = CommandAnswer(
                says.status, *where, says.id, says.detail[:MOST_DATA], says.ts, reason="reported"
            )
            self._out.append(answer)


class _Quota:
    """How many reports of each device were written down in the present minute of the journal's time."""

    def __init__(self) -> None:
        self._minute = 0
        self._counts: Counter[SeriesKey] = Counter()

    def allows(self, key: SeriesKey, now: int) -> bool:
        """Whether one more of the device is written down; it is counted."""
        if now // _MINUTE != self._minute:
            self._minute, self._counts = now // _MINUTE, Counter()
        self._counts[key] += 1
        return self._counts[key] <= REPORTS_A_MINUTE

    def save(self) -> list[object]:
        """As plain values."""
        return [self._minute, sorted([*key, count] for key, count in self._counts.items())]

    @classmethod
    def load(cls, saved: list[object]) -> _Quota:
        """What `save` gave."""
        self = cls()
        minute, counts = saved
        assert isinstance(minute, int)
        assert isinstance(counts, list)
        self._minute = minute
        self._counts = Counter({SeriesKey(*key): count for *key, count in counts})
        return self
