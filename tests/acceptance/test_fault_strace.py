"""Fault 2: every PUBACK leaves after the fdatasync that covers its message's journal write."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.faults.checks import nothing_missing, settled
from tests.acceptance.faults.publishers import Load
from tests.acceptance.faults.trace import Call, Story, Strace, calls
from tests.bench.rig import Rig

COUNT = 1500


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path, sites=10, rules={})
    rig.broker.start()
    try:
        rig.start()
        yield rig
    finally:
        rig.end()


def test_every_puback_is_sent_after_the_fdatasync_that_covers_its_message(rig: Rig, tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.fail("strace is not installed: `make servers`")
    trace = Strace(rig.pid, tmp_path / "trace")
    acked = Load(rig.broker.port, rig.devices, 800, count=COUNT).join()
    settled(rig, COUNT)
    lines = trace.end()
    story = Story(rig.broker.port)
    for call in calls(lines):
        story.tell(call)
    assert story.heard == COUNT
    assert story.acked == COUNT
    assert 0 < story.syncs < COUNT  # and they are group commits
    assert story.early == []
    rig.stop()
    nothing_missing(rig, acked)


def test_the_judge_sees_a_puback_that_left_before_its_sync_was_over() -> None:
    publish = b"\x32\x09\x00\x03a/b\x00\x07\x00!"
    socket, file, puback = "TCP:[127.0.0.1:5->127.0.0.1:1883]", "/journal/0.seg", b"\x40\x02\x00\x07"

    def early(*order: Call) -> int:
        story = Story(1883)
        for call in (Call("read", socket, publish, len(publish)), Call("write", file, b"!", 1), *order):
            story.tell(call)
        return len(story.early)

    begins, ends = Call("fdatasync", file, b"", None), Call("fdatasync", file, b"", 0)
    sends, late = Call("write", socket, puback, None), Call("write", file, b"!", 1)
    assert early(begins, ends, sends) == 0
    assert early(begins, sends, ends) == 1
    assert early(sends, begins, ends) == 1
    assert early(begins, Call("fdatasync", file, b"", -5), sends) == 1
    assert early(late, begins, ends, sends) == 0
