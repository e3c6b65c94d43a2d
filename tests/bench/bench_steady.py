"""What the collector costs when little comes: CPU a message at steady rates, into DuckDB and VictoriaMetrics.

The whole path, on mosquitto with the shipped settings: five values a message, 20 rules live. CPU is of the
collector's process, all threads, user and system. Beside the rate some alerts are timed, publish to stream.

    python -m tests.bench.bench_steady [SECONDS [RATE …]]
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from collector.broker import free_port
from tests.bench.bench_latency import _RULE, _probe
from tests.bench.outages import Steady
from tests.bench.rig import TWENTY_RULES, Rig, cpu_seconds
from tests.servers import VictoriaMetrics

SECONDS = 20.0
RATES = (45, 2_000)
WARM = 3.0
PROBES = 60


@contextlib.contextmanager
def rigged(folder: Path, store: str) -> Iterator[Rig]:
    """A collector with its readings in that kind of store."""
    env, server = {}, None
    if store == "victoria":
        server = VictoriaMetrics(folder / "victoria", free_port())
        server.start()
        env = {"NAGARI_STORE__URL": server.url}
    rig = Rig(folder / "rig", rules={"rules/bench.toml": TWENTY_RULES + _RULE}, env=env)
    try:
        rig.broker.start()
        rig.start()
        yield rig
    finally:
        rig.end()
        if server is not None:
            server.kill()


def steady(folder: Path, store: str, rate: int, seconds: float) -> dict[str, object]:
    """The figures of one rate into one store."""
    with rigged(folder, store) as rig:
        load = Steady(rig, rate)
        time.sleep(WARM)
        before, received, begun = cpu_seconds(rig.pid), rig.stats()["received"], time.monotonic()
        time.sleep(seconds)
        used, count = cpu_seconds(rig.pid) - before, rig.stats()["received"] - received
        took = time.monotonic() - begun
        lags = np.array(asyncio.run(_probe(rig, PROBES))) * 1e3
        load.stop()
    name = f"steady.{store}_{rate}"
    return {
        f"{name}_cpu_us_per_message": round(used / count * 1e6, 1),
        f"{name}_core_pct": round(100 * used / took, 2),
        f"{name}_alert_p50_ms": round(float(np.percentile(lags, 50)), 1),
        f"{name}_alert_p99_ms": round(float(np.percentile(lags, 99)), 1),
    }


def run(seconds: float = SECONDS, *rates: float) -> dict[str, object]:
    """The figures."""
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="nagari-bench-") as name:
        for store in ("duckdb", "victoria"):
            for rate in map(int, rates or RATES):
                figures |= steady(Path(name) / f"{store}-{rate}", store, rate, seconds)
                print({k: v for k, v in figures.items() if f"{store}_{rate}" in k}, flush=True)
    return figures


if __name__ == "__main__":
    print(run(*(float(argument) for argument in sys.argv[1:])))
