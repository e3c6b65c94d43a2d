"""Readings on VictoriaMetrics: whether storing keeps pace, and what an outage of the server costs.

The whole path, on mosquitto with the shipped settings: five values a message, 20 rules live. First as fast as
the broker gives; then at a steady rate across outages of the server (see outages): stopped, killed, and dying
right after it said yes.

    python -m tests.bench.bench_servers [MESSAGES [OUTAGE_SECONDS]]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from collector.broker import free_port
from tests.acceptance.faults.checks import rule, rules
from tests.bench import outages
from tests.bench.bench_throughput import Publisher
from tests.bench.rig import Rig, balanced, cpu_seconds, resident_mb
from tests.servers import VictoriaMetrics

N = 500_000
OUTAGE = 60.0
RATE, SLOWER = 10_000, 2_000
"""Messages a second across an outage."""
Fault = Callable[[VictoriaMetrics, float, Callable[[], None]], None]
RULES = rules(rule("slow", "latency_ms", "above = 300.0, clear_below = 250.0"))


@contextmanager
def rigged(folder: Path, **more: object) -> Iterator[tuple[Rig, VictoriaMetrics]]:
    """A collector with its readings on a VictoriaMetrics."""
    server = VictoriaMetrics(folder / "victoria", free_port())
    server.start()
    rig = Rig(folder / "rig", env={"NAGARI_STORE__URL": server.url}, **more)  # type: ignore[arg-type]
    try:
        rig.broker.start()
        rig.start()
        yield rig, server
    finally:
        rig.end()
        server.kill()


def pace(folder: Path, count: int) -> dict[str, object]:
    """As fast as the broker gives, until all is on the server."""
    with rigged(folder) as (rig, _):
        publisher = Publisher(rig.broker.url, rig.folder / "region", count, 1)
        time.sleep(1.0)
        before, begun = cpu_seconds(rig.pid), time.perf_counter()
        publisher.go()
        stats = rig.settle(count)
        took, used = time.perf_counter() - begun, cpu_seconds(rig.pid) - before
        publisher.end()
        assert balanced(stats)
        return {
            "servers.victoria_msg_s": round(count / took),
            "servers.victoria_cpu_us_per_message": round(used / count * 1e6, 1),
            "servers.victoria_lost": count - stats["stored"],
            "servers.victoria_mb": round(resident_mb(rig.pid)),
        }


FAULTS = (
    ("stopped", RATE, outages.stopped),
    ("stopped", SLOWER, outages.stopped),
    ("killed", RATE, outages.killed),
    ("dying", RATE, outages.dying),
)


def outage(folder: Path, what: str, rate: int, fault: Fault, seconds: float) -> dict[str, object]:
    """A steady rate across an outage of so many seconds."""
    with rigged(folder, sites=500, rules=RULES) as (rig, server):
        found = outages.outage(rig, server, rate, seconds, fault)
    name = f"servers.{what}_{rate}"
    lags = sorted(found.lags)
    took = f"{found.backlog:,} behind, caught up in {found.caught_up_s:.1f} s, {found.missing} missing"
    print(f"  {what}, {rate:,} asked, {found.rate:,.0f} sent: {took}", flush=True)
    return {
        f"{name}_missing": found.missing,
        f"{name}_rate": round(found.rate),
        f"{name}_backlog": found.backlog,
        f"{name}_catch_up_ratio": round(found.ratio, 1),
        f"{name}_alert_p50_ms": round(lags[len(lags) // 2] * 1e3),
        f"{name}_alert_worst_ms": round(lags[-1] * 1e3),
    }


def run(count: int = N, seconds: float = OUTAGE) -> dict[str, object]:
    """The figures."""
    with tempfile.TemporaryDirectory(prefix="nagari-bench-") as name:
        figures = pace(Path(name) / "pace", count)
        for what, rate, fault in FAULTS:
            figures |= outage(Path(name) / f"{what}-{rate}", what, rate, fault, seconds)
    return figures


if __name__ == "__main__":
    print(run(*(int(argument) for argument in sys.argv[1:])))
