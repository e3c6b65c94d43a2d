"""A snapshot is there whole or not at all; a bad one is passed over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collector.core.bundle import Writable
from collector.core.config import JournalSettings as Caps
from collector.ingest.files import FileLog
from collector.state import Snapshots, State


def file_of(folder: Path, offset: int) -> Path:
    [found] = folder.glob(f"alarming-{offset:020d}*")
    return found


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    return Snapshots(tmp_path / "snapshots")


def test_there_is_none_at_first(snapshots: Snapshots) -> None:
    assert snapshots.newest("alarming") is None
    assert snapshots.floor() is None


def test_the_newest_is_given_or_the_newest_before_an_offset(snapshots: Snapshots) -> None:
    for offset in (100, 0, 200):
        snapshots.save("alarming", offset, b"state at %d" % offset)
    assert snapshots.newest("alarming") == (200, b"state at 200")
    assert snapshots.newest("alarming", 200) == (200, b"state at 200")
    assert snapshots.newest("alarming", 199) == (100, b"state at 100")
    assert snapshots.newest("alarming", 50) == (0, b"state at 0")
    assert snapshots.newest("storing") is None


def test_only_the_newest_few_are_kept(snapshots: Snapshots, tmp_path: Path) -> None:
    for offset in range(10):
        snapshots.save("alarming", offset, b"x")
    assert snapshots.newest("alarming", 7) == (7, b"x")
    assert snapshots.newest("alarming", 6) is None
    assert len(list((tmp_path / "snapshots").iterdir())) == 3


def test_a_snapshot_saved_again_is_replaced(snapshots: Snapshots) -> None:
    snapshots.save("alarming", 5, b"first")
    snapshots.save("alarming", 5, b"second")
    assert snapshots.newest("alarming") == (5, b"second")


def test_an_empty_and_a_large_payload_come_back(snapshots: Snapshots) -> None:
    snapshots.save("alarming", 1, b"")
    assert snapshots.newest("alarming") == (1, b"")
    large = bytes(range(256)) * 4096
    snapshots.save("alarming", 2, large)
    assert snapshots.newest("alarming") == (2, large)


def test_one_that_is_written_in_pieces_is_one_piece_when_read(snapshots: Snapshots) -> None:
    snapshots.save("alarming", 1, lambda out: [out.write(bytes([n]) * n) for n in range(200)] and None)
    assert snapshots.newest("alarming") == (1, b"".join(bytes([n]) * n for n in range(200)))


def test_what_fails_while_it_is_written_leaves_the_one_before(snapshots: Snapshots, tmp_path: Path) -> None:
    snapshots.save("alarming", 1, b"good")

    def fail(out: Writable) -> None:
        out.write(b"half")
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        snapshots.save("alarming", 2, fail)
    assert snapshots.newest("alarming") == (1, b"good")


def test_one_torn_at_any_byte_is_passed_over(snapshots: Snapshots, tmp_path: Path) -> None:
    snapshots.save("alarming", 1, b"good")
    snapshots.save("alarming", 2, b"torn later")
    file = file_of(tmp_path / "snapshots", 2)
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        assert snapshots.newest("alarming") == (1, b"good"), length
    file.write_bytes(whole + b"x")
    assert snapshots.newest("alarming") == (1, b"good")


def test_one_with_any_bit_flipped_is_passed_over(snapshots: Snapshots, tmp_path: Path) -> None:
    snapshots.save("alarming", 1, b"good")
    snapshots.save("alarming", 2, b"flipped")
    file = file_of(tmp_path / "snapshots", 2)
    whole = file.read_bytes()
    for bit in range(8 * len(whole)):
        bad = bytearray(whole)
        bad[bit // 8] ^= 1 << bit % 8
        file.write_bytes(bad)
        assert snapshots.newest("alarming") == (1, b"good"), bit


def test_one_given_another_offset_by_renaming_is_passed_over(snapshots: Snapshots, tmp_path: Path) -> None:
    snapshots.save("alarming", 1, b"good")
    file = file_of(tmp_path / "snapshots", 1)
    file.rename(file.with_name(file.name.replace("1.", "9.")))
    assert snapshots.newest("alarming") is None


def test_a_half_written_one_is_no_snapshot(snapshots: Snapshots, tmp_path: Path) -> None:
    snapshots.save("alarming", 1, b"good")
    (tmp_path / "snapshots" / "alarming.part").write_bytes(b"half")
    assert snapshots.newest("alarming") == (1, b"good")
    snapshots.save("alarming", 2, b"whole")
    assert snapshots.newest("alarming") == (2, b"whole")
    assert not list((tmp_path / "snapshots").glob("*.part"))


def test_the_floor_is_the_smallest_second_newest(snapshots: Snapshots, tmp_path: Path) -> None:
    snapshots.save("alarming", 100, b"x")
    assert snapshots.floor() is None
    snapshots.save("alarming", 200, b"x")
    assert snapshots.floor() == 100
    snapshots.save("decoding", 50, b"x")
    assert snapshots.floor() is None
    snapshots.save("decoding", 80, b"x")
    assert snapshots.floor() == 50
    snapshots.save("decoding", 300, b"x")
    assert snapshots.floor() == 80
    snapshots.save("decoding", 400, b"x")
    assert snapshots.floor() == 100


def test_a_bad_one_does_not_count_for_the_floor(snapshots: Snapshots, tmp_path: Path) -> None:
    for offset in (100, 200, 300):
        snapshots.save("alarming", offset, b"xyz")
    assert snapshots.floor() == 200
    file = file_of(tmp_path / "snapshots", 300)
    file.write_bytes(file.read_bytes()[:-1])
    assert snapshots.floor() == 100


@pytest.mark.parametrize(
    ("follower", "offset"), [("../x", 1), ("A", 1), ("", 1), ("alarming", -1), ("a-b", 1)]
)
def test_a_bad_name_is_refused(snapshots: Snapshots, follower: str, offset: int) -> None:
    with pytest.raises(ValueError):
        snapshots.save(follower, offset, b"x")


def test_snapshots_state_and_journal_are_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        Snapshots(tmp_path / "data" / "snapshots").save("alarming", 10, b"x")
        State(tmp_path / "fresh" / "state.db").close()
        log = FileLog(tmp_path / "fresh" / "journal", Caps())
        log.open()
        log.close()
    finally:
        os.umask(before)
    folders = [tmp_path / "data" / "snapshots", tmp_path / "fresh", tmp_path / "fresh" / "journal"]
    files = [path for folder in folders for path in folder.iterdir() if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert len(files) == 3
