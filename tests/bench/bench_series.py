"""A million series against 2,500: throughput of the whole path, turn about, and the collector's memory.

    python -m tests.bench.bench_series [MESSAGES [PAIRS]]

Both regions have the same mix of devices, five to a site with five values each, and the shipped rules. Every
series is heard once before the clock runs; how fast that went is told too. DuckDB may take 128 MB.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from simulators.figures import KINDS
from tests.bench.bench_throughput import Publisher
from tests.bench.rig import Rig, balanced, cpu_seconds, most_mb, shipped_rules

N = 500_000
PAIRS = 3
FEW, MANY = 100, 40_000  # sites
KINDS_AT_A_SITE = KINDS[:5]
MEMORY = "128MB"
_PATIENCE = 300.0


def _publish(rig: Rig, count: int, seed: int) -> tuple[float, float]:
    """Messages per second of the whole path, and the collector's CPU per message in µs."""
    before = rig.stats()["received"]
    publisher = Publisher(rig.broker.url, rig.folder / "region", count, seed)
    used, begun = cpu_seconds(rig.pid), time.perf_counter()
    publisher.go()
    stats = rig.settle(before + count, patience=_PATIENCE)
    took, used = time.perf_counter() - begun, cpu_seconds(rig.pid) - used
    publisher.end()
    assert balanced(stats), stats
    assert stats["stored"] == before + count, stats
    return count / took, used / count * 1e6


def _measure(folder: Path, sites: int, count: int, seed: int) -> Mapping[str, float]:
    rig = Rig(
        folder,
        sites=sites,
        kinds=KINDS_AT_A_SITE,
        rules=shipped_rules(),
        env={"NAGARI_STORE__MEMORY": MEMORY},
    )
    rig.broker.start()
    try:
        rig.start(patience=_PATIENCE)
        first, _ = _publish(rig, len(rig.region.devices), seed)
        rate, cpu = _publish(rig, count, seed)
        found = {"rate": rate, "cpu": cpu, "first": first, "mb": most_mb(rig.pid)}
        rig.stop(120)
    finally:
        rig.end()
    return found


def run(count: int = N, pairs: int = PAIRS) -> dict[str, object]:
    """The figures."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="nagari-bench-") as name:
        for pair in range(pairs):
            few = _measure(Path(name) / f"few{pair}", FEW, count, pair)
            many = _measure(Path(name) / f"many{pair}", MANY, count, pair)
            rows.append((few, many))
            told = ", ".join(
                f"{said} {each['rate']:,.0f} msg/s, {each['cpu']:.1f} µs CPU a message, {each['mb']:,.0f} MB"
                for said, each in (("few", few), ("many", many))
            )
            print(f"  pair {pair + 1}: {told}; ratio {many['rate'] / few['rate']:.2f}", flush=True)
    return {
        "series.ratio": round(median(many["rate"] / few["rate"] for few, many in rows), 3),
        "series.few_msg_s": round(median(few["rate"] for few, _ in rows)),
        "series.many_msg_s": round(median(many["rate"] for _, many in rows)),
        "series.few_cpu_us_per_message": round(median(few["cpu"] for few, _ in rows), 2),
        "series.many_cpu_us_per_message": round(median(many["cpu"] for _, many in rows), 2),
        "series.many_first_round_msg_s": round(median(many["first"] for _, many in rows)),
        "series.few_most_mb": round(max(few["mb"] for few, _ in rows)),
        "series.most_mb": round(max(many["mb"] for _, many in rows)),
    }


if __name__ == "__main__":
    for key, value in run(*(int(argument) for argument in sys.argv[1:])).items():
        print(f"{key:40} {value}")
