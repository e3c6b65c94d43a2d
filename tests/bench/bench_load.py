"""`nagari load`: how fast one process of it publishes into a mosquitto on the shipped settings.

    python -m tests.bench.bench_load [SECONDS]

With nobody subscribed the broker has least to do, so the figure is the sender's own; with a subscriber that
only counts it is the broker's. `cpu_us` is the sender's CPU a message.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from collector.broker import Mosquitto, free_port
from tests.bench.rig import ROOT

SECONDS = 10.0
ASKED = 50_000
_LOAD = [sys.executable, "-m", "collector.cli", "load"]


def run(seconds: float = SECONDS) -> dict[str, object]:
    """The figures."""
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="nagari-bench-") as name:
        for what, rate, subscribed in (
            ("alone", 0, False),
            (f"asked_{ASKED}", ASKED, False),
            ("subscribed", 0, True),
        ):
            broker = Mosquitto(Path(name) / what, free_port())
            broker.start()
            try:
                figures |= _measure(broker, Path(name) / "region", rate, seconds, subscribed, what)
            finally:
                broker.stop()
    return {f"load.{figure}": value for figure, value in figures.items()}


def _measure(
    broker: Mosquitto, region: Path, rate: int, seconds: float, subscribed: bool, what: str
) -> dict[str, object]:
    counter = _counter(broker.port) if subscribed else None
    command = [*_LOAD, "--broker", broker.url, "--region", str(region), "--sites", "500", "--json"]
    command += ["--rate", str(rate), "--duration", f"{seconds:g}"]
    try:
        load = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
        said, used = _ended(load)
    finally:
        if counter is not None:
            counter.kill()
            counter.wait()
    found = json.loads(said)
    assert found["acked"] == found["sent"]
    assert not found["lost"]
    return {f"{what}_msg_s": round(found["rate"]), f"{what}_cpu_us": round(1e6 * used / found["sent"], 1)}


def _counter(port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.bench.counter", str(port), "1000000000"]
    counter = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    assert counter.stdout is not None
    assert counter.stdout.readline().strip() == b"READY"
    return counter


def _ended(process: subprocess.Popen[bytes]) -> tuple[bytes, float]:
    """What it said, and its CPU seconds from first to last."""
    before = _children_cpu()
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said, _children_cpu() - before


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    for key, value in run(*(float(argument) for argument in sys.argv[1:])).items():
        print(f"{key:32} {value}")
