"""Fault 5: the disk fills up under load, stays full, has room again; a collector killed while it is full."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.faults.checks import alerts, balanced, nothing_missing, settled, wait_for
from tests.acceptance.faults.publishers import Load
from tests.bench.rig import Rig
from tests.disk import SmallDisk, small_disk

RULE = "collector-disk-full"
LEFT = 1_000_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", "48m") as found:
        yield found


@pytest.fixture
def rig(tmp_path: Path, disk: SmallDisk) -> Iterator[Rig]:
    env = {"NAGARI_DATA__RESERVE": "2MB", "NAGARI_JOURNAL__SEGMENT_BYTES": "4MB"}
    rig = Rig(tmp_path / "rig", sites=10, rules={}, data=disk.folder / "data", env=env)
    with ExitStack() as stack:
        stack.callback(rig.end)
        rig.broker.start()
        rig.start()
        yield rig


def full(rig: Rig) -> bool:
    """Whether the collector takes nothing in: what it received stands still."""
    before = rig.stats()["received"]
    time.sleep(0.3)
    return bool(rig.stats()["received"] == before)


def test_a_full_disk_stops_acknowledging_alarms_and_goes_on_once_there_is_room(
    rig: Rig, disk: SmallDisk
) -> None:
    load = Load(rig.broker.port, rig.devices, 2500)
    time.sleep(1.0)
    disk.fill(leave=LEFT)
    wait_for("the journal fills the disk", lambda: disk.free < 300_000, 30, every=0.01)
    wait_for("the disk-full alert is active", lambda: alerts(rig, RULE), 5)
    wait_for("nothing more is taken in", lambda: full(rig), 5)
    before = rig.stats()["received"]
    time.sleep(2.0)
    stats = rig.stats()  # it is up, it answers
    assert stats["received"] == before
    assert balanced(stats)
    assert load.number > before + 2000  # meanwhile messages wait at the broker
    disk.empty()
    wait_for("it goes on", lambda: rig.stats()["received"] > before, 10)
    wait_for("the alert clears", lambda: not alerts(rig, RULE), 10)
    acked = load.stop()
    stats = settled(rig, len(acked))
    assert stats["dropped"] == stats["quarantined"] == 0
    rig.stop()
    nothing_missing(rig, acked)


def test_killed_and_started_while_the_disk_is_full_it_goes_on_once_there_is_room(
    rig: Rig, disk: SmallDisk
) -> None:
    load = Load(rig.broker.port, rig.devices, 2500)
    time.sleep(1.0)
    disk.fill(leave=LEFT)
    wait_for("the disk-full alert is active", lambda: alerts(rig, RULE), 30)
    rig.kill()
    rig.start(wait=False)  # on a disk that still is
    time.sleep(3.0)
    disk.empty()
    rig.await_ready(10)
    wait_for("it takes messages in again", lambda: not full(rig), 10)
    acked = load.stop()
    stats = settled(rig, len(acked))
    assert stats["dropped"] == stats["quarantined"] == 0
    assert wait_for("the alert clears", lambda: not alerts(rig, RULE), 10) < 10
    rig.stop()
    nothing_missing(rig, acked)


def test_sigterm_on_a_full_disk_ends_it_in_time_and_loses_nothing(rig: Rig, disk: SmallDisk) -> None:
    load = Load(rig.broker.port, rig.devices, 2500)
    time.sleep(1.0)
    disk.fill(leave=LEFT)
    wait_for("the disk-full alert is active", lambda: alerts(rig, RULE), 30)
    assert rig.stop() < 10
    disk.empty()
    rig.start()
    acked = load.stop()
    stats = settled(rig, len(acked))
    assert stats["dropped"] == stats["quarantined"] == 0
    rig.stop()
    nothing_missing(rig, acked)
