"""A server that is stopped, killed, or dies right after its yes, under a steady rate of messages.

Of each: what is missing in the end (asked of the server itself), the slowest alert meanwhile, and how fast
the backlog went down, with what came meanwhile, as a multiple of the rate.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.acceptance.faults.checks import alerts, wait_for
from tests.acceptance.faults.publishers import Wire, now_ms, tele, topic
from tests.bench.rig import ROOT, Rig, balanced
from tests.servers import VictoriaMetrics

VALUES = 5
_STEADY = """
import asyncio, signal, sys
from pathlib import Path
import uvloop
from devices.region import load, read_folder
from simulators.load import LoadOptions, run_load, sources
async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    region = load(read_folder(Path(sys.argv[2])))
    options = LoadOptions(sys.argv[1], sources(region)[1:], rate=float(sys.argv[3]), stop=stop, window=8000)
    print("READY", flush=True)
    result = await run_load(options)
    assert not result.lost, result
    print(result.acked, flush=True)
uvloop.run(main())
"""


class Steady:
    """A process that publishes at a rate for all of a rig's devices but the first, until `stop`."""

    def __init__(self, rig: Rig, rate: float) -> None:
        command = [sys.executable, "-c", _STEADY, rig.broker.url, str(rig.folder / "region"), str(rate)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == "READY"
        self.begun = time.monotonic()

    def stop(self) -> tuple[int, float]:
        """How many messages were acknowledged, and at what rate."""
        self.process.terminate()
        said, _ = self.process.communicate(timeout=120)
        acked = int(said)
        return acked, acked / (time.monotonic() - self.begun)


@dataclass
class Outcome:
    """What came of an outage. Seconds."""

    backlog: int = 0
    ratio: float = 0.0
    caught_up_s: float = 0.0
    rate: float = 0.0
    missing: int = 0
    lags: list[float] = field(default_factory=list)  # of each alert


def stopped(server: VictoriaMetrics, seconds: float, alert: Callable[[], None]) -> None:
    """Stopped in good order, started after so many seconds."""
    server.stop()
    _meanwhile(seconds, alert)
    server.start()


def killed(server: VictoriaMetrics, seconds: float, alert: Callable[[], None]) -> None:
    """SIGKILL, started after so many seconds."""
    server.kill()
    _meanwhile(seconds, alert)
    server.start()


def dying(server: VictoriaMetrics, seconds: float, alert: Callable[[], None]) -> None:
    """Killed and started again and again, every few seconds: what it took last, it loses each time."""
    for _ in range(max(int(seconds / 5), 2)):
        server.kill()
        server.start()
        _meanwhile(5.0, alert)


def outage(
    rig: Rig,
    server: VictoriaMetrics,
    rate: float,
    seconds: float,
    fault: Callable[[VictoriaMetrics, float, Callable[[], None]], None] = stopped,
) -> Outcome:
    """One outage of so many seconds under so many messages a second, until all is on the server."""
    out = Outcome()
    steady = Steady(rig, rate)
    with Wire(rig.broker.port, "alarmer") as wire:

        def alert() -> None:
            out.lags.append(alert_lag(rig, wire))

        _meanwhile(5.0, alert)
        fault(server, seconds, alert)
        begun, before = time.monotonic(), rig.stats()
        while rig.stats()["in_flight"] > rate:
            _meanwhile(0.2, alert)
        took = time.monotonic() - begun
        after = rig.stats()
        done = (after["received"] - after["in_flight"]) - (before["received"] - before["in_flight"])
        acked, out.rate = steady.stop()
        sent = wire.sent
    stats = rig.settle(acked + sent)
    assert balanced(stats)
    out.backlog, out.caught_up_s = before["in_flight"], took
    out.ratio = done / took / out.rate
    out.missing = acked * VALUES + sent - _kept_in_the_end(rig, server, acked * VALUES + sent)
    return out


def alert_lag(rig: Rig, wire: Wire) -> float:
    """Seconds from a bad reading to its alert."""
    site, device = rig.devices[0]
    wire.publish(topic(site, device), tele({"latency_ms": 900.0}, now_ms()))
    took = wait_for("an alert", lambda: alerts(rig, "slow"), 30, every=0.01)
    wire.publish(topic(site, device), tele({"latency_ms": 9.0}, now_ms()))
    wait_for("it clears", lambda: not alerts(rig, "slow"), 30, every=0.01)
    return took


def _meanwhile(seconds: float, alert: Callable[[], None]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        alert()
        time.sleep(min(0.5, max(until - time.monotonic(), 0.0)))


def _kept_in_the_end(rig: Rig, server: VictoriaMetrics, wanted: int) -> int:
    """How many values the server has, once what it lost has gone out again: that may take a moment."""
    deadline, found = time.monotonic() + 60, -1
    while found < wanted and time.monotonic() < deadline:
        found = _count(server)
        time.sleep(0.5)
    rig.stop(30)
    return max(found, _count(server))


def _count(server: VictoriaMetrics) -> int:
    server.flush()
    ours = f'{{__name__=~".+_value",site!="",site!="{time.monotonic_ns()}"}}'  # no remembered answer
    query = f"sum(count_over_time({ours}[1h]))"
    form = urllib.parse.urlencode({"query": query, "time": str(time.time() + 60), "nocache": "1"}).encode()
    with urllib.request.urlopen(f"{server.http}/api/v1/query", form, timeout=60) as answer:
        found = json.load(answer)["data"]["result"]
    return int(float(found[0]["value"][1])) if found else 0
