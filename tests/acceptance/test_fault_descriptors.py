"""Idle connections take every file descriptor of the collector: the journal goes on, with new files too."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.faults.checks import nothing_missing, settled, wait_for
from tests.acceptance.faults.publishers import Load
from tests.bench.rig import HOST, Rig

SEGMENT = 200_000


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    env = {"NAGARI_JOURNAL__SEGMENT_BYTES": f"{SEGMENT // 1000}kB"}
    rig = Rig(tmp_path / "rig", sites=10, rules={}, env=env)
    with ExitStack() as stack:
        stack.callback(rig.end)
        rig.broker.start()
        rig.start()
        yield rig


def descriptors(rig: Rig) -> list[int]:
    return [int(fd.name) for fd in Path(f"/proc/{rig.pid}/fd").iterdir()]


def segments(rig: Rig) -> int:
    return len(list((rig.data / "journal").glob("*.seg")))


def test_with_no_descriptor_left_it_takes_messages_in_over_many_files_and_loses_none(rig: Rig) -> None:
    load = Load(rig.broker.port, rig.devices, 1500)
    time.sleep(2.0)
    limit = max(descriptors(rig)) + 4
    before = resource.prlimit(rig.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(rig.pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    with ExitStack() as idle:
        for _ in range(40):
            idle.enter_context(socket.create_connection((HOST, rig.http)))
        wait_for("none is left", lambda: len(descriptors(rig)) >= limit - 1, 10)
        files = segments(rig)
        wait_for("it writes on into new files", lambda: segments(rig) >= files + 3, 30)
        assert rig.process is not None
        assert rig.process.poll() is None
    resource.prlimit(rig.pid, resource.RLIMIT_NOFILE, before)
    acked = load.stop()
    stats = settled(rig, len(acked))
    assert stats["dropped"] == stats["quarantined"] == 0
    assert rig.stop() < 10
    nothing_missing(rig, acked)
