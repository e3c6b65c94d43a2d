"""The simulated regency: what 103 nagari at full rate take of a core, live; and how fast virtual time goes.

    python -m tests.bench.bench_regency [SECONDS]

Live: `nagari simulate` with all devices of deploy/padang-pariaman, each on a connection of its own, into a
mosquitto on the shipped settings, with a subscriber that only acknowledges. CPU of the simulating process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from collector.broker import Mosquitto, free_port
from tests.bench.rig import ROOT, cpu_seconds, proportional_mb, resident_mb

SECONDS = 60.0
WARM = 15.0  # by then everybody is connected and has been heard
VIRTUAL = "1h"
_REGION = str(ROOT / "deploy" / "padang-pariaman")
_SIMULATE = [sys.executable, "-m", "collector.cli", "simulate", "--region", _REGION, "--json"]


def run(seconds: float = SECONDS) -> dict[str, object]:
    """The figures."""
    with tempfile.TemporaryDirectory(prefix="nagari-bench-") as name:
        broker = Mosquitto(Path(name) / "mosquitto", free_port())
        broker.start()
        try:
            figures = _live(broker, seconds)
        finally:
            broker.stop()
    figures |= _virtual()
    return {f"regency.{figure}": value for figure, value in figures.items()}


def _live(broker: Mosquitto, seconds: float) -> dict[str, object]:
    listener = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.counter", str(broker.port), "1000000000"],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert listener.stdout is not None
    assert listener.stdout.readline().strip() == b"READY"
    awake = broker.folder / "awake.toml"  # whatever the hour
    awake.write_text(f'name = "awake"\nduration = "{WARM + seconds + 15:g}s"\n[habits]\nswitched_off = 0.0\n')
    command = [*_SIMULATE, "--broker", broker.url, "--scenario", str(awake)]
    begun = time.monotonic()
    simulate = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        time.sleep(WARM)
        used, since = cpu_seconds(simulate.pid), time.monotonic()
        start = used
        time.sleep(seconds)
        used, passed = cpu_seconds(simulate.pid) - used, time.monotonic() - since
        figures: dict[str, object] = {
            "live_cpu_pct": round(100 * used / passed, 1),
            "live_start_cpu_s": round(start, 2),
            "live_rss_mb": round(resident_mb(simulate.pid)),
            "live_pss_mb": round(proportional_mb(simulate.pid)),
        }
        said, _ = simulate.communicate(timeout=60)
    finally:
        for process in (simulate, listener):
            process.kill()
            process.wait()
    found = json.loads(said)
    assert time.monotonic() - begun > found["duration_s"]
    return {**figures, "live_msg_s": round(found["messages"] / found["duration_s"], 1)}


def _virtual() -> dict[str, object]:
    done = subprocess.run(
        [*_SIMULATE, "--speed", "0", "--duration", VIRTUAL], capture_output=True, check=True, cwd=ROOT
    )
    found = json.loads(done.stdout)
    return {
        "virtual_x_real": round(found["duration_s"] / found["took_s"]),
        "virtual_msg_s": round(found["messages"] / found["took_s"]),
    }


if __name__ == "__main__":
    for key, value in run(*(float(argument) for argument in sys.argv[1:])).items():
        print(f"{key:32} {value}")
