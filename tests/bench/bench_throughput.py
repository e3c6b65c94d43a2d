"""How the collector keeps pace with the broker: turn about with a subscriber that only counts.

Both run on mosquitto with the shipped settings, QoS 1, five values a message, the publisher as fast as the
broker takes it. The collector has 20 rules live, fsyncs its journal and commits to DuckDB; its clock stops at
in_flight = 0. A second ceiling rests between reads as the collector does: acknowledging in larger groups
relieves the broker, so that the plain one is not the most that the broker gives.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from collector.broker import Mosquitto, free_port
from tests.bench.rig import ROOT, Rig, balanced, cpu_seconds

N = 500_000
PAIRS = 5
_PUBLISH = """
import asyncio, sys
from pathlib import Path
import uvloop
from devices.region import load, read_folder
from simulators.load import LoadOptions, run_load, sources
region = load(read_folder(Path(sys.argv[2])))
options = LoadOptions(url=sys.argv[1], devices=sources(region), count=int(sys.argv[3]), seed=int(sys.argv[4]))
print("READY", flush=True)
sys.stdin.readline()
result = uvloop.run(run_load(options))
assert result.acked == options.count, result
"""


class Publisher:
    """A process that publishes N messages once it is told to go."""

    def __init__(self, url: str, region: Path, count: int, seed: int) -> None:
        command = [sys.executable, "-c", _PUBLISH, url, str(region), str(count), str(seed)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self.process.stdout.readline().strip() == "READY"

    def go(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        if self.process.wait(120):
            raise RuntimeError("the publisher failed")


def ceiling(folder: Path, region: Path, count: int, seed: int, *mode: str) -> float:
    """Messages per second of the subscriber that only counts."""
    broker = Mosquitto(folder / f"ceiling{''.join(mode)}", free_port())
    broker.start()
    command = [sys.executable, "-m", "tests.bench.counter", str(broker.port), str(count), *mode]
    counter = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    publisher = Publisher(broker.url, region, count, seed)
    try:
        assert counter.stdout.readline().strip() == "READY"
        begun = time.perf_counter()
        publisher.go()
        assert counter.stdout.readline().startswith("DONE")
        took = time.perf_counter() - begun
        publisher.end()
        return count / took
    finally:
        counter.kill()
        broker.stop()


def collected(folder: Path, count: int, seed: int) -> tuple[float, float, dict]:
    """Messages per second of the collector, its CPU per message in µs, its accounts."""
    rig = Rig(folder)
    rig.broker.start()
    rig.start()
    publisher = Publisher(rig.broker.url, folder / "region", count, seed)
    try:
        time.sleep(1.0)
        before = cpu_seconds(rig.pid)
        begun = time.perf_counter()
        publisher.go()
        stats = rig.settle(count)
        took = time.perf_counter() - begun
        used = cpu_seconds(rig.pid) - before
        publisher.end()
        rig.stop()
        return count / took, used / count * 1e6, stats
    finally:
        if rig.process.poll() is None:
            rig.kill()
        rig.broker.stop()


def run(count: int = N, pairs: int = PAIRS) -> dict[str, object]:
    """The figures."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="nagari-bench-") as name:
        for pair in range(pairs):
            folder = Path(name) / f"pair{pair}"
            rate, cpu, stats = collected(folder, count, 3 * pair)
            top = ceiling(folder, folder / "region", count, 3 * pair + 1)
            paced = ceiling(folder, folder / "region", count, 3 * pair + 2, "paced")
            lost = count - stats["stored"]
            assert balanced(stats)
            rows.append((rate, top, cpu, lost, paced))
            print(
                f"  pair {pair + 1}: collector {rate:,.0f} msg/s, ceiling {top:,.0f} (paced {paced:,.0f}), "
                f"ratio {rate / top:.2f} ({rate / paced:.2f}), {cpu:.1f} µs CPU a message, lost {lost}",
                flush=True,
            )
    return {
        "throughput.ratio_to_ceiling": round(median(row[0] / row[1] for row in rows), 3),
        "throughput.ratio_to_paced_ceiling": round(median(row[0] / row[4] for row in rows), 3),
        "throughput.collector_msg_s": round(median(row[0] for row in rows)),
        "throughput.ceiling_msg_s": round(median(row[1] for row in rows)),
        "throughput.paced_ceiling_msg_s": round(median(row[4] for row in rows)),
        "throughput.cpu_us_per_message": round(median(row[2] for row in rows), 2),
        "throughput.lost": sum(row[3] for row in rows),
    }


if __name__ == "__main__":
    print(run(*(int(argument) for argument in sys.argv[1:])))
