"""A day's traffic of the regency (fault 20), as fast as it goes: in flight returns to 0, memory stays flat.

    python -m tests.bench.bench_day [MESSAGES [DAYS]]

206 devices (a router and an ONT for each of the 103 nagari), one message every 12 s each: 1,483,200 a day,
five values a message, 20 rules live. DuckDB may cache 64 MB (not 256), so that all caches are full after the
first day and the second one shows what really grows.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.bench_throughput import Publisher
from tests.bench.rig import Rig, balanced, resident_mb

DEVICES = 206
DAY = DEVICES * 86_400 // 12
DAYS = 2
QUARTERS = (0.25, 0.5, 0.75, 1.0)
PATIENCE = 900.0


def run(messages: int = DAY, days: int = DAYS) -> dict[str, object]:
    """The figures."""
    with tempfile.TemporaryDirectory(prefix="nagari-bench-") as name:
        rig = Rig(Path(name), sites=DEVICES, env={"NAGARI_STORE__MEMORY": "64MB"})
        rig.broker.start()
        try:
            rig.start()
            figures: dict[str, object] = {
                "day.messages": messages,
                "day.idle_mb": round(resident_mb(rig.pid)),
            }
            for day in range(1, days + 1):
                figures |= _day(rig, day, messages)
            stats = rig.stats()
            assert balanced(stats), stats
            figures["day.lost"] = days * messages - stats["stored"]
            figures["day.in_flight"] = stats["in_flight"]
            figures["day.growth_mb"] = round(_last(figures, days) - _last(figures, max(1, days - 1)))
            figures["day.data_mb"] = _megabytes(rig.data)
            figures["day.stop_s"] = round(rig.stop(60), 1)
            return figures
        finally:
            rig.end()


def _day(rig: Rig, day: int, messages: int) -> dict[str, object]:
    publisher = Publisher(rig.broker.url, rig.folder / "region", messages, day)
    before, begun = rig.stats()["received"], time.monotonic()
    publisher.go()
    seen: dict[float, float] = {}
    deepest = 0
    while time.monotonic() < begun + PATIENCE:
        stats = rig.stats()
        done = (stats["received"] - stats["in_flight"] - before) / messages
        deepest = max(deepest, stats["in_flight"])
        for quarter in QUARTERS:
            if done >= quarter and quarter not in seen:
                seen[quarter] = resident_mb(rig.pid)
                print(f"  day {day}, {quarter:.0%}: {seen[quarter]:.0f} MB", flush=True)
        if done >= 1 and stats["in_flight"] == 0:
            break
        time.sleep(0.2)
    took = time.monotonic() - begun
    publisher.end()
    return {
        **{f"day.day{day}_mb_at_{quarter:.0%}".rstrip("%"): round(mb) for quarter, mb in seen.items()},
        f"day.day{day}_msg_s": round(messages / took),
        f"day.day{day}_deepest_in_flight": deepest,
    }


def _last(figures: dict[str, object], day: int) -> float:
    return float(str(figures[f"day.day{day}_mb_at_100"]))


def _megabytes(folder: Path) -> int:
    return int(subprocess.check_output(["du", "-sm", str(folder)], text=True).split()[0])


if __name__ == "__main__":
    for key, value in run(*(int(argument) for argument in sys.argv[1:])).items():
        print(f"{key:40} {value}")
