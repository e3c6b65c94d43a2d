"""The journal keeps every acknowledged record through restarts, crashes, damage and bad disks."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core.config import JournalSettings as Caps
from collector.core.records import Batch, RecordKind
from collector.ingest.files import FileLog
from collector.ingest.journal import Journal
from collector.ingest.log import Retention
from collector.ingest.pack import Pack
from collector.ingest.reserve import Reserve
from collector.ingest.segment import HEADER_SIZE, RECORD_SIZE, VersionError
from tests.disk import small_disk
from tests.memorylog import Medium, MemoryLog

S = 10**9
Row = tuple[int, str, bytes]


class Desk:
    """A journal over a log, of files in a folder or in memory, with what it acknowledged."""

    def __init__(self, folder: Path, log: str = "files", **options: object) -> None:
        self.folder = folder
        self.medium = Medium() if log == "memory" else None
        self.acked: list[Pack] = []
        self.segment = int(options.pop("segment", 1 << 20))  # type: ignore[call-overload]
        self.max_bytes = int(options.pop("max_bytes", 1 << 30))  # type: ignore[call-overload]
        self.max_age = float(options.pop("max_age", 1e9))  # type: ignore[arg-type]
        self.fsync: Callable[[int], None] = options.pop("fsync", os.fdatasync)  # type: ignore[assignment]
        self.options = options
        self.journal = self.new()

    def new(self) -> Journal:
        caps = Caps(max_bytes=self.max_bytes, max_age=self.max_age, segment_bytes=self.segment)
        self.folder.mkdir(parents=True, exist_ok=True)
        reserve = Reserve(self.folder / "reserve", 4096)
        files = FileLog(self.folder / "journal", caps, fsync=self.fsync)
        log = MemoryLog(self.medium, caps) if self.medium is not None else files
        return Journal(log, reserve, self.acked.extend, **self.options)  # type: ignore[arg-type]

    def open(self, at_least: int = 0, messages: int = 0) -> Desk:
        self.journal.open(at_least, messages)
        return self

    def reopen(self, at_least: int = 0, messages: int = 0) -> Desk:
        self.journal.close()
        self.journal = self.new()
        return self.open(at_least, messages)

    def append(self, *payloads: bytes, received: int = 1, topic: str = "t") -> Pack:
        n = len(payloads)
        pack = Pack([1] * n, [0] * n, [topic] * n, [*payloads], received, token=object())
        self.journal.append(pack)
        return pack

    def settled(self, pack: Pack) -> None:
        until(lambda: pack in self.acked)

    def put(self, *payloads: bytes, received: int = 1) -> None:
        self.settled(self.append(*payloads, received=received))


def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.002)


def batches(journal: Journal, cursor: int = 0, *, files_only: bool = False) -> Iterator[Batch]:
    """All there is; `files_only`: as a laggard reads it."""
    end = journal.end
    while cursor < end:
        batch = journal._log.read(cursor, end) if files_only else journal.read(cursor)
        assert batch is not None
        assert batch.end > cursor
        yield batch
        cursor = batch.end


def rows(journal: Journal, cursor: int = 0, *, files_only: bool = False) -> list[Row]:
    found = []
    for batch in batches(journal, cursor, files_only=files_only):
        found += list(zip(batch.kinds, batch.topics, batch.payloads, strict=True))
    return found


def places(journal: Journal) -> list[tuple[int, int]]:
    return [
        (offset, stamp)
        for batch in batches(journal)
        for offset, stamp in zip(batch.offsets.tolist(), batch.stamps.tolist(), strict=True)
    ]


def rises(numbers: list[int]) -> bool:
    return all(a < b for a, b in itertools.pairwise(numbers))


@pytest.fixture(params=["files", "memory"])
def desk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Desk]:
    desk = Desk(tmp_path, log=request.param).open()
    yield desk
    desk.journal.close()


def test_what_is_appended_is_read_in_order_after_a_restart_too(desk: Desk) -> None:
    desk.put(b"one", b"two")
    stamp, offset = desk.journal.control(RecordKind.WATERMARK, {"b": 1, "a": 2}, 50).result(5)
    desk.put(b"three", received=40)
    want = [(1, "t", b"one"), (1, "t", b"two"), (5, "", b'{"a":2,"b":1}'), (1, "t", b"three")]
    assert rows(desk.journal) == want
    assert (offset, stamp) == places(desk.journal)[2]
    desk.reopen()
    assert rows(desk.journal) == want
    assert desk.journal.messages == 3


def test_offsets_and_stamps_rise_over_restarts_though_the_clock_steps_back(desk: Desk) -> None:
    for received in (1000 * S, 500 * S, 900 * S, 1):
        desk.put(b"x", b"y", received=received)
        desk.reopen()
    found = places(desk.journal)
    assert len(found) == 8
    assert rises([offset for offset, _ in found])
    assert rises([stamp for _, stamp in found])
    assert desk.journal.stamp == found[-1][1]


def test_an_empty_journal_that_is_opened_again_and_again_keeps_one_file(tmp_path: Path) -> None:
    desk = Desk(tmp_path).open()
    for _ in range(3):
        desk.reopen()
    assert len(list((desk.folder / "journal").iterdir())) == 1
    assert desk.journal.read(0, desk.journal.end) is None
    desk.journal.close()


def test_nothing_is_acknowledged_before_its_fsync_returned(tmp_path: Path) -> None:
    gate, synced = threading.Event(), []

    def fsync(fd: int) -> None:
        gate.wait()
        os.fdatasync(fd)
        synced.append(os.fstat(fd).st_size)

    desk = Desk(tmp_path, fsync=fsync).open()
    first = desk.append(b"one")
    control = desk.journal.control(RecordKind.WATERMARK, {}, 1)
    time.sleep(0.05)
    assert desk.acked == []
    assert not control.done()
    assert desk.journal.read(0, 10**9) is None or rows(desk.journal) == []  # followers see what is durable
    gate.set()
    desk.settled(first)
    control.result(5)
    assert synced
    desk.journal.close()


def test_what_came_while_the_disk_was_busy_shares_one_fsync(tmp_path: Path) -> None:
    entered, gate = threading.Event(), threading.Event()

    def fsync(fd: int) -> None:
        entered.set()
        gate.wait()

    desk = Desk(tmp_path, fsync=fsync).open()
    desk.append(b"first")
    entered.wait()
    packs = [desk.append(b"%d" % n) for n in range(50)]
    gate.set()
    desk.settled(packs[-1])
    assert desk.journal.fsyncs == 2
    assert desk.acked[1:] == packs
    desk.journal.close()


def test_after_a_failed_fsync_nothing_is_acknowledged_any_more(tmp_path: Path) -> None:
    broken = threading.Event()

    def fsync(fd: int) -> None:
        if broken.is_set():
            raise OSError(errno.EIO, "input/output error")

    desk = Desk(tmp_path, fsync=fsync).open()
    desk.put(b"good")
    broken.set()
    lost = desk.append(b"lost")
    until(lambda: desk.journal.failed is not None)
    broken.clear()
    later, control = desk.append(b"later"), desk.journal.control(RecordKind.WATERMARK, {}, 1)
    with pytest.raises(OSError, match="input/output"):
        control.result(5)
    time.sleep(0.05)
    assert lost not in desk.acked
    assert later not in desk.acked
    assert rows(desk.journal) == [(1, "t", b"good")]
    desk.journal.close()


def test_a_control_record_in_a_failed_write_gets_the_error(tmp_path: Path) -> None:
    def fsync(fd: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    desk = Desk(tmp_path, fsync=fsync).open()
    with pytest.raises(OSError, match="input/output"):
        desk.journal.control(RecordKind.WATERMARK, {}, 1).result(5)
    desk.journal.close()


def test_a_waiter_that_gave_up_does_not_stop_the_writer(tmp_path: Path) -> None:
    gate = threading.Event()

    def fsync(fd: int) -> None:
        gate.wait()

    desk = Desk(tmp_path, fsync=fsync).open()
    written: Future[tuple[int, int]] = desk.journal.control(RecordKind.WATERMARK, {}, 1)
    written.cancel()
    gate.set()
    desk.put(b"still here")
    assert rows(desk.journal)[-1] == (1, "t", b"still here")
    desk.journal.close()


def test_a_record_that_cannot_be_encoded_shows_instead_of_hanging_the_writer(tmp_path: Path) -> None:
    desk = Desk(tmp_path).open()
    desk.append(b"x", topic="t" * 70_000)
    until(lambda: desk.journal.failed is not None)
    with pytest.raises(OSError, match="OverflowError"):
        desk.journal.control(RecordKind.WATERMARK, {}, 1).result(5)
    desk.journal.close()


def full_after(limit: int, room: threading.Event) -> Callable[[int], None]:
    """An fsync on a disk of that many bytes, until there is room."""

    def fsync(fd: int) -> None:
        if os.fstat(fd).st_size > limit and not room.is_set():
            raise OSError(errno.ENOSPC, "no space left on device")

    return fsync


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB."""
    with small_disk(tmp_path / "tiny", "256k") as disk:
        yield disk.folder


def test_on_a_full_disk_messages_wait_and_control_records_pass(tiny_disk: Path) -> None:
    desk = Desk(tiny_disk).open()
    ballast = tiny_disk / "ballast"
    desk.put(b"before", received=10)
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    first, second = desk.append(bytes(20_000), received=20), desk.append(b"2", received=30)
    until(lambda: desk.journal.full)
    stamp, _ = desk.journal.control(RecordKind.HEALTH, {"disk_full": True}, 40).result(5)
    assert stamp >= 40
    assert first not in desk.acked
    kinds = [kind for kind, *_ in rows(desk.journal)]
    assert kinds == [1, RecordKind.GAP, RecordKind.HEALTH]  # time did not pass the waiting ones unsaid
    ballast.unlink()
    desk.settled(second)
    assert not desk.journal.full
    assert [len(body) for kind, _, body in rows(desk.journal) if kind == 1] == [6, 20_000, 1]
    assert desk.acked[-2:] == [first, second]
    assert rises([stamp for _, stamp in places(desk.journal)])
    want = rows(desk.journal)
    desk.reopen()
    assert rows(desk.journal) == want
    assert desk.journal.damage == []
    desk.journal.close()


def test_a_reserve_left_by_a_killed_run_counts_as_room(tiny_disk: Path) -> None:
    reserve = Reserve(tiny_disk / "reserve", 100_000)
    assert reserve.hold()
    with (tiny_disk / "ballast").open("wb") as file:
        file.write(bytes(40_000))
    again = Reserve(tiny_disk / "reserve", 100_000)
    assert again.hold()
    again.release()
    assert not (tiny_disk / "reserve").exists()


def test_a_disk_that_refuses_at_fsync_loses_nothing_and_keeps_the_order(tmp_path: Path) -> None:
    room = threading.Event()
    desk = Desk(tmp_path, fsync=full_after(600, room)).open()
    packs = [desk.append(b"%03d" % n + bytes(80)) for n in range(20)]
    until(lambda: desk.journal.full)
    room.set()
    desk.settled(packs[-1])
    assert desk.acked == packs
    assert [body[:3] for _, _, body in rows(desk.journal) if body[:1] != b"{"] == [
        b"%03d" % n for n in range(20)
    ]
    desk.journal.close()


def test_closing_on_a_full_disk_does_not_hang(tmp_path: Path) -> None:
    desk = Desk(tmp_path, fsync=full_after(0, threading.Event())).open()
    desk.append(b"x")
    control = desk.journal.control(RecordKind.WATERMARK, {}, 1)
    until(lambda: desk.journal.full)
    desk.journal.close()
    with pytest.raises(OSError, match=r"full|space"):
        control.result(5)


def test_somebody_elses_full_disk_holds_messages_too(desk: Desk) -> None:
    desk.journal.disk_full()
    pack = desk.append(b"waits a little")
    desk.settled(pack)  # there is room in truth: the reserve is taken back and it goes on
    assert not desk.journal.full


def test_followers_at_the_head_share_one_batch_and_laggards_read_the_same(desk: Desk) -> None:
    cursor = desk.journal.end
    for n in range(30):
        desk.put(*(b"%d-%d" % (n, k) for k in range(n % 4 + 1)))
    while (one := desk.journal.read(cursor)) is not None:
        assert desk.journal.read(cursor) is one
        cursor = one.end
    assert rows(desk.journal) == rows(desk.journal, files_only=True)
    heads = list(batches(desk.journal))
    laggard = list(batches(desk.journal, files_only=True))
    assert heads[-1].messages == laggard[-1].messages == desk.journal.messages
    assert [o for b in heads for o in b.offsets.tolist()] == [o for b in laggard for o in b.offsets.tolist()]
    assert [s for b in heads for s in b.stamps.tolist()] == [s for b in laggard for s in b.stamps.tolist()]


def test_the_head_is_bounded_and_what_left_it_comes_from_files(tmp_path: Path) -> None:
    desk = Desk(tmp_path, head_bytes=3000, segment=4000).open()
    want = [bytes([n]) * 200 for n in range(60)]
    for body in want:
        desk.put(body)
    assert desk.journal._head._size <= 3000
    assert [body for _, _, body in rows(desk.journal)] == want
    desk.journal.close()


def test_a_cursor_in_the_middle_of_a_batch_reads_on_from_there_up_to_any_records_edge(desk: Desk) -> None:
    desk.put(*(b"%d" % n for n in range(10)))
    offsets = [offset for offset, _ in places(desk.journal)]
    assert [body for _, _, body in rows(desk.journal, offsets[4])] == [b"%d" % n for n in range(4, 10)]
    batch = desk.journal.read(offsets[2], offsets[5])
    assert batch is not None
    assert (batch.payloads, batch.end, batch.messages) == ([b"2", b"3", b"4"], offsets[5], 5)


def test_waiting_ends_when_something_comes(desk: Desk) -> None:
    end = desk.journal.end
    assert desk.journal.wait(end, 0.01) is False
    threading.Timer(0.05, desk.append, [b"x"]).start()
    assert desk.journal.wait(end, 5) is True


def test_opening_at_least_somewhere_never_writes_below(tmp_path: Path) -> None:
    desk = Desk(tmp_path).open()
    desk.put(b"old")
    shutil.rmtree(tmp_path / "journal")
    desk.reopen(at_least=1_000_000, messages=77)
    desk.put(b"new")
    assert all(offset >= 1_000_000 for offset, _ in places(desk.journal))
    assert desk.journal.messages == 78
    batch = next(batches(desk.journal))
    assert (len(batch), batch.messages) == (0, 77)
    desk.journal.close()


def segments(desk: Desk) -> list[Path]:
    return sorted((desk.folder / "journal").glob("*.seg"))


def test_the_size_cap_drops_the_oldest_though_unread_and_what_is_gone_is_counted(tmp_path: Path) -> None:
    keep = Retention(needed=lambda: 10**12, read=lambda: 0)
    desk = Desk(tmp_path, segment=1000, max_bytes=5000, retention=keep, head_bytes=1).open()
    for n in range(100):
        desk.put(b"%03d" % n + bytes(97))
    assert desk.journal.dropped_segments > 0
    assert desk.journal.size <= 5000 + 2000
    assert desk.journal.first > 0
    found = list(batches(desk.journal))
    assert len(found[0]) == 0
    here = sum(len(batch) for batch in found)
    assert found[0].messages == 100 - here  # so many are gone
    assert found[-1].messages == 100
    desk.journal.close()


@pytest.mark.parametrize("needed", [None, 0])
def test_what_alarming_needs_is_never_dropped(tmp_path: Path, needed: int | None) -> None:
    keep = Retention(needed=lambda: needed, read=lambda: 10**12)
    desk = Desk(tmp_path, segment=1000, max_bytes=2000, max_age=0.001, retention=keep).open()
    for n in range(50):
        desk.put(bytes(100), received=n * S)
    assert desk.journal.first == 0
    assert desk.journal.dropped_segments == 0
    desk.journal.close()


@pytest.mark.parametrize(("read", "dropped"), [(10**12, True), (0, False), (None, False)])
def test_the_age_cap_drops_what_was_read_and_only_that(
    tmp_path: Path, read: int | None, dropped: bool
) -> None:
    keep = Retention(needed=lambda: 10**12, read=lambda: read)
    desk = Desk(tmp_path, segment=1000, max_age=20, retention=keep, head_bytes=1).open()
    for n in range(100):
        desk.put(bytes(100), received=n * S)
    assert (desk.journal.first > 0) is dropped
    assert desk.journal.dropped_segments == 0
    if dropped:
        stamps = [stamp for _, stamp in places(desk.journal)]
        assert min(stamps) >= (100 - 20 - 20) * S
        assert desk.journal.messages == 100
    desk.journal.close()


def test_what_the_head_still_holds_of_a_dropped_file_is_not_counted_as_lost(tmp_path: Path) -> None:
    keep = Retention(needed=lambda: 10**12, read=lambda: 10**12)
    desk = Desk(tmp_path, segment=1000, max_bytes=2000, retention=keep).open()
    for n in range(100):
        desk.put(b"%d" % n + bytes(100))
    assert desk.journal.first > 0
    before = 0
    for batch in batches(desk.journal):
        assert batch.messages in (-1, before + len(batch))
        before += len(batch)
    assert before == 100
    desk.journal.close()


def damage(path: Path, at: int, bits: int = 1) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ bits]))


def test_messages_lost_to_damage_are_counted_in_what_follows(tmp_path: Path) -> None:
    desk = Desk(tmp_path, segment=1000, head_bytes=1).open()
    for n in range(40):
        desk.put(b"%03d" % n + bytes(97))
    desk.journal.close()
    files = segments(desk)
    damage(files[1], HEADER_SIZE + RECORD_SIZE + 5)  # one record in its midst
    damage(files[2], files[2].stat().st_size - 3)  # its last record
    files[3].unlink()  # one whole file
    desk.journal = desk.new()
    desk.open()
    seen, ever = 0, 0
    for batch in batches(desk.journal):
        seen += len(batch)
        if batch.messages >= 0:
            assert batch.messages >= ever
            ever = batch.messages
    assert ever == desk.journal.messages == 40
    per_file = 1000 // (100 + RECORD_SIZE + 1) + 1
    assert 40 - seen == 2 + per_file - 1 or 40 - seen == 2 + per_file
    assert len(desk.journal.damage) == 3
    desk.journal.close()


def test_a_segment_without_a_readable_header_is_lost_alone_and_said(tmp_path: Path) -> None:
    desk = Desk(tmp_path, segment=500, head_bytes=1).open()
    for n in range(20):
        desk.put(b"%03d" % n + bytes(97))
    desk.journal.close()
    file = segments(desk)[1]
    file.write_bytes(bytes(HEADER_SIZE) + file.read_bytes()[HEADER_SIZE:])
    desk.journal = desk.new()
    desk.open()
    found = list(batches(desk.journal))
    assert found[-1].messages == 20
    assert 0 < sum(map(len, found)) < 20
    assert "damaged" in desk.journal.damage[0]
    desk.put(b"goes on")
    assert desk.journal.messages == 21
    desk.journal.close()


def test_a_torn_tail_is_cut_off_at_every_byte(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "one").open()
    for n in range(4):
        desk.put(b"%d" % n * 9)
    desk.journal.close()
    [file] = segments(desk)
    whole = file.read_bytes()
    record = (len(whole) - HEADER_SIZE) // 4
    for length in range(len(whole)):
        other = Desk(tmp_path / "two" / str(length))
        (other.folder / "journal").mkdir(parents=True)
        (other.folder / "journal" / file.name).write_bytes(whole[:length])
        other.open()
        kept = max(0, length - HEADER_SIZE) // record
        assert [body for _, _, body in rows(other.journal)] == [b"%d" % n * 9 for n in range(kept)]
        assert other.journal.messages == kept
        other.put(b"new")
        assert len(rows(other.journal)) == kept + 1
        other.journal.close()


def test_a_journal_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    desk = Desk(tmp_path).open()
    desk.put(b"x")
    desk.journal.close()
    [file] = segments(desk)
    data = bytearray(file.read_bytes())
    half = HEADER_SIZE // 2
    data[7] = 99
    data[half - 4 : half] = crc32(data[: half - 4]).to_bytes(4, "little")
    data[half:HEADER_SIZE] = data[:half]
    file.write_bytes(data)
    with pytest.raises(VersionError):
        desk.new().open()
    assert file.read_bytes() == data


STEP = st.one_of(
    st.tuples(st.just("append"), st.lists(st.binary(max_size=120), min_size=1, max_size=4)),
    st.tuples(st.just("control"), st.integers(0, 9)),
    st.tuples(st.just("reopen"), st.none()),
    st.tuples(st.just("crash"), st.binary(max_size=80)),
    st.tuples(st.just("back"), st.integers(1, 10**12)),
)


@settings(max_examples=30, deadline=None)
@given(log=st.sampled_from(["files", "memory"]), steps=st.lists(STEP, max_size=14), seed=st.integers(0, 999))
def test_a_journal_is_a_list_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, log: str, steps: list[tuple[str, object]], seed: int
) -> None:
    """The model: what was acknowledged is there, once, in order; a crash may add nothing and take nothing."""
    root, rng, now = tmp_path_factory.mktemp("model"), random.Random(seed), 10**15
    desk, model, lives = Desk(root / "0", log, segment=400, head_bytes=600).open(), list[Row](), 0
    for what, with_ in steps:
        now += 1000
        if what == "append":
            assert isinstance(with_, list)
            desk.put(*with_, received=now)
            model += [(1, "t", body) for body in with_]
        elif what == "control":
            desk.journal.control(RecordKind.HEALTH, {"n": with_}, now).result(10)
            model.append((6, "", b'{"n":%d}' % with_))
        elif what == "back":
            assert isinstance(with_, int)
            now -= with_
        elif what == "reopen" or log == "memory":
            desk.reopen()
        else:
            assert isinstance(with_, bytes)
            lives += 1
            crashed = Desk(root / str(lives), segment=400, head_bytes=600)
            shutil.copytree(desk.folder / "journal", crashed.folder / "journal")
            desk.journal.close()
            last = segments(crashed)[-1]
            torn = with_ if rng.random() < 0.5 else last.read_bytes()[HEADER_SIZE:][: len(with_)][:-1]
            last.write_bytes(last.read_bytes() + (torn if len(torn) < RECORD_SIZE else torn[:30]))
            desk = crashed.open()
        assert rows(desk.journal) == model
    assert rows(desk.journal, files_only=True) == model
    found = places(desk.journal)
    assert rises([offset for offset, _ in found])
    assert rises([stamp for _, stamp in found])
    assert desk.journal.messages == sum(kind == 1 for kind, *_ in model)
    desk.journal.close()
