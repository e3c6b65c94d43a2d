"""All figures: prints a table and writes JSON. Name benches to run only those: `… throughput store`."""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

BENCHES = (
    "throughput", "latency", "demo", "kill", "store", "engine", "storm", "alarms", "regency", "load", "day",
    "series", "villages", "servers", "parts",
)  # fmt: skip
GOALS = {
    "throughput.ratio_to_ceiling": ">= 0.9",
    "throughput.cpu_us_per_message": "<= 20",
    "throughput.lost": "0",
    "latency.alert_p99_ms": "<= 200",
    "demo.page_s": "<= 5",
    "demo.every_site_s": "<= 30",
    "demo.pss_mb": "<= 500",
    "regency.live_cpu_pct": "<= 10",
    "regency.virtual_x_real": ">= 100",
    "load.alone_msg_s": ">= 50,000",
    "kill.missing_acknowledged": "0",
    "kill.transitions_missing": "0",
    "kill.transitions_doubled": "0",
    "kill.worst_recovery_s": "< 10",
    "store.chart_day_raw_ms": "<= 100",
    "parts.bytes_per_reading": "<= 3",
    "parts.commit_max_ms": "<= 100",
    "parts.chart_30_days_first_ms": "<= 100",
    "parts.chart_30_days_ms": "<= 100",
    "parts.chart_2_years_first_ms": "<= 300",
    "parts.chart_2_years_ms": "<= 300",
    "parts.last_hour_ms": "<= 200",
    "servers.victoria_msg_s": ">= 20,000",
    "servers.victoria_lost": "0",
    "servers.victoria_catch_up_ratio": ">= 5",
    "series.ratio": ">= 0.7",
    "series.most_mb": "<= 1500",
    "villages.lost": "0",
    "villages.alert_p99_ms": "<= 1000",
    "villages.start_s": "< 60",
    "villages.start_again_s": "< 60",
}
OUT = Path("bench.json")


def main() -> None:
    """Run them one after the other, then print the table."""
    figures: dict[str, object] = {}
    for name in sys.argv[1:] or BENCHES:
        print(f"{name} …", flush=True)
        begun = time.monotonic()
        figures |= importlib.import_module(f"tests.bench.bench_{name}").run()
        print(f"  took {time.monotonic() - begun:.0f} s", flush=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n")
    print("\n| figure | measured | wanted |\n|---|---:|---:|")
    for figure, value in figures.items():
        shown = f"{value:,}" if isinstance(value, int | float) else value
        print(f"| {figure} | {shown} | {GOALS.get(figure, '')} |")
    print(f"\n(also in {OUT})")


if __name__ == "__main__":
    main()
