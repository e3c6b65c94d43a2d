"""The demo: how soon a newcomer sees the first reading, and what it takes in memory when idle."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from tests.bench.rig import ROOT, resident_mb, tree

IDLE = 30.0


def _first_reading(log: Path, begun: float) -> tuple[float, str]:
    """Seconds until some device has a reading in what the page asks for; and the page's address."""
    while time.monotonic() - begun < 30:
        found = re.search(r"(http://\S+)/#token=(\S+)", log.read_text())
        if found:
            request = urllib.request.Request(
                found[1] + "/api/v1/devices?limit=500", headers={"Authorization": f"Bearer {found[2]}"}
            )
            with urllib.request.urlopen(request, timeout=5) as answer:
                devices = json.load(answer)["devices"]
            if any(metric.get("value") is not None for device in devices for metric in device["metrics"]):
                return time.monotonic() - begun, found[1]
        time.sleep(0.05)
    raise TimeoutError(log.read_text())


def run(idle: float = IDLE) -> dict[str, object]:
    """The figures."""
    with tempfile.TemporaryDirectory(prefix="nagari-bench-") as name:
        log = Path(name) / "demo.log"
        command = [sys.executable, "-m", "collector.cli", "demo", "--data", f"{name}/demo", "--fresh"]
        begun = time.monotonic()
        with log.open("wb") as out:
            demo = subprocess.Popen(command, stdout=out, stderr=out, cwd=ROOT)
        try:
            first, _ = _first_reading(log, begun)
            time.sleep(idle)
            memory = {pid: resident_mb(pid) for pid in tree(demo.pid)}
        finally:
            demo.send_signal(signal.SIGINT)
            stopping = time.monotonic()
            demo.wait(20)
    return {
        "demo.first_reading_s": round(first, 2),
        "demo.idle_mb": round(sum(memory.values())),
        "demo.processes": len(memory),
        "demo.stop_s": round(time.monotonic() - stopping, 2),
    }


if __name__ == "__main__":
    print(run())
