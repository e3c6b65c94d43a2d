"""SIGKILL under load, 50 times, at random moments: what is missing or doubled, how soon it consumes again.

    python -m tests.bench.bench_kill [KILLS [MESSAGES_PER_SECOND]]

The publisher never stops; its values raise and clear alarms all the time. In the end every message that the
broker acknowledged is looked for in the store, and the transitions are held against those of an uninterrupted
run over the same journal.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.acceptance.faults.checks import (
    committed,
    missing_and_doubled,
    replayed,
    rule,
    rules,
    settled,
    stored_numbers,
    wait_for,
)
from tests.acceptance.faults.publishers import Load, alarming
from tests.bench.rig import Rig

KILLS = 50
RATE = 3000.0
RULES = rules(
    rule("at-once", "latency_ms", "above = 300, clear_below = 250"),
    rule("after-a-while", "loss_pct", 'above = 5, clear_below = 3, for = "700ms", keep = "600ms"'),
    rule("silent", "", 'absent = "800ms"'),
)


def run(kills: int = KILLS, rate: float = RATE) -> dict[str, object]:
    """The figures."""
    with tempfile.TemporaryDirectory(prefix="nagari-bench-") as name:
        rig = Rig(Path(name) / "rig", sites=100, rules=RULES)
        rig.broker.start()
        try:
            rig.start()
            acked, back = _ordeal(rig, kills, rate)
            stats = settled(rig, len(acked), 300)
            rig.stop()
            return {
                "kill.kills": kills,
                "kill.acknowledged": len(acked),
                **_messages(rig, acked),
                "kill.dropped": stats["dropped"],
                **_transitions(rig, Path(name) / "replay"),
                "kill.median_recovery_s": round(median(back), 2),
                "kill.worst_recovery_s": round(max(back), 2),
            }
        finally:
            rig.end()


def _ordeal(rig: Rig, kills: int, rate: float) -> tuple[set[int], list[float]]:
    luck = random.Random(50)
    load = Load(rig.broker.port, rig.devices, rate, alarming)
    back = []
    for turn in range(kills):
        time.sleep(luck.uniform(0.05, 2.5))
        rig.kill()
        back.append(_start(rig))
        print(f"  kill {turn + 1}: consuming again after {back[-1]:.2f} s", flush=True)
    time.sleep(2.0)
    acked = load.stop()
    time.sleep(2.0)  # the silence of the end raises its own alarms
    return acked, back


def _start(rig: Rig) -> float:
    """Start it; the seconds until it takes messages in."""
    begun = time.monotonic()
    rig.start()
    before = rig.stats()["received"]
    wait_for("it consumes again", lambda: rig.stats()["received"] > before, 30, every=0.01)
    return time.monotonic() - begun


def _messages(rig: Rig, acked: set[int]) -> dict[str, object]:
    stored = stored_numbers(rig)
    return {
        "kill.missing_acknowledged": len(acked - set(stored)),
        "kill.stored_twice": len(stored) - len(set(stored)),
    }


def _transitions(rig: Rig, scratch: Path) -> dict[str, object]:
    found, right = committed(rig), replayed(rig, scratch)
    missing, doubled = missing_and_doubled(found, right)
    return {
        "kill.transitions": len(right),
        "kill.transitions_missing": missing,
        "kill.transitions_doubled": doubled,
        "kill.transitions_in_the_same_order": found == right,
    }


if __name__ == "__main__":
    figures = run(*(int(argument) for argument in sys.argv[1:]))
    for key, value in figures.items():
        print(f"{key:40} {value}")
