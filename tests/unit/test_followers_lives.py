"""However often the collector dies, its store, its accounts and its alerts end as if it had never died."""

from __future__ import annotations

import json
import random
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.core.config import JournalSettings as Caps
from collector.core.readings import SeriesKey, SeriesTable
from collector.core.records import Action, Batch, RecordKind
from collector.followers.alarming import Alarming
from collector.followers.storing import Storing
from collector.followers.versions import Versions
from collector.ingest.decode import Decoder
from collector.ingest.files import FileLog
from collector.ingest.journal import Journal
from collector.ingest.log import RecordColumns
from collector.ingest.pack import Pack
from collector.ingest.reserve import Reserve
from collector.state import State
from collector.state.snapshots import Snapshots
from collector.store.base import Ledger
from collector.store.duckdb import open_store
from devices.region import content_hash, read_folder
from simulators.regions import write_region
from tests.memorylog import Medium, MemoryLog

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
S = 10**9
NOW = 1_764_000_000 * S
RULES = b"""
[[rule]]
name = "slow"
select = { kind = "router", metric = "latency_ms" }
when = { above = 300.0, clear_below = 250.0 }
severity = "warning"
summary = { id = "{value}", en = "{value}" }

[[rule]]
name = "loss"
select = { kind = "router", metric = "loss_pct" }
when = { above = 5.0, for = "7s", keep = "9s" }
severity = "major"
summary = { id = "{value}", en = "{value}" }

[[rule]]
name = "silent"
select = { kind = "router" }
when = { absent = "40s" }
severity = "major"
summary = { id = "{limit}", en = "{limit}" }
"""


class Tape:
    """A real journal with a story on it, and the region that it speaks of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_region(folder / "region", 3, ("router", "ont"), rules={"rules/r.toml": RULES})
        self.files = read_folder(folder / "region")
        self.acked: list[Pack] = []
        log = FileLog(folder / "journal", Caps(segment_bytes=6000))
        self.journal = Journal(log, Reserve(folder / "reserve", 4096), self.acked.extend)
        self.journal.open()
        self.rng = random.Random(5)
        self.now = NOW
        self.sent: list[tuple[str, bytes]] = []

    def message(self, topic: str, body: object, flags: int = 0) -> None:
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.sent.append((topic, payload))
        pack = Pack([1], [flags], [topic], [payload], self.now, token=object())
        self.journal.append(pack)
        while pack not in self.acked:
            time.sleep(0.0005)

    def control(self, kind: RecordKind, body: dict[str, object]) -> None:
        self.journal.control(kind, body, self.now).result(10)

    def tell(self, steps: int) -> None:
        """A story of readings good and bad, late, doubled and refused, of gaps, silence and operators."""
        rng = self.rng
        for _ in range(steps):
            self.now += rng.choice([S // 10, S, 3 * S, 3 * S, 10 * S, 45 * S])
            site = f"00000{rng.randrange(3)}"
            at = f"nagari/v1/load-{site}/router-{site}-0/"
            match rng.randrange(16):
                case 0:
                    self.message(at + "state", rng.choice([b"online", b"offline"]), rng.choice([0, 1]))
                case 1:
                    self.message(at + "event", {"event": "dying_gasp", "ts": rng.randrange(3)})
                case 2:
                    self.message(*rng.choice(self.sent or [(at + "tele", b"x")]), 2)
                case 3:
                    self.message(at + "tele", rng.choice([b"x", b"{}", b'{"values":{"latency_ms":null}}']))
                case 4:
                    self.control(RecordKind.WATERMARK, {})
                case 5:
                    self.control(RecordKind.GAP, {"from": self.now - 2 * S, "why": "a test"})
                case 6:
                    self.control(RecordKind.HEALTH, {"disk_full": rng.random() < 0.5, "store_lag_s": 1.5})
                case 7:
                    action = Action(f"a{self.now}", "ack", "no-such", "budi", "seen")
                    self.control(RecordKind.ACTION, asdict(action))
                case 8:
                    self.message(at.replace("router", "made-up") + "tele", self._values())
                case 9:
                    past = (self.now - rng.choice([70, 90, 3600]) * S) // 10**6
                    self.message(at + "tele", {"ts": past, **self._values()})
                case 10:
                    many = [{"ts": (self.now - n * S) // 10**6, **self._values()} for n in (2, 1, 0)]
                    self.message(at + "tele", many)
                case 11:
                    self.message(at + "tele", {"seq": rng.randrange(99), **self._values()})
                case _:
                    self.message(at + "tele", {"ts": self.now // 10**6, **self._values()})

    def _values(self) -> dict[str, Any]:
        latency = self.rng.choice([10, 20, 400, 500])
        return {"values": {"latency_ms": latency, "loss_pct": self.rng.choice([0, 0, 9])}}


class Tap:
    """The journal for one life: after so many batches whoever reads on is gone, as by SIGKILL.

    Where the life ends `well`, the journal seems to end there, and the follower is stopped in order.
    """

    def __init__(self, journal: Journal, lifetime: int, fresh: dict[int, Batch], well: bool) -> None:
        self._well = well
        self._journal = journal
        self._fresh = fresh
        self._left = lifetime
        self.dried = self.dead = False
        self.full = False
        self.first = journal.first
        self.end = journal.end

    def read(self, cursor: int, until: int | None = None) -> Batch | None:
        batch = self._journal.read(cursor, until)
        if batch is not None:  # what an earlier life decoded died with it
            fresh = replace(batch, shared=None, lock=threading.Lock())
            batch = self._fresh.setdefault(cursor, fresh) if until is None else fresh
        if until is not None:  # recovery is no part of the count
            return batch
        if batch is None:
            self.dried = True
        elif self.dead or self._left == 0:
            if not self._well:
                raise SystemExit
            self.dried = True
            return None
        else:
            self._left -= 1
        return batch

    def wait(self, cursor: int, seconds: float) -> bool:
        if self.dead:
            raise SystemExit
        return self._journal.wait(cursor, min(seconds, 0.01))


@dataclass(repr=False)
class End:
    """What a collector has to show for itself."""

    points: dict[SeriesKey, list[tuple[int, float]]]
    ledger: Ledger
    rejects: list[tuple[int, str]]
    lasts: set[tuple[Any, ...]]
    transitions: list[dict[str, Any]]
    cursor: int
    alerts: set[str]
    presence: dict[str, bool]


class Collector:
    """Storing and alarming over the real store and the real state.db, without a network."""

    def __init__(self, folder: Path, tape: Tape) -> None:
        self.folder = folder
        self.tape = tape

    def live(self, lifetime: int = 10**9, *, well: bool = True, every: int = 10**9) -> End | None:
        """One life. It ends at its last batch, as by SIGKILL; or, `well`, as by SIGTERM."""
        state = State(self.folder / "state.db")
        versions, table = Versions(state, self.tape.files), SeriesTable()
        store = open_store("duckdb:", self.folder, table, 64_000_000)
        snapshots = Snapshots(self.folder / "snapshots")
        decoder = Decoder(table, versions.region)
        fresh: dict[int, Batch] = {}
        taps = tuple(Tap(self.tape.journal, lifetime, fresh, well) for _ in range(2))
        s = Storing(
            taps[0],  # type: ignore[arg-type]
            store,
            decoder,
            table,
            snapshots,
            versions,
            snapshot_messages=every,
        )
        a = Alarming(
            taps[1],  # type: ignore[arg-type]
            state,
            decoder,
            table,
            snapshots,
            versions,
            lambda rows: None,
            snapshot_messages=every,
        )
        try:
            s.start()
            a.start()
            for tap, thread in zip(taps, (s.thread, a.thread), strict=True):
                while thread.is_alive() and not tap.dried:
                    time.sleep(0.002)
            if not (taps[0].dried and taps[1].dried):
                for tap in taps:
                    tap.dead = True
                s.thread.join()
                a.thread.join()
                assert (s.failed, a.failed) == (None, None)
                return None
            s.stop()
            a.stop()
            assert (s.failed, a.failed) == (None, None)
            lasts = s.lasts.all()
            return End(
                {
                    key: rows
                    for key in sorted(table.keys)
                    if (rows := store.points(key, 0, 2**62, None, "mean", 9999))
                },
                s.ledger,
                [(reject.offset, reject.reason) for reject in store.rejects(1000)],
                set(
                    zip(*table.names_of(lasts.series), lasts.time.tolist(), lasts.value.tolist(), strict=True)
                ),
                [row.body() for row in state.decisions(0, 10**6)],
                state.cursor(),
                set(a.course.alerts),
                a.course.presence,
            )
        finally:
            store.close()
            state.close()


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tape]:
    tape = Tape(tmp_path_factory.mktemp("tape"))
    tape.control(RecordKind.REGION, {"hash": content_hash(tape.files)})
    tape.tell(150)
    yield tape
    tape.journal.close()


@pytest.fixture(scope="module")
def undisturbed(tape: Tape, tmp_path_factory: pytest.TempPathFactory) -> End:
    end = Collector(tmp_path_factory.mktemp("undisturbed"), tape).live()
    assert end is not None
    return end


def same(one: End, other: End) -> None:
    for name in End.__dataclass_fields__:
        got, want = getattr(one, name), getattr(other, name)
        if got != want and isinstance(want, list):
            at = next((n for n, pair in enumerate(zip(got, want, strict=False)) if pair[0] != pair[1]), -1)
            pytest.fail(f"{name}: {len(got)} for {len(want)}; from {at} on {got[at]} for {want[at]}")
        assert got == want, name


def test_the_story_has_something_of_everything(tape: Tape, undisturbed: End) -> None:
    ledger = undisturbed.ledger
    assert min(ledger.stored, ledger.duplicate, ledger.quarantined, ledger.values) > 3
    assert ledger.dropped == 0
    assert ledger.messages == tape.journal.messages
    assert ledger.stored + ledger.duplicate + ledger.quarantined == ledger.messages
    assert len(undisturbed.rejects) == ledger.quarantined
    assert undisturbed.cursor == ledger.cursor == tape.journal.end
    kinds = {body["kind"] for body in undisturbed.transitions}
    assert {"pending", "raised", "cleared", "refused"} <= kinds


LIVES = st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=6)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lives=LIVES, every=st.sampled_from([1, 7, 10**9]), spoil=st.sampled_from(["", "", "snapshots"]))
def test_after_any_lives_all_is_as_if_there_had_been_one(
    tape: Tape,
    undisturbed: End,
    tmp_path_factory: pytest.TempPathFactory,
    lives: list[tuple[int, bool]],
    every: int,
    spoil: str,
) -> None:
    collector = Collector(tmp_path_factory.mktemp("lives"), tape)
    for lifetime, well in lives:
        collector.live(lifetime, well=well, every=every)
        if spoil:
            shutil.rmtree(collector.folder / spoil, ignore_errors=True)
    end = collector.live(every=every)
    assert end is not None
    same(end, undisturbed)


def test_killed_at_every_single_batch(tape: Tape, undisturbed: End, tmp_path: Path) -> None:
    """Each life takes in one batch more than the last one committed, and some snapshots are taken."""
    collector = Collector(tmp_path, tape)
    for life in range(25):
        collector.live(3 + life % 5, well=life % 3 == 0, every=2)
    end = collector.live(every=2)
    assert end is not None
    same(end, undisturbed)


def test_a_store_set_aside_is_filled_anew(tape: Tape, undisturbed: End, tmp_path: Path) -> None:
    collector = Collector(tmp_path, tape)
    collector.live(60, well=True, every=5)
    for file in tmp_path.glob("readings.duckdb*"):
        file.write_bytes(b"no database at all" * 1000)
    end = collector.live(every=5)
    assert end is not None
    same(end, undisturbed)


def test_a_damaged_snapshot_is_passed_over(tape: Tape, undisturbed: End, tmp_path: Path) -> None:
    collector = Collector(tmp_path, tape)
    collector.live(60, well=True, every=5)
    for file in (tmp_path / "snapshots").iterdir():
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    end = collector.live(every=5)
    assert end is not None
    same(end, undisturbed)


def numbered_anew(end: End) -> End:
    """Without what follows from the offsets themselves: their numbers, and the ids of alerts made of them."""
    ledger = replace(end.ledger, cursor=0)
    rejects = [(0, reason) for _, reason in end.rejects]
    return replace(end, ledger=ledger, rejects=rejects, cursor=0, alerts={f"{len(end.alerts)} of them"})


def test_offsets_that_are_no_bytes_and_leave_gaps_change_nothing(
    tape: Tape, undisturbed: End, tmp_path: Path
) -> None:
    medium, cursor = Medium(), 0
    records = MemoryLog(medium, Caps())
    reserve = Reserve(tmp_path / "reserve", 4096)
    while (batch := tape.journal.read(cursor)) is not None:
        columns = RecordColumns(batch.kinds, batch.flags, batch.topics, batch.payloads, batch.stamps)
        records.write(columns)
        cursor = batch.end
    other = Tape.__new__(Tape)
    other.files = tape.files
    other.journal = Journal(MemoryLog(medium, Caps()), reserve, lambda packs: None)
    other.journal.open()
    collector = Collector(tmp_path, other)
    for life in range(6):
        collector.live(20 + life, well=life % 2 == 0, every=3)
    end = collector.live(every=5)
    other.journal.close()
    assert end is not None
    assert end.cursor == records.end > undisturbed.cursor
    same(numbered_anew(end), numbered_anew(undisturbed))


def test_read_from_files_in_large_batches_it_is_the_same(
    tape: Tape, undisturbed: End, tmp_path: Path
) -> None:
    copied = tmp_path / "tape"
    shutil.copytree(tape.journal.durable_files()[0][0].parent, copied / "journal")
    other = Tape.__new__(Tape)
    other.files = tape.files
    other.journal = Journal(
        FileLog(copied / "journal", Caps()), Reserve(copied / "reserve", 4096), lambda packs: None
    )
    other.journal.open()
    end = Collector(tmp_path, other).live()
    other.journal.close()
    assert end is not None
    cursor = undisturbed.cursor
    assert end.cursor >= cursor  # a new segment's header may lie between
    end.cursor, end.ledger.cursor = cursor, cursor
    same(end, undisturbed)


def test_a_journal_that_lost_its_beginning_is_said(
    tape: Tape, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copied = tmp_path / "tape"
    shutil.copytree(tape.journal.durable_files()[0][0].parent, copied / "journal")
    Collector(tmp_path, tape).live(60, well=True, every=5)
    for file in sorted((copied / "journal").iterdir())[:-1]:
        file.unlink()
    other = Tape.__new__(Tape)
    other.files = tape.files
    log = FileLog(copied / "journal", Caps())
    other.journal = Journal(log, Reserve(copied / "reserve", 4096), lambda packs: None)
    other.journal.open()
    Collector(tmp_path, other).live()
    other.journal.close()
    assert "what lay between is lost" in caplog.text
