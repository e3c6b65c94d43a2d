"""A storm of alarms beside 10,000 messages/s: transitions committed a second, and how far alarming lags."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path

import uvloop

from simulators.load import LoadOptions, routers, run_load
from tests.bench.rig import TWENTY_RULES, Rig

RATE, SECONDS = 10_000, 12
SHARES = {"900_a_second": 0.05, "2000_a_second": 0.1}
"""Of the messages, those beyond the limit; each raises, and the next one clears."""
_RULE = b"""
[[rule]]
name = "storm"
select = { kind = "router", metric = "latency_ms" }
when = { above = 200.0 }
severity = "major"
summary = { id = "{value}", en = "{value}" }
"""


def _storm(rig: Rig, share: float) -> tuple[float, float]:
    """Transitions committed per second, and alarming's lag at the end, in seconds."""
    options = LoadOptions(
        rig.broker.url,
        routers(rig.region),
        rate=RATE,
        duration=SECONDS,
        alarm_share=share,
        seed=round(100 * share),
    )
    load = threading.Thread(target=lambda: uvloop.run(run_load(options)))
    before, begun, lag = rig.stats()["transitions"], time.monotonic(), 0.0
    load.start()
    while load.is_alive():
        time.sleep(0.5)
        lag = rig.stats()["alarm_lag_s"]
    return (rig.stats()["transitions"] - before) / (time.monotonic() - begun), lag


def run() -> dict[str, object]:
    """The figures."""
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="nagari-bench-") as name:
        rig = Rig(Path(name), rules={"rules/bench.toml": TWENTY_RULES + _RULE})
        rig.broker.start()
        rig.start()
        try:
            for wanted, share in SHARES.items():
                rate, lag = _storm(rig, share)
                figures[f"alarms.{wanted}_committed_per_s"] = round(rate)
                figures[f"alarms.{wanted}_lag_s"] = lag
                time.sleep(5)
        finally:
            rig.stop()
            rig.broker.stop()
    return figures


if __name__ == "__main__":
    print(run())
