"""Fault 16: readings out of order, a year ahead, of 1970, an hour off: flagged, and no timer moves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from collector.core.config import JournalSettings as Caps
from collector.core.readings import Quality
from collector.core.records import RecordKind
from collector.ingest.files import FileLog
from collector.ingest.journal import Journal
from collector.ingest.pack import Pack
from collector.ingest.reserve import Reserve
from simulators.regions import write_region
from tests.acceptance.faults.checks import alarmed, alerts, query, rule, rules, settled, wait_for
from tests.acceptance.faults.publishers import Wire, now_ms, tele, topic
from tests.bench.rig import Rig

S = 1_000_000_000
HOUR = 3_600_000
YEAR = 365 * 24 * HOUR
FOR, ABSENT = 2.0, 3.0
OVERRIDE = b"""
[[override]]
rule = "clock-wrong"
select = {}
when = { for = "500ms" }
"""
RULES = rules(
    rule("slow", "latency_ms", f'above = 300, clear_below = 250, for = "{FOR:g}s"'),
    rule("silent", "", f'absent = "{ABSENT:g}s"'),
)
SHIFTS = {"a year ahead": YEAR, "an hour ahead": HOUR, "eleven seconds ahead": 11_000, "of 1970": None}
"""ms to add to the clock; None: the epoch itself, and the milliseconds after it."""


@dataclass
class Said:
    """What became of it; the collector is stopped by now. `late` is the device that was an hour behind."""

    rig: Rig
    stats: dict
    slow: dict[str, dict]
    silent: dict[str, dict]
    wrong: dict[str, dict]
    wrong_clocks: int
    heard: dict[str, tuple[int, int]]  # device -> first and last publication, epoch ms


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Said]:
    region_rules = {**RULES, "rules/override.toml": OVERRIDE}
    rig = Rig(tmp_path_factory.mktemp("clocks"), sites=7, rules=region_rules)
    rig.broker.start()
    try:
        rig.start()
        yield _publish(rig)
    finally:
        rig.end()


def _publish(rig: Rig) -> Said:
    """Each device is slow for three seconds, then falls silent; each says its own thing about the time."""
    shifts = [*SHIFTS.values(), 0]
    heard: dict[str, tuple[int, int]] = {}
    with Wire(rig.broker.port, "clocks") as wire:
        begun = time.monotonic()
        for turn in range(16):
            for (site, device), shift in zip(rig.devices, shifts, strict=False):
                ts = turn if shift is None else now_ms() + shift
                wire.publish(topic(site, device), tele({"latency_ms": 900.0, "cpu_pct": float(turn)}, ts))
                heard[device] = heard.get(device, (now_ms(), 0))[0], now_ms()
            time.sleep(max(0.0, begun + 0.2 * (turn + 1) - time.monotonic()))
        wire.flush()
        clocks = rig.stats()["wrong_clocks"]
        wrong = {alert["device"]: alert for alert in alerts(rig, "clock-wrong")}
        _disorder(rig, wire)
        _an_hour_behind(rig, wire)
        wire.flush()
    wait_for("they fall silent", lambda: len(alerts(rig, "silent")) == len(rig.devices), 20)
    stats = settled(rig, 16 * len(shifts) + 5 + 5)
    slow = {alert["device"]: alert for alert in alerts(rig, "slow", "all")}
    silent = {alert["device"]: alert for alert in alerts(rig, "silent")}
    rig.stop()
    return Said(rig, stats, slow, silent, wrong, clocks, heard)


def _disorder(rig: Rig, wire: Wire) -> None:
    site, device = rig.devices[5]
    now = now_ms()
    for back in (0, 5000, 2000, 8000, 1000):  # all but the first come after a newer one
        wire.publish(topic(site, device), tele({"latency_ms": 900.0 if back else 9.0}, now - back))


def _an_hour_behind(rig: Rig, wire: Wire) -> None:
    site, device = rig.devices[6]
    for turn in range(5):
        wire.publish(topic(site, device), tele({"latency_ms": 900.0}, now_ms() - HOUR + turn))


def qualities(rig: Rig, device: str, metric: str = "latency_ms") -> list[tuple[int, int, int]]:
    """(quality, time, received) of a device's readings in the order of receipt, times in ns."""
    text = """select quality, time, received from readings join series on id = series
              where device = ? and metric = ? order by received, time"""
    return query(rig, text, device, metric)


def test_all_is_stored(said: Said) -> None:
    assert said.stats["stored"] == said.stats["received"]
    assert said.stats["duplicate"] == said.stats["quarantined"] == said.stats["dropped"] == 0


@pytest.mark.parametrize(("place", "shift"), list(enumerate(SHIFTS)))
def test_a_clock_that_cannot_be_right_is_flagged_and_its_readings_dated_by_receipt(
    said: Said, place: int, shift: str
) -> None:
    rows = qualities(said.rig, said.rig.devices[place][1])
    assert len(rows) == 16, shift
    assert all(quality == Quality.CLOCK and at == received for quality, at, received in rows), shift


def test_a_right_clock_is_not_flagged(said: Said) -> None:
    rows = qualities(said.rig, said.rig.devices[len(SHIFTS)][1])
    assert [quality for quality, *_ in rows] == [0] * 16


def test_what_comes_after_something_newer_is_late_and_keeps_its_own_time(said: Said) -> None:
    rows = qualities(said.rig, said.rig.devices[5][1])
    assert [quality for quality, *_ in rows] == [0] + 4 * [Quality.LATE]
    newest = rows[0][1]
    assert [newest - at for _, at, _ in rows] == [0, 5 * S, 2 * S, 8 * S, 1 * S]


def test_an_hour_behind_is_late_and_keeps_its_own_time_until_the_clock_is_known_to_be_wrong(
    said: Said,
) -> None:
    rows = qualities(said.rig, said.rig.devices[6][1])
    assert [quality for quality, *_ in rows] == 5 * [Quality.LATE]
    assert all(abs(received - at - 3600 * S) < 30 * S for _, at, received in rows)


def test_a_for_runs_by_receipt_whatever_the_device_says_of_the_time(said: Said) -> None:
    for place in range(len(SHIFTS) + 1):
        device = said.rig.devices[place][1]
        alert = said.slow[device]
        assert alert["raised_at"] - alert["at"] == FOR * 1000
        assert abs(alert["at"] - said.heard[device][0]) < 1000


def test_late_readings_raise_nothing(said: Said) -> None:
    assert said.slow.keys() == {device for _, device in said.rig.devices[: len(SHIFTS) + 1]}


def test_silence_counts_from_receipt_whatever_the_device_says_of_the_time(said: Said) -> None:
    assert said.silent.keys() == {device for _, device in said.rig.devices}
    for device, (_, last) in said.heard.items():
        assert abs(said.silent[device]["at"] - last - ABSENT * 1000) < 1000


def test_wrong_clocks_are_alarmed_and_right_ones_are_not(said: Said) -> None:
    assert said.wrong.keys() == {device for _, device in said.rig.devices[: len(SHIFTS)]}
    assert said.wrong_clocks == len(SHIFTS)
    assert all(alert["severity"] == "warning" for alert in said.wrong.values())


def test_a_clock_an_hour_behind_for_two_minutes_is_wrong_from_then_on_evaluated_as_live(
    tmp_path: Path,
) -> None:
    """Time is data: the journal of some minutes, written in none."""
    write_region(tmp_path / "region", 1, rules=RULES)
    start = 1_790_000_000 * S
    log = Journal(FileLog(tmp_path / "journal", Caps()), Reserve(tmp_path / "reserve", 4096), lambda _: None)
    log.open()
    for turn in range(30):  # five minutes, each ten seconds
        now = start + 10 * S * turn
        payload = tele({"latency_ms": 900.0}, now // 1_000_000 - HOUR)
        log.append(Pack([RecordKind.MESSAGE], [0], [topic("load-000000", "router-000000-0")], [payload], now))
    log.control(RecordKind.WATERMARK, {}, start + 300 * S).result(5)
    log.close()
    rows = alarmed(tmp_path / "journal", tmp_path / "region", tmp_path / "replay")
    told = [(kind, (at - start) / S, _rule(alert)) for kind, at, _, _, alert in rows]
    found = {row for row in told if row[2] != "silent"}
    known = 120.0  # after two minutes and more than five messages
    assert found == {
        ("pending", known, "clock-wrong"),
        ("raised", known + 60, "clock-wrong"),
        ("pending", known, "slow"),
        ("raised", known + FOR, "slow"),
    }


def _rule(alert: object) -> str:
    return str(alert).split("rule='")[1].split("'")[0]
