"""Readings on VictoriaMetrics: whether storing keeps pace, and how fast it catches up after an outage.

The whole path, on mosquitto with the shipped settings: five values a message, 20 rules live. First as fast as
the broker gives; then at a steady rate across an outage of the server: the backlog's rate of going down, with
what comes meanwhile, as a multiple of the live rate; and the slowest alert while it goes down.

    python -m tests.bench.bench_servers [MESSAGES [OUTAGE_SECONDS]]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from collector.broker import free_port
from tests.acceptance.faults.checks import alerts, rule, rules, wait_for
from tests.acceptance.faults.publishers import NUMBER, Load, Wire, now_ms, tele, topic
from tests.bench.bench_throughput import Publisher
from tests.bench.rig import Rig, balanced, cpu_seconds, resident_mb
from tests.servers import VictoriaMetrics

N = 500_000
OUTAGE = 20.0
LIVE = 3_000
"""Messages a second across the outage: what a publisher in Python can give beside the rest on two cores."""
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


def five(number: int) -> dict[str, object]:
    return {NUMBER: number, "tx_bps": 1e6, "latency_ms": 9.5, "loss_pct": 0.1, "jitter_ms": 1.25}


def catch_up(folder: Path, seconds: float) -> dict[str, object]:
    """A steady rate across an outage of so many seconds."""
    with rigged(folder, sites=500, rules=RULES) as (rig, server):
        load = Load(rig.broker.port, rig.devices[1:], LIVE, five)
        time.sleep(2.0)
        server.kill()
        time.sleep(seconds)
        server.start()
        begun, received = time.perf_counter(), rig.stats()["received"]
        behind, worst = rig.stats()["in_flight"], 0.0
        with Wire(rig.broker.port, "alarmer") as wire:
            while rig.stats()["in_flight"] > LIVE:
                worst = max(worst, _alert(rig, wire))
        took = time.perf_counter() - begun
        arrived = rig.stats()["received"] - received
        acked = load.stop()
        stats = rig.settle(len(acked))
        assert balanced(stats)
        return {
            "servers.victoria_catch_up_ratio": round((behind + arrived) / took / LIVE, 1),
            "servers.victoria_alert_while_catching_up_ms": round(worst * 1e3),
            "servers.victoria_backlog": behind,
            "servers.victoria_outage_lost": stats["received"] - stats["stored"],
        }


def _alert(rig: Rig, wire: Wire) -> float:
    """Seconds from a bad reading to its alert."""
    site, device = rig.devices[0]
    wire.publish(topic(site, device), tele({"latency_ms": 900.0}, now_ms()))
    took = wait_for("an alert", lambda: alerts(rig, "slow"), 10, every=0.01)
    wire.publish(topic(site, device), tele({"latency_ms": 9.0}, now_ms()))
    wait_for("it clears", lambda: not alerts(rig, "slow"), 10, every=0.01)
    return took


def run(count: int = N, outage: float = OUTAGE) -> dict[str, object]:
    """The figures."""
    with tempfile.TemporaryDirectory(prefix="nagari-bench-") as name:
        return {**pace(Path(name) / "pace", count), **catch_up(Path(name) / "outage", outage)}


if __name__ == "__main__":
    print(run(*(int(argument) for argument in sys.argv[1:])))
