"""Replay: a stretch of the journal once more through the course, and what it decides held against state.db.

It writes nothing, and may run beside the collector.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np

from collector.core.bundle import BundleError, unpack
from collector.core.config import Config
from collector.core.decision import Decision
from collector.core.readings import SeriesTable
from collector.core.records import Batch, RecordKind
from collector.core.roster import Part
from collector.course.course import Course
from collector.followers.alarming import FORM, NAME
from collector.followers.versions import Versions
from collector.ingest.decode import Decoder, region_of
from collector.ingest.directory import Caps
from collector.ingest.files import FileLog
from collector.state import Snapshots, State
from collector.state.decisions import Encoded, encoded
from devices.problems import Problems
from devices.region import read_folder

MOST_SHOWN = 10
"""So many differences are kept to be shown."""
Step = Callable[[float, int], None]
"""Called now and then with how far it is (0 to 1) and how many messages were taken in."""


@dataclass
class Replayed:
    """What a replay found. `begun` and `ended`: the stamps (epoch ns) of its first and last record.

    `differences` are pairs: what is in state.db, and what the replay decided instead; None for nothing.
    """

    messages: int = 0
    decisions: Counter[str] = field(default_factory=Counter)
    begun: int = 0
    ended: int = 0
    compared: int = 0
    different: int = 0
    differences: list[tuple[Encoded | None, Encoded | None]] = field(default_factory=list)


class Replay:
    """A collector's journal, snapshots and state.db, read only. Raises Problems where there is nothing."""

    def __init__(self, config: Config) -> None:
        data = config.data.dir
        if not (data / "state.db").is_file():
            raise Problems.one(str(data), "no collector keeps its data here", "name its settings by --config")
        self._state = State(data / "state.db")
        self._snapshots = Snapshots(data / "snapshots")
        self._log = FileLog(data / "journal", config.journal)
        self._log.look()
        self._table = SeriesTable()
        folder = config.region.dir
        self._versions = Versions(self._state, read_folder(folder), str(folder))
        caps = Caps(config.limits.unclaimed_series, config.limits.unclaimed_of_device)
        self._decoder = Decoder(self._table, self._versions.region, caps)
        self.end = min(self._state.cursor(), self._log.end)

    def close(self) -> None:
        """Release the files."""
        self._state.close()
        self._log.close()

    def run(
        self, since: int = 0, until: int = 2**63 - 1, *, verify: bool, step: Step | None = None
    ) -> Replayed:
        """Replay what was received from `since` to before `until` (epoch ns) and is committed.

        Goes on from the newest snapshot before it; from the oldest one, if `since` is 0. Before the stretch
        it runs silently.
        """
        course, cursor = self._resume(since)
        out, first = Replayed(), cursor if since == 0 else -1
        decided: list[Encoded] = []
        for batch in self._batches(cursor):
            decisions = course.take(batch)
            if len(batch) and first < 0 and batch.stamps[-1] >= since:
                first = int(batch.offsets[np.searchsorted(batch.stamps, since)])
            if first >= 0:
                self._count(out, decisions, first, decided, verify=verify)
                out.begun = out.begun or (int(batch.stamps[0]) if len(batch) else 0)
                out.ended = course.stamp
            cursor, out.messages = batch.end, course.messages
            if step:
                step(cursor / max(self.end, 1), out.messages)
            if course.stamp >= until:
                break
        if verify and first >= 0:
            self._compare(out, decided, first, cursor)
        return out

    def _count(
        self, out: Replayed, decisions: list[Decision], first: int, decided: list[Encoded], *, verify: bool
    ) -> None:
        for decision in decisions:
            if decision.offset >= first:
                out.decisions[f"{decision.kind} {decision.change}"] += 1
                if verify:
                    decided.append(encoded(decision))

    def _compare(self, out: Replayed, decided: list[Encoded], first: int, stop: int) -> None:
        for kept, found in zip_longest(self._state.encoded_decisions(first, stop), decided):
            out.compared += 1
            if kept != found:
                out.different += 1
                if len(out.differences) < MOST_SHOWN:
                    out.differences.append((kept, found))

    def _batches(self, cursor: int) -> Iterator[Batch]:
        while cursor < self.end:
            batch = self._log.read(cursor, self.end)
            yield batch
            cursor = batch.end

    def _resume(self, since: int) -> tuple[Course, int]:
        """The course as of a snapshot, and where it goes on; or a new one at the beginning of the journal."""
        cursors = [at for at in self._snapshots.cursors(NAME) if self._log.first <= at <= self.end]
        usable = cursors[-1:] if since == 0 else [at for at in cursors if self._stamp_at(at) <= since]
        for at in usable:
            found = self._snapshots.newest(NAME, at)
            if found is not None and found[0] == at:
                try:
                    part = Part(*unpack(FORM, found[1]))
                    return Course.load(self._table, self._decoder, self._versions.get, part), at
                except (BundleError, KeyError, ValueError) as error:
                    raise Problems.one(
                        f"snapshot {at}", f"is not of this version ({error})", "name a later --from"
                    ) from None
        return self._begin(), self._log.first

    def _begin(self) -> Course:
        start = self._versions.current
        for batch in self._batches(self._log.first):
            if RecordKind.REGION in batch.kinds:
                start = self._versions.get(region_of(batch.payloads[batch.kinds.index(RecordKind.REGION)]))
                break
        return Course(self._table, self._decoder, self._versions.get, start)

    def _stamp_at(self, cursor: int) -> int:
        batch = self._log.read(cursor, self.end) if cursor < self.end else None
        return int(batch.stamps[0]) if batch is not None and len(batch) else 2**63 - 1
