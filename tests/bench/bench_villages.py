"""All 84,000 villages of Indonesia: five devices each, a message of five values every 30 s from each of them.

    python -m tests.bench.bench_villages [SECONDS [SITES]]

That is 14,000 messages/s for ten minutes, 420,000 devices and 2.1 million series under the shipped rules, on
mosquitto with the shipped settings. One device in two hundred is in alarm all the time, and one message in a
thousand of the others is beyond the limits too. Twice a second smoke is reported somewhere: the clock runs
from its publish to the alert on the operators' stream. Memory is resident; `most` is a process' peak.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from devices.model import Device
from simulators.figures import KINDS
from tests.bench.bench_latency import Client, listen
from tests.bench.rig import HOST, ROOT, Rig, balanced, cpu_seconds, most_mb, resident_mb, shipped_rules

SECONDS, SITES = 600.0, 84_000
PERIOD = 30.0
EVERY = 0.5  # seconds between probes
WARM = PERIOD + 5.0  # by then every device has been heard
PATIENCE = 600.0
_SHARES = {"alarming": 1.0, "probed": 0.0, "others": 0.001}
_LOAD = """
import asyncio, json, sys
from pathlib import Path
import uvloop
from devices.region import load, read_folder
from simulators.load import LoadOptions, run_load, sources
from tests.bench.bench_villages import _SHARES, group
url, folder, rate, seconds = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
everyone = sources(load(read_folder(folder)))
groups = {name: [each for n, each in enumerate(everyone) if group(n) == name] for name in _SHARES}
async def main():
    options = [
        LoadOptions(
            url,
            who,
            rate=rate * len(who) / len(everyone),
            duration=seconds,
            alarm_share=_SHARES[name],
            client_id=name,
        )
        for name, who in groups.items()
    ]
    print("READY", flush=True)
    sys.stdin.readline()
    return await asyncio.gather(*map(run_load, options))
results = uvloop.run(main())
print(sum(r.acked for r in results), *(r.lost for r in results), flush=True)
"""


class Load:
    """A process that publishes for the whole region once it is told to go."""

    def __init__(self, rig: Rig, rate: float, seconds: float) -> None:
        command = [
            sys.executable,
            "-c",
            _LOAD,
            rig.broker.url,
            str(rig.folder / "region"),
            str(rate),
            str(seconds),
        ]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self.process.stdout.readline().strip() == "READY"

    def go(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()


def group(number: int) -> str:
    """In which group a device is, by its number in the region. Those probed are climate sensors."""
    if number % 40 == 3:
        return "probed"
    return "others" if number % 199 else "alarming"


def _sensors(rig: Rig) -> Iterator[Device]:
    """Sensors to be probed, drawn by lot, each once."""
    devices = enumerate(rig.region.devices.values())
    probed = [device for number, device in devices if group(number) == "probed"]
    return (probed[number] for number in np.random.default_rng(1).permutation(len(probed)))


async def _probe(rig: Rig, sensors: Iterator[Device], seconds: float) -> list[float]:
    """Milliseconds from a report of smoke to its alert on the stream, one for each sensor tried."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    heard: dict[str, asyncio.Future[float]] = {}
    listener = asyncio.create_task(listen(rig, heard, ready))
    _, client = await loop.create_connection(Client, HOST, rig.broker.port)
    await ready.wait()
    took: list[float] = []
    until = loop.time() + seconds
    while loop.time() < until:
        sensor = next(sensors)
        heard[sensor.id] = loop.create_future()
        begun = time.perf_counter()
        client.publish(sensor.site, sensor.id, True, "smoke")
        took.append((await asyncio.wait_for(heard[sensor.id], 120) - begun) * 1000)
        await asyncio.sleep(max(0.0, EVERY - took[-1] / 1000))
    listener.cancel()
    return took


@contextmanager
def watched(processes: dict[str, int], print_every: float = 30.0) -> Iterator[dict[str, float]]:
    """While it lasts: the most memory of each process in MB, looked at every second, and printed at times."""
    most = dict.fromkeys(processes, 0.0)
    over = threading.Event()

    def watch() -> None:
        printed = time.monotonic()
        while not over.wait(1.0):
            now = {name: resident_mb(pid) for name, pid in processes.items()}
            most.update({name: max(most[name], mb) for name, mb in now.items()})
            if time.monotonic() - printed >= print_every:
                printed = time.monotonic()
                print("  " + ", ".join(f"{name} {mb:,.0f} MB" for name, mb in now.items()), flush=True)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()


def _start(rig: Rig) -> float:
    begun = time.monotonic()
    rig.start(patience=PATIENCE)
    return time.monotonic() - begun


def _run(rig: Rig, seconds: float) -> dict[str, object]:
    rate = len(rig.region.devices) / PERIOD
    load, sensors = Load(rig, rate, seconds), _sensors(rig)
    try:
        pids = {"collector": rig.pid, "mosquitto": rig.broker.pid, "load": load.process.pid}
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        with watched(pids) as most:
            begun = time.monotonic()
            load.go()
            first = asyncio.run(_probe(rig, sensors, WARM))
            took = np.array(asyncio.run(_probe(rig, sensors, seconds - WARM - 5)))
            lag = rig.stats()["store_lag_s"]
            used = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
            passed = time.monotonic() - begun
            said = load.process.stdout.readline()
            sent = int(said) + len(took) + len(first)
            stats = rig.settle(sent, patience=PATIENCE)
            settled = time.monotonic() - begun - passed
    finally:
        load.process.kill()
    assert balanced(stats), stats
    return {
        "messages": sent,
        "msg_s": round(sent / passed),
        "lost": sent - stats["stored"] - stats["duplicate"],
        "alert_p50_ms": round(float(np.percentile(took, 50)), 1),
        "alert_p99_ms": round(float(np.percentile(took, 99)), 1),
        "alert_worst_ms": round(float(took.max()), 1),
        "alert_first_half_minute_worst_ms": round(max(first), 1),
        "alerts_seen": len(took),
        "alerts_active": stats["alerts_active"],
        "transitions": stats["transitions"],
        "store_lag_s": lag,
        "settled_s": round(settled, 1),
        "series": stats["series"],
        **{f"{name}_mb": round(mb) for name, mb in most.items()},
        "collector_most_mb": round(most_mb(rig.pid)),
        **{f"{name}_cpu_pct": round(100 * cpu / passed) for name, cpu in used.items()},
    }


def _size(rig: Rig, name: str) -> int:
    files = rig.data.glob(name)
    return round(sum(file.stat().st_size for file in files) / 1e6)


def run(seconds: float = SECONDS, sites: int = SITES) -> dict[str, object]:
    """The figures."""
    with tempfile.TemporaryDirectory(prefix="nagari-bench-") as name:
        rig = Rig(Path(name), sites=int(sites), kinds=KINDS[:5], rules=shipped_rules())
        rig.broker.start()
        try:
            figures: dict[str, object] = {
                "start_s": round(_start(rig), 1),
                "idle_mb": round(resident_mb(rig.pid)),
            }
            figures |= _run(rig, seconds)
            figures["stop_s"] = round(rig.stop(120), 1)
            figures |= {f"{what}_mb": _size(rig, files) for what, files in _FILES.items()}
            figures["start_again_s"] = round(_start(rig), 1)
            figures["start_again_mb"] = round(most_mb(rig.pid))
            rig.stop(120)
        finally:
            rig.end()
    return {f"villages.{figure}": value for figure, value in figures.items()}


_FILES = {
    "journal": "journal/*",
    "readings": "readings.duckdb*",
    "state": "state.db*",
    "snapshots": "snapshots/*",
}


if __name__ == "__main__":
    for key, value in run(*(float(argument) for argument in sys.argv[1:])).items():
        print(f"{key:44} {value}")
