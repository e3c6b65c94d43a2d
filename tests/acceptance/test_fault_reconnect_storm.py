"""Fault 13: a thousand devices reconnect at once, once more with the broker: all back, the API answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import pytest

from collector.broker import Mosquitto, free_port
from tests.acceptance.faults.checks import Watcher, nothing_missing, settled, wait_for
from tests.acceptance.faults.crowd import Crowd
from tests.bench.rig import Rig, shipped_rules

DEVICES = 1000
ASKED = (
    "/api/v1/stats",
    "/api/v1/devices?limit=200",
    "/api/v1/sites?limit=200",
    "/api/v1/alerts?state=active",
)
STORMS = ("all lines break", "the broker restarts")


@dataclass
class Ordeal:
    """A collector that stood both storms; stopped by now."""

    rig: Rig
    back: dict[str, float]
    answers: dict[str, list[float]]
    acked: set[int]
    stats: dict
    online: int


@pytest.fixture(scope="module")
def ordeal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ordeal]:
    folder = tmp_path_factory.mktemp("storm")
    broker = Mosquitto(folder / "mosquitto", free_port())
    broker.start()
    rig = Rig(folder, sites=DEVICES, broker=broker, rules=shipped_rules())
    crowd: Crowd | None = None
    try:
        rig.start()
        crowd = Crowd(broker.port, rig.devices)
        yield go_through(rig, crowd)
    finally:
        if crowd is not None:
            crowd.close()
        rig.end()


def go_through(rig: Rig, crowd: Crowd) -> Ordeal:
    wait_for("all are online", lambda: crowd.connected == DEVICES and online(rig) == DEVICES, 60)
    back, answers = {}, {}

    def restart() -> None:
        rig.broker.stop()
        rig.broker.start()

    for name, strike in zip(STORMS, (crowd.sever, restart), strict=True):
        back[name], answers[name] = storm(rig, crowd, strike)
    time.sleep(2.0)
    found = online(rig)
    acked = crowd.end()
    # Each connection said online, and the lines that broke in the first storm were followed by wills.
    heard = len(acked) + crowd.connections + DEVICES
    stats = settled(rig, heard)
    rig.stop()
    return Ordeal(rig, back, answers, acked, stats, found)


def storm(rig: Rig, crowd: Crowd, strike: Callable[[], None]) -> tuple[float, list[float]]:
    """Seconds until all are back, and the seconds that the API took to answer meanwhile."""
    before, first = crowd.connections, crowd.said
    paths = cycle(ASKED)
    watcher = Watcher(lambda: answered(rig, next(paths)), every=0.02)
    begun = time.monotonic()
    strike()
    wait_for("all are connected again", lambda: crowd.connections - before >= DEVICES, 60)
    wait_for("the collector has them online", lambda: online(rig) == DEVICES, 60)
    wait_for("they are heard", lambda: set(range(first, first + DEVICES)) <= crowd.acked, 60)
    took = time.monotonic() - begun
    time.sleep(3.0)  # what the storm left to do is done by then
    seen = [value for _, value in watcher.end()]
    assert not [each for each in seen if isinstance(each, OSError)], seen
    return took, seen


def answered(rig: Rig, path: str) -> float:
    begun = time.monotonic()
    rig.get(path)
    return time.monotonic() - begun


def online(rig: Rig) -> int:
    """How many devices are online, as the API says."""
    found, cursor = 0, ""
    while cursor is not None:
        page = rig.get(f"/api/v1/devices?limit=500&cursor={cursor}")
        found += sum(each["presence"] == "online" and each["kind"] == "router" for each in page["devices"])
        cursor = page["next"]
    return found


@pytest.mark.parametrize("storm", STORMS)
def test_all_thousand_are_back_within_a_minute(ordeal: Ordeal, storm: str) -> None:
    assert ordeal.back[storm] < 60
    assert ordeal.online == DEVICES


@pytest.mark.parametrize("storm", STORMS)
def test_the_api_answers_within_a_second_meanwhile(ordeal: Ordeal, storm: str) -> None:
    assert len(ordeal.answers[storm]) > 50
    assert float(np.percentile(ordeal.answers[storm], 99)) < 1.0


def test_nothing_that_the_broker_acknowledged_is_missing_and_the_accounts_balance(ordeal: Ordeal) -> None:
    assert ordeal.stats["dropped"] == ordeal.stats["quarantined"] == 0
    assert len(ordeal.acked) >= 3 * DEVICES
    nothing_missing(ordeal.rig, ordeal.acked)


def test_the_collector_did_not_fall_over(ordeal: Ordeal) -> None:
    log = (ordeal.rig.folder / "collector.log").read_text()
    assert "Traceback" not in log
