"""Fault 22: SIGTERM under load ends it in time and loses nothing; an older journal is read to the byte."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.faults.checks import (
    committed,
    nothing_missing,
    query,
    records,
    replayed,
    rule,
    rules,
    settled,
)
from tests.acceptance.faults.old_journal import FIRST, SECOND_SEGMENT, START, write
from tests.acceptance.faults.publishers import Load, alarming
from tests.bench.rig import Rig

OLD = Path(__file__).parent / "data" / "journal-v1"
RULES = rules(
    rule("at-once", "latency_ms", "above = 300, clear_below = 250"),
    rule("after-a-while", "loss_pct", 'above = 5, clear_below = 3, for = "700ms", keep = "600ms"'),
)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "rig", sites=20, rules=RULES)
    with ExitStack() as stack:
        stack.callback(rig.end)
        rig.broker.start()
        yield rig


def test_sigterm_under_load_ends_it_within_ten_seconds_and_loses_nothing(rig: Rig, tmp_path: Path) -> None:
    rig.start()
    load = Load(rig.broker.port, rig.devices, 2500, alarming)
    for _ in range(3):
        time.sleep(1.0)
        assert rig.stop() < 10
        assert rig.process is not None
        assert rig.process.returncode == 0
        rig.start()
    acked = load.stop()
    stats = settled(rig, len(acked))
    assert stats["dropped"] == stats["quarantined"] == 0
    assert rig.stop() < 10
    nothing_missing(rig, acked)
    assert "Traceback" not in (rig.folder / "collector.log").read_text()
    found = committed(rig)
    assert len(found) > 50
    assert found == replayed(rig, tmp_path / "replay")


def _read(folder: Path) -> list[tuple[int, int, str, bytes, int]]:
    return [
        row
        for batch in records(folder)
        for row in zip(
            batch.kinds, batch.flags, batch.topics, batch.payloads, batch.stamps.tolist(), strict=True
        )
    ]


def test_a_journal_of_version_1_is_read_to_the_byte(tmp_path: Path) -> None:
    assert len(list(OLD.glob("*.seg"))) == 2
    shutil.copytree(OLD, tmp_path / "journal")
    assert _read(tmp_path / "journal") == [*FIRST, *SECOND_SEGMENT]
    messages = records(tmp_path / "journal")[-1].messages
    assert messages == 6


def test_todays_version_writes_what_it_would_read(tmp_path: Path) -> None:
    write(tmp_path / "journal")
    assert _read(tmp_path / "journal") == [*FIRST, *SECOND_SEGMENT]


def test_a_collector_takes_up_an_older_journal_and_goes_on_behind_it(rig: Rig) -> None:
    first = min(OLD.glob("*.seg"))
    (rig.data / "journal").mkdir(parents=True)
    shutil.copy(first, rig.data / "journal" / first.name)
    rig.start()
    acked = Load(rig.broker.port, rig.devices[2:], 500, count=100).join()
    stats = settled(rig, 5 + len(acked))
    assert (stats["stored"], stats["quarantined"]) == (4 + len(acked), 1)
    rig.stop()
    nothing_missing(rig, acked)
    text = """select device, metric, time, value from readings join series on id = series
              where time < ? order by all"""
    assert query(rig, text, START + 3600 * 10**9) == [
        ("router-000000-0", "latency_ms", START, 7.5),
        ("router-000000-0", "on_lte", START, 0.0),
        ("router-000001-0", "loss_pct", START + 10**9, 0.25),
    ]
