"""Fault 15: every message comes three times, from its publisher or from the broker with the DUP flag."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from collector.broker import Mosquitto, free_port
from collector.core.records import Flag
from devices.model import Suffix
from tests.acceptance.faults.checks import (
    alerts,
    balanced,
    records,
    rule,
    rules,
    settled,
    stored_numbers,
    wait_for,
)
from tests.acceptance.faults.proxy import Proxy, proxy
from tests.acceptance.faults.publishers import Load, Wire, now_ms, tele, topic
from tests.bench.rig import Rig

FLOOD = 400
RULES = rules(rule("slow", "latency_ms", "above = 300, clear_below = 250"))


@dataclass
class World:
    rig: Rig
    link: Proxy


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("duplicates")
    broker = Mosquitto(folder / "mosquitto", free_port())
    broker.start()
    with proxy(broker.port) as link:
        rig = Rig(folder, sites=5, broker=broker, url=link.url, rules=RULES)
        try:
            rig.start()
            yield World(rig, link)
        finally:
            rig.end()


def thrice(rig: Rig, messages: list[tuple[str, bytes]]) -> dict:
    """Publish each three times, from three connections, the later ones with DUP; how the accounts changed."""
    before = rig.stats()
    for turn in range(3):
        with Wire(rig.broker.port, f"turn-{turn}") as wire:
            for to, payload in messages:
                wire.publish(to, payload, dup=turn > 0)
            wire.flush()
    after = settled(rig, before["received"] + 3 * len(messages))
    return {
        name: after[name] - before[name]
        for name in ("stored", "duplicate", "quarantined", "values", "conflicts")
    }


def test_a_reading_that_comes_three_times_is_stored_once(world: World) -> None:
    site, device = world.rig.devices[0]
    now = now_ms()
    messages = [(topic(site, device), tele({"cpu_pct": 5.0, "jitter_ms": 1.5}, now + n)) for n in range(50)]
    changed = thrice(world.rig, messages)
    assert changed == {"stored": 50, "duplicate": 100, "quarantined": 0, "values": 100, "conflicts": 0}
    found = world.rig.get(
        f"/api/v1/series?site={site}&device={device}&metric=cpu_pct&from={now}&to={now + 1000}"
    )
    assert found["points"] == [[now + n, 5.0] for n in range(50)]


def test_three_alarming_copies_raise_one_alert_once(world: World) -> None:
    site, device = world.rig.devices[1]
    changed = thrice(world.rig, [(topic(site, device), tele({"latency_ms": 900.0}, now_ms()))])
    assert (changed["stored"], changed["duplicate"]) == (1, 2)
    wait_for("the alert is there", lambda: alerts(world.rig, "slow"), 5)
    (alert,) = alerts(world.rig, "slow", "all")
    assert alert["count"] == 1
    trail = world.rig.get(f"/api/v1/alerts/{alert['id']}/trail")["trail"]
    assert [step["kind"] for step in trail] == ["raised"]


def test_events_and_answers_are_told_from_their_copies_by_their_time(world: World) -> None:
    site, device = world.rig.devices[2]
    event = json.dumps({"ts": now_ms(), "event": "dying_gasp", "data": {}}).encode()
    answer = json.dumps({"id": "c1", "status": "done", "ts": now_ms()}).encode()
    changed = thrice(
        world.rig, [(topic(site, device, Suffix.EVENT), event), (topic(site, device, Suffix.ACK), answer)]
    )
    assert (changed["stored"], changed["duplicate"]) == (2, 4)


def test_without_a_time_the_number_tells_copies_and_without_both_nothing_can(world: World) -> None:
    to = topic(*world.rig.devices[3])
    numbered = thrice(world.rig, [(to, tele({"cpu_pct": 7.0}, seq=9))])
    assert (numbered["stored"], numbered["duplicate"]) == (1, 2)
    plain = thrice(world.rig, [(to, tele({"cpu_pct": 7.0}))])
    assert (plain["stored"], plain["duplicate"]) == (3, 0)


def test_the_first_value_stays_and_a_differing_copy_is_counted_as_conflict(world: World) -> None:
    site, device = world.rig.devices[3]
    now = now_ms()
    before = world.rig.stats()
    with Wire(world.rig.broker.port, "conflict") as wire:
        for value in (1.0, 2.0, 3.0):
            wire.publish(topic(site, device), tele({"rx_bps": value}, now))
        wire.flush()
    after = settled(world.rig, before["received"] + 3)
    assert after["conflicts"] - before["conflicts"] == 2
    found = world.rig.get(f"/api/v1/series?site={site}&device={device}&metric=rx_bps&from={now}&to={now + 1}")
    assert found["points"] == [[now, 1.0]]


def test_what_the_broker_sends_again_with_dup_is_stored_once_though_it_came_three_times(world: World) -> None:
    rig, link, first = world.rig, world.link, 1_000_000
    before = rig.stats()

    def times(turns: int) -> dict:
        wanted = before["received"] + turns * FLOOD
        wait_for(f"it came {turns} times", lambda: rig.stats()["received"] >= wanted, 10)
        return settled(rig, wanted)

    link.lose_acks()
    acked = Load(rig.broker.port, rig.devices[4:], 2000, first=first, count=FLOOD).join()
    times(1)
    link.reset()
    times(2)
    link.heal()
    link.reset()
    stats = times(3)
    assert balanced(stats)
    assert stats["stored"] - before["stored"] == FLOOD
    assert stats["duplicate"] - before["duplicate"] == 2 * FLOOD
    rig.stop()
    assert sorted(number for number in stored_numbers(rig) if number >= first) == sorted(acked)
    flags = [flag for batch in records(rig.data / "journal") for flag in batch.flags]
    assert sum(bool(flag & Flag.DUP) for flag in flags) >= 2 * FLOOD  # they did come with DUP
