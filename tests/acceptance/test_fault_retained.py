"""Fault 14: 10,000 retained messages await the collector: no old reading is taken for fresh."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from collector.core.readings import Quality
from devices.model import Suffix
from tests.acceptance.faults.checks import alerts, query, rule, rules, settled, wait_for
from tests.acceptance.faults.publishers import Wire, now_ms, tele, topic
from tests.bench.rig import Rig

DEVICES = 5000
RETAINED = 2 * DEVICES
HOUR = 3_600_000
BAD = {"latency_ms": 900.0}
RULES = rules(
    rule("slow", "latency_ms", "above = 300, clear_below = 250"),
    rule("silent", "", 'absent = "2s"'),
)


@dataclass
class Storm:
    """What the API said after the storm, and after one fresh reading; the collector is stopped by now."""

    rig: Rig
    stats: dict
    alerts: list[dict]
    devices: dict[str, dict]
    after_fresh: list[dict]


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storm]:
    rig = Rig(tmp_path_factory.mktemp("retained"), sites=DEVICES, rules=RULES)
    rig.broker.start()
    try:
        _retain(rig)
        rig.start()
        stats = settled(rig, RETAINED)
        wait_for("two seconds pass, by watermarks", _elapsed(rig), 20)
        raised = rig.get("/api/v1/alerts?state=all")["alerts"]
        devices = _devices(rig)
        site, device = rig.devices[0]
        with Wire(rig.broker.port, "fresh") as wire:
            wire.publish(topic(site, device), tele(BAD, now_ms()))
            wire.flush()
        wait_for("a fresh reading raises its alert", lambda: alerts(rig, "slow"), 5)
        wait_for("and is the only one watched", lambda: alerts(rig, "silent"), 10)
        after = rig.get("/api/v1/alerts?state=all")["alerts"]
        settled(rig, RETAINED + 1)
        rig.stop()
        yield Storm(rig, stats, raised, devices, after)
    finally:
        rig.end()


def _retain(rig: Rig) -> None:
    """Each device's tele and state, retained: alarming values of an hour ago, of now, or without a time."""
    with Wire(rig.broker.port, "storm") as wire:
        for n, (site, device) in enumerate(rig.devices):
            ts = (now_ms() - HOUR, now_ms(), None)[n % 3]
            wire.publish(topic(site, device), tele(BAD, ts), retain=True)
            state = b"offline" if n % 2 else b"online"
            wire.publish(topic(site, device, Suffix.STATE), state, retain=True)
        wire.flush()


def _elapsed(rig: Rig) -> Callable[[], bool]:
    fsyncs = rig.stats()["fsyncs"]
    return lambda: rig.stats()["fsyncs"] >= fsyncs + 4  # idle, each is a watermark, a second apart


def _devices(rig: Rig) -> dict[str, dict]:
    found, cursor = {}, ""
    while cursor is not None:
        page = rig.get(f"/api/v1/devices?limit=1000&cursor={cursor}")
        found |= {device["id"]: device for device in page["devices"]}
        cursor = page["next"]
    return found


def test_all_is_stored_and_the_accounts_balance(storm: Storm) -> None:
    assert storm.stats["received"] == storm.stats["stored"] == RETAINED
    assert storm.stats["duplicate"] == storm.stats["quarantined"] == storm.stats["dropped"] == 0


def test_every_retained_reading_is_flagged_as_such_and_no_fresh_one(storm: Storm) -> None:
    rows = query(
        storm.rig, "select quality from readings join series on id = series where metric = 'latency_ms'"
    )
    flagged = [quality for (quality,) in rows if quality & Quality.RETAINED]
    assert len(rows) == DEVICES + 1
    assert len(flagged) == DEVICES


def test_no_alert_comes_of_retained_messages(storm: Storm) -> None:
    assert storm.alerts == []


def test_a_fresh_reading_raises_an_alert_and_only_its_device_is_watched_for_silence(storm: Storm) -> None:
    _, device = storm.rig.devices[0]
    assert {(alert["rule"], alert["device"]) for alert in storm.after_fresh} == {
        ("slow", device),
        ("silent", device),
    }


def test_retained_state_sets_presence(storm: Storm) -> None:
    wanted = {device: "offline" if n % 2 else "online" for n, (_, device) in enumerate(storm.rig.devices)}
    assert {device: storm.devices[device]["presence"] for device in wanted} == wanted


def test_the_api_shows_no_retained_reading_as_fresh(storm: Storm) -> None:
    shown = [
        metric
        for _, device in storm.rig.devices
        for metric in storm.devices[device]["metrics"]
        if metric["name"] == "latency_ms"
    ]
    assert len(shown) == DEVICES
    assert all(metric["stale"] and "retained" in metric["quality"] for metric in shown)
