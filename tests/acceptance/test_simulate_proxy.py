"""`nagari simulate --proxy`: a scenario cuts the collector's own link; a real collector lives through."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from collector.broker import free_port
from tests.acceptance.faults.checks import query, settled, wait_for
from tests.acceptance.test_fault_link import ready
from tests.bench.rig import Rig

BLIND, SEEING, OVER = 14.0, 22.0, 32.0


def test_a_collector_whose_own_link_is_cut_goes_blind_comes_back_and_loses_nothing(tmp_path: Path) -> None:
    link = free_port()
    rig = Rig(
        tmp_path / "rig",
        sites=10,
        rules={},
        url=f"mqtt://127.0.0.1:{link}",
        env={"NAGARI_MQTT__KEEPALIVE": "2s"},
    )
    rig.broker.start()
    (tmp_path / "blind.toml").write_text(
        f'name = "blind"\nduration = "{OVER:g}s"\n[every]\nrouter = "1s"\n'
        f'[[fault]]\nkind = "collector_link_dead"\nat = "{BLIND:g}s"\nfor = "{SEEING - BLIND:g}s"\n'
    )
    command = [sys.executable, "-m", "collector.cli", "simulate", "--broker", rig.broker.url, "--json"]
    command += ["--region", str(tmp_path / "rig" / "region"), "--scenario", str(tmp_path / "blind.toml")]
    simulate = subprocess.Popen([*command, "--proxy", str(link)], stdout=subprocess.PIPE)
    try:
        rig.start()
        wait_for("it goes blind", lambda: not ready(rig), BLIND + 10)
        wait_for("it sees again", lambda: ready(rig), SEEING - BLIND + 10)
        said, _ = simulate.communicate(timeout=60)
        sent = json.loads(said)["messages"]
        # Each publisher said online once, and the ten farewells end with the link: they may be heard or not.
        stats = settled(rig, sent + 10)
        assert stats["dropped"] == stats["quarantined"] == stats["duplicate"] == 0
        assert sent + 10 <= stats["stored"] <= sent + 20
        rig.stop()
        counted = query(
            rig, "select count(*) from readings join series on series = id where metric = 'latency_ms'"
        )
        assert counted == [(sent,)]
        assert sent >= 10 * (OVER - 8)
    finally:
        simulate.kill()
        rig.end()
