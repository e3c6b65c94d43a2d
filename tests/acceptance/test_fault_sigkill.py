"""Fault 1: SIGKILL the collector at random moments under load: nothing is lost, and alarms happen once."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.core.config import JournalSettings as Caps
from collector.core.records import RecordKind
from collector.followers.alarming import LONG_WAY
from collector.ingest.files import FileLog
from collector.ingest.journal import Journal
from collector.ingest.pack import Pack
from collector.ingest.reserve import Reserve
from collector.state import State
from collector.state.snapshots import Snapshots
from simulators.regions import write_region
from tests.acceptance.faults.checks import (
    alarmed,
    committed,
    missing_and_doubled,
    nothing_missing,
    replayed,
    rule,
    rules,
    settled,
    wait_for,
)
from tests.acceptance.faults.publishers import Load, alarming, calm, tele, topic
from tests.bench.rig import Rig

KILLS = 5
RULES = rules(
    rule("at-once", "latency_ms", "above = 300, clear_below = 250"),
    rule("after-a-while", "loss_pct", 'above = 5, clear_below = 3, for = "700ms", keep = "600ms"'),
    rule("silent", "", 'absent = "800ms"'),
)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rig, set[int], list[float], dict]]:
    """A collector killed five times, stopped by now; what was acknowledged; seconds to be back; accounts."""
    rig = Rig(tmp_path_factory.mktemp("sigkill"), sites=20, rules=RULES)
    luck = random.Random(7)
    rig.broker.start()
    try:
        rig.start()
        load = Load(rig.broker.port, rig.devices, 1500, alarming)
        back = []
        for _ in range(KILLS):
            time.sleep(luck.uniform(0.3, 2.0))
            rig.kill()
            begun = time.monotonic()
            rig.start()
            before = rig.stats()["received"]
            wait_for("it consumes again", lambda: rig.stats()["received"] > before, 10)  # noqa: B023
            back.append(time.monotonic() - begun)
        time.sleep(1.0)
        acked = load.stop()
        time.sleep(1.5)  # the silence of the end, and its alarms, by watermarks alone
        stats = settled(rig, len(acked))
        rig.stop()
        yield rig, acked, back, stats
    finally:
        rig.end()


def test_no_message_that_the_broker_acknowledged_is_missing(
    killed: tuple[Rig, set[int], list[float], dict],
) -> None:
    rig, acked, _, stats = killed
    assert len(acked) > 1000
    assert stats["dropped"] == 0
    assert stats["quarantined"] == 0
    nothing_missing(rig, acked)


def test_it_consumes_again_within_ten_seconds(killed: tuple[Rig, set[int], list[float], dict]) -> None:
    _, _, back, _ = killed
    assert max(back) < 10


def test_transitions_equal_those_of_an_uninterrupted_run_over_the_same_journal(
    killed: tuple[Rig, set[int], list[float], dict], tmp_path: Path
) -> None:
    rig, *_ = killed
    found, right = committed(rig), replayed(rig, tmp_path)
    kinds = {row[0] for row in found}
    assert {"raised", "cleared", "pending"} <= kinds
    assert len(found) > 50
    assert missing_and_doubled(found, right) == (0, 0)
    assert found == right


def test_killed_again_and_again_before_its_first_snapshot_it_starts_no_slower(
    tmp_path: Path,
) -> None:
    """A start that had to read far back keeps what came of it: the next one begins there."""
    write_region(tmp_path / "region", 1, rules=RULES)
    log = Journal(FileLog(tmp_path / "journal", Caps()), Reserve(tmp_path / "reserve", 4096), lambda _: None)
    log.open()
    n, start = LONG_WAY + 1, 1_790_000_000 * 10**9
    to = topic("load-000000", "router-000000-0")
    payloads = [tele(calm(number), start // 10**6 + number) for number in range(n)]
    log.append(Pack([RecordKind.MESSAGE] * n, [0] * n, [to] * n, payloads, start))
    log.control(RecordKind.WATERMARK, {}, start + 60 * 10**9).result(10)
    log.close()
    rows = alarmed(tmp_path / "journal", tmp_path / "region", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "snapshots")  # as if it had been killed before it saved one
    shutil.rmtree(tmp_path / "run" / "journal")
    state = State(tmp_path / "run" / "state.db")
    committed_to = state.cursor()
    state.close()
    assert alarmed(tmp_path / "journal", tmp_path / "region", tmp_path / "run", stop=False) == rows
    offset, _ = Snapshots(tmp_path / "run" / "snapshots").newest("alarming") or (0, b"")
    assert 0 < offset == committed_to
