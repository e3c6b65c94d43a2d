"""The journal on a machine that fails it: files gone, a disk that turns read-only, no descriptor left."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collector.core.config import JournalSettings as Caps
from collector.core.records import RecordKind
from collector.ingest.files import FileLog
from collector.ingest.journal import Journal
from collector.ingest.reserve import Reserve
from collector.ingest.segment import HEADER_SIZE
from tests.disk import small_disk
from tests.unit.test_ingest_journal import Desk, batches, places, rows, segments, until


def filled(tmp_path: Path, **options: object) -> Desk:
    """Twenty messages of three digits in several files; followers have left the head."""
    desk = Desk(tmp_path, segment=500, head_bytes=1, **options).open()
    for n in range(20):
        desk.put(b"%03d" % n + bytes(97))
    return desk


def numbers(desk: Desk) -> list[int]:
    return [int(body[:3]) for kind, _, body in rows(desk.journal) if kind == RecordKind.MESSAGE]


@pytest.mark.timeout(20)
def test_a_file_removed_by_hand_is_said_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = filled(tmp_path)
    gone = segments(desk)[1]
    gone.unlink()
    found = numbers(desk)
    assert found[0] == 0
    assert found[-1] == 19
    assert len(found) < 20
    assert list(batches(desk.journal))[-1].messages == 20  # so many are known to be lost
    [said] = desk.journal.damage
    assert gone.name in said
    assert "gone" in said
    assert said in caplog.text
    desk.journal.close()


@pytest.mark.timeout(20)
def test_the_file_that_is_written_may_be_removed_too(tmp_path: Path) -> None:
    desk = filled(tmp_path)
    segments(desk)[-1].unlink()
    numbers(desk)
    desk.put(b"020")
    assert numbers(desk)[-1] == 20
    desk.reopen()
    assert numbers(desk)[-1] == 20
    desk.journal.close()


@pytest.mark.timeout(20)
def test_a_file_cut_short_by_hand_is_said_and_passed_over(tmp_path: Path) -> None:
    desk = filled(tmp_path)
    file = segments(desk)[1]
    os.truncate(file, file.stat().st_size - 30)
    found = numbers(desk)
    assert len(found) == 19
    assert found[-1] == 19
    assert all(file.name in said for said in desk.journal.damage)
    assert desk.journal.damage
    desk.journal.close()


def test_a_file_that_is_missing_at_the_start_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = filled(tmp_path)
    desk.journal.close()
    before, gone, after = segments(desk)[0:3]
    gone.unlink()
    desk.journal = desk.new()
    desk.open()
    [said] = desk.journal.damage
    assert "missing" in said
    assert before.name in said
    assert after.name in said
    assert said in caplog.text
    desk.journal.close()


def test_a_zeroed_header_is_said_though_the_other_copy_serves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = filled(tmp_path)
    desk.journal.close()
    file = segments(desk)[1]
    file.write_bytes(bytes(HEADER_SIZE // 2) + file.read_bytes()[HEADER_SIZE // 2 :])
    desk.journal = desk.new()
    desk.open()
    assert numbers(desk) == list(range(20))
    [said] = desk.journal.damage
    assert file.name in said
    assert "header" in said
    assert said in caplog.text
    desk.journal.close()


def test_an_end_before_what_was_committed_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    desk = filled(tmp_path)
    committed = desk.journal.end
    desk.journal.close()
    segments(desk)[-1].unlink()
    desk.journal = desk.new()
    desk.open(at_least=committed, messages=20)
    [said] = desk.journal.damage
    assert "newest records are missing" in said
    assert said in caplog.text
    desk.journal.close()


def test_a_sound_journal_says_nothing_however_it_is_opened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(tmp_path, segment=500).open()
    for n in range(4):
        end = desk.journal.end
        for offset, _ in places(desk.journal):
            rows(desk.journal, offset)
        desk.reopen(at_least=end)
        if n % 2:
            desk.put(bytes(300), bytes(300))
    assert desk.journal.damage == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    desk.journal.close()


def test_a_reserve_on_a_disk_that_turned_read_only_shows_as_a_failure(tmp_path: Path) -> None:
    with small_disk(tmp_path / "tiny", "256k") as disk:
        records = FileLog(tmp_path / "journal", Caps())
        journal = Journal(records, Reserve(disk.folder / "reserve", 100_000), lambda packs: None)
        disk.fill()
        journal.open()
        assert journal.full  # the reserve cannot be had
        subprocess.run(["mount", "-o", "remount,ro", str(disk.folder)], check=True)
        until(lambda: journal.failed is not None)
        with pytest.raises(OSError, match=r"[Rr]ead-only"):
            journal.control(RecordKind.WATERMARK, {}, 1).result(5)
        journal.close()


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """In this process, while it lasts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 20, hard))  # noqa: PTH208
    taken: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_a_descriptor_left_it_still_begins_files_and_reads_old_ones(tmp_path: Path) -> None:
    desk = filled(tmp_path)
    with no_descriptor_left():
        for n in range(20, 30):
            desk.put(b"%03d" % n + bytes(97))
        assert numbers(desk) == list(range(30))
        desk.put(b"030")
        assert numbers(desk) == list(range(31))
    assert not desk.journal.crowded
    desk.journal.close()


def test_while_a_write_finds_no_descriptor_nothing_is_acknowledged_and_then_it_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    room = threading.Event()

    def fsync(fd: int) -> None:
        if not room.is_set():
            raise OSError(errno.EMFILE, "too many open files")

    desk = Desk(tmp_path, fsync=fsync).open()
    packs = [desk.append(b"%d" % n) for n in range(5)]
    until(lambda: desk.journal.crowded)
    control = desk.journal.control(RecordKind.HEALTH, {}, 9)
    assert desk.acked == []
    assert desk.journal.failed is None
    room.set()
    control.result(5)
    assert desk.acked == packs
    assert [body for kind, _, body in rows(desk.journal) if kind == 1] == [b"0", b"1", b"2", b"3", b"4"]
    assert not desk.journal.crowded
    assert caplog.text.count("no file descriptor is left") == 1
    desk.journal.close()


def test_a_reader_without_a_descriptor_waits_and_then_reads_on(tmp_path: Path) -> None:
    desk = filled(tmp_path)
    with contextlib.ExitStack() as stack:
        stack.enter_context(no_descriptor_left())
        out = [desk.journal._log._descriptors.open(Path(os.devnull), os.O_RDONLY)]  # type: ignore[attr-defined]
        found: list[int] = []
        reader = threading.Thread(target=lambda: found.extend(numbers(desk)))
        reader.start()
        until(lambda: desk.journal.crowded)
        assert found == []
        for fd in out:
            desk.journal._log._descriptors.close(fd)  # type: ignore[attr-defined]
        reader.join(10)
    assert found == list(range(20))
    assert not desk.journal.crowded
    desk.journal.close()


def test_closing_while_no_descriptor_is_left_does_not_hang(tmp_path: Path) -> None:
    def fsync(fd: int) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    desk = Desk(tmp_path, fsync=fsync).open()
    control = desk.journal.control(RecordKind.WATERMARK, {}, 1)
    until(lambda: desk.journal.crowded)
    desk.journal.close()
    with pytest.raises(OSError, match="descriptor"):
        control.result(5)
