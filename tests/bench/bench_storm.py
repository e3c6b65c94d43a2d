"""One device at 100 times its rate (fault 18), and at 1,000: how long the others' alerts take to the stream.

    python -m tests.bench.bench_storm [SAMPLES [TURNS]]

Quiet and storm take turns on one collector. Quiet: 200 routers, a message a second each. An alert's way is
publish → broker → journal → rule → state.db → SSE, for routers that are not the one that storms.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np

from tests.bench.bench_latency import _RULE as PROBE_RULE
from tests.bench.bench_latency import PROBES
from tests.bench.bench_latency import _probe as probe
from tests.bench.rig import ROOT, TWENTY_RULES, Rig, balanced

SAMPLES = 150
TURNS = 3
DEVICES = 200
RATE = 1.0  # messages a second of each device
STORMS = {"quiet": 0.0, "x100": 100.0 * RATE, "x1000": 1000.0 * RATE}
_LOAD = """
import asyncio, sys
from simulators.load import LoadOptions, Source, run_load
url, rate, name, *devices = sys.argv[1:]
sources = [Source(*device.split("/")) for device in devices]
asyncio.run(run_load(LoadOptions(url=url, devices=sources, rate=float(rate), duration=600, client_id=name)))
"""


@contextmanager
def _load(rig: Rig, name: str, devices: list[tuple[str, str]], rate: float) -> Iterator[None]:
    """A process that publishes for these devices, while it lasts."""
    pairs = ["/".join(device) for device in devices]
    process = subprocess.Popen(
        [sys.executable, "-c", _LOAD, rig.broker.url, str(rate), name, *pairs], cwd=ROOT
    )
    try:
        time.sleep(1.5)
        yield
    finally:
        process.kill()
        process.wait()


def run(samples: int = SAMPLES, turns: int = TURNS) -> dict[str, object]:
    """The figures."""
    took: dict[str, list[np.ndarray]] = {name: [] for name in STORMS}
    with tempfile.TemporaryDirectory(prefix="nagari-bench-") as folder:
        rules = {"rules/bench.toml": TWENTY_RULES + PROBE_RULE}
        rig = Rig(Path(folder), sites=PROBES + DEVICES, rules=rules)
        rig.broker.start()
        try:
            rig.start()
            others, storming = rig.devices[PROBES:-1], rig.devices[-1:]
            with _load(rig, "others", others, RATE * len(others)):
                for _ in range(turns):
                    for name, rate in STORMS.items():
                        took[name].append(_measure(rig, name, storming, rate, samples))
            stats = rig.settle(0)
            assert balanced(stats), stats
            rig.stop()
        finally:
            rig.end()
    return _figures(took)


def _measure(rig: Rig, name: str, storming: list[tuple[str, str]], rate: float, samples: int) -> np.ndarray:
    if not rate:
        found = asyncio.run(probe(rig, samples))
    else:
        with _load(rig, "storm", storming, rate):
            found = asyncio.run(probe(rig, samples))
    ms = np.array(found) * 1000
    print(f"  {name}: p50 {np.percentile(ms, 50):.1f} ms, p99 {np.percentile(ms, 99):.1f} ms", flush=True)
    return ms


def _figures(took: dict[str, list[np.ndarray]]) -> dict[str, object]:
    p50 = {name: median(float(np.percentile(ms, 50)) for ms in turns) for name, turns in took.items()}
    p99 = {name: median(float(np.percentile(ms, 99)) for ms in turns) for name, turns in took.items()}
    figures: dict[str, object] = {}
    for name in STORMS:
        figures[f"storm.{name}_p50_ms"] = round(p50[name], 1)
        figures[f"storm.{name}_p99_ms"] = round(p99[name], 1)
    for name in list(STORMS)[1:]:
        figures[f"storm.{name}_ratio_p50"] = round(p50[name] / p50["quiet"], 2)
        figures[f"storm.{name}_ratio_p99"] = round(p99[name] / p99["quiet"], 2)
    return figures


if __name__ == "__main__":
    for key, value in run(*(int(argument) for argument in sys.argv[1:])).items():
        print(f"{key:40} {value}")
