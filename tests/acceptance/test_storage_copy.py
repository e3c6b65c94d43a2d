"""A collector moves to another store and goes on there: the same accounts, nothing missing, nothing twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.acceptance.faults.checks import balanced
from tests.acceptance.faults.publishers import NUMBER, Wire, now_ms, tele, topic
from tests.bench.rig import ROOT, Rig
from tests.servers import VictoriaMetrics


def copy(rig: Rig, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "collector.cli", "storage", "copy", "--config", str(rig.config), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)


def publish(rig: Rig, numbers: range, begin: int) -> None:
    """Numbered readings, a millisecond apart; the same number is the same message."""
    with Wire(rig.broker.port, f"sender-{numbers.start}") as wire:
        for number in numbers:
            site, device = rig.devices[number % len(rig.devices)]
            wire.publish(topic(site, device), tele({NUMBER: number, "latency_ms": 9.5}, begin + number))
        wire.flush()


def numbers(victoria: VictoriaMetrics) -> list[int]:
    lines = [json.loads(line) for line in victoria.export(f"{NUMBER}_value")]
    return sorted(int(value) for line in lines for value in line["values"])


def test_a_collector_goes_on_in_another_store_with_the_same_accounts(
    tmp_path: Path, victoria: VictoriaMetrics
) -> None:
    rig = Rig(tmp_path / "rig", sites=10)
    begin = now_ms() - 5_000
    try:
        rig.broker.start()
        rig.start()
        publish(rig, range(2_000), begin)
        before = rig.settle(2_000)
        refused = copy(rig, "--to", victoria.url)
        assert refused.returncode == 2
        assert "is running" in refused.stderr
        rig.stop()

        moved = copy(rig, "--to", victoria.url, "--json")
        assert moved.returncode == 0, moved.stderr
        assert json.loads(moved.stdout)["written"] == 4_000
        publish(rig, range(1_000, 3_000), begin)  # half of it is known
        rig.env["NAGARI_STORE__URL"] = victoria.url
        rig.start()
        after = rig.settle(before["received"] + 2_000)
        assert balanced(after)
        assert after["stored"] == before["stored"] + 1_000
        assert after["duplicate"] == before["duplicate"] + 1_000
        assert (after["quarantined"], after["conflicts"], after["dropped"]) == (0, 0, 0)
        assert numbers(victoria) == list(range(3_000))
    finally:
        rig.end()
