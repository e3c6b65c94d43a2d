"""Snapshots are due now and then, large ones are written behind the follower, and failing is no end."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from collector.core.bundle import unpack
from collector.core.roster import Part
from collector.followers.saving import AT_ONCE, Saver
from collector.state.snapshots import Snapshots

SMALL = Part({"n": 1}, {"a": np.arange(3)})
LARGE = Part({"n": 2}, {"a": np.zeros(AT_ONCE + 1, np.uint8)})


class Slow(Snapshots):
    """Writes when it is let."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.go = threading.Event()

    def save(self, *arguments, **more) -> None:
        self.go.wait(10)
        super().save(*arguments, **more)


def test_one_is_due_after_so_many_messages(tmp_path: Path) -> None:
    saver = Saver(Snapshots(tmp_path), "storing", 100)
    saver.begin(1000)
    assert [saver.due(n) for n in (1000, 1099, 1100)] == [False, False, True]
    saver.save(7, "form", SMALL, 1100)
    assert not saver.due(1100)


def test_a_small_one_is_there_at_once(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    Saver(snapshots, "storing", 100).save(7, "form", SMALL, 0)
    found = snapshots.newest("storing")
    assert found is not None
    head, columns = unpack("form", found[1])
    assert (found[0], head, columns["a"].tolist()) == (7, {"n": 1}, [0, 1, 2])


def test_a_large_one_is_written_behind_and_none_is_due_meanwhile(tmp_path: Path) -> None:
    snapshots = Slow(tmp_path)
    saver = Saver(snapshots, "alarming", 1)
    saver.save(7, "form", LARGE, 0)
    assert snapshots.newest("alarming") is None
    assert not saver.due(10**6)
    snapshots.go.set()
    saver.finish()
    found = snapshots.newest("alarming")
    assert found is not None
    assert unpack("form", found[1])[0] == {"n": 2}


def test_one_that_cannot_be_written_is_told_and_the_next_is_tried(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "snapshots").write_text("no folder")
    saver = Saver(Snapshots(tmp_path / "snapshots"), "storing", 1)
    saver.save(7, "form", SMALL, 0)
    assert "no snapshot could be saved" in caplog.text
    (tmp_path / "snapshots").unlink()
    saver.save(8, "form", SMALL, 0)
    assert Snapshots(tmp_path / "snapshots").newest("storing") is not None
