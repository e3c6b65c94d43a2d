"""Fault 12: the link to the broker black-holed, half open, reset: noticed, and no device called absent."""

from __future__ import annotations

import random
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from collector.broker import Mosquitto, free_port
from tests.acceptance.faults.checks import alerts, nothing_missing, rule, rules, settled, wait_for
from tests.acceptance.faults.proxy import Proxy, proxy, wrong_acks
from tests.acceptance.faults.publishers import Load
from tests.bench.rig import HOST, Rig

KEEPALIVE = 4.0
RESETS = 8


def ready(rig: Rig) -> bool:
    """What /readyz says; any other trouble than a 503 is raised."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{rig.http}/readyz", timeout=2):
            return True
    except urllib.error.HTTPError as error:
        if error.code != 503:
            raise
        return False


@dataclass
class Ordeal:
    """A collector that went through all of it; stopped by now."""

    rig: Rig
    noticed: dict[str, float]
    back: dict[str, float]
    absent_meanwhile: int
    absent_at_last: int
    acked: set[int]
    stats: dict
    wrong: list[int]


@pytest.fixture(scope="module")
def ordeal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ordeal]:
    folder = tmp_path_factory.mktemp("link")
    broker = Mosquitto(folder / "mosquitto", free_port())
    broker.start()
    with proxy(broker.port) as link:
        rig = Rig(
            folder,
            sites=10,
            broker=broker,
            url=link.url,
            rules=rules(rule("silent", "", 'absent = "3s"')),
            env={"NAGARI_MQTT__KEEPALIVE": f"{KEEPALIVE}s"},
        )
        try:
            rig.start()
            yield go_through(rig, link)
        finally:
            rig.end()


def go_through(rig: Rig, link: Proxy) -> Ordeal:
    load = Load(rig.broker.port, rig.devices, 1000)
    noticed, back = {}, {}
    time.sleep(1.0)
    for fault, strike in (("black hole", link.black_hole), ("half open", link.half_open)):
        strike()
        noticed[fault] = wait_for(f"the {fault} is noticed", lambda: not ready(rig), 20)
        time.sleep(0.5)
        link.heal()
        back[fault] = wait_for("it is subscribed again", lambda: ready(rig), 20)
        time.sleep(1.0)
    luck = random.Random(3)
    for _ in range(RESETS):
        connects = rig.stats()["connects"]
        link.reset()
        took = wait_for("it is subscribed again", lambda: rig.stats()["connects"] > connects, 20)  # noqa: B023
        back["reset"] = max(took, back.get("reset", 0.0))
        time.sleep(luck.uniform(0.1, 0.5))
    time.sleep(1.0)
    absent_meanwhile = len(alerts(rig, "silent", "all"))
    acked = load.stop()
    stats = settled(rig, len(acked))
    wait_for("the real silence is noticed", lambda: len(alerts(rig, "silent")) == len(rig.devices), 10)
    absent_at_last = len(alerts(rig, "silent"))
    wrong = [number for talk in link.conversations() for number in wrong_acks(talk)]
    rig.stop()
    return Ordeal(rig, noticed, back, absent_meanwhile, absent_at_last, acked, stats, wrong)


@pytest.mark.parametrize("fault", ["black hole", "half open"])
def test_a_silent_link_is_noticed_within_one_and_a_half_keepalives(ordeal: Ordeal, fault: str) -> None:
    assert ordeal.noticed[fault] <= 1.5 * KEEPALIVE


@pytest.mark.parametrize("fault", ["black hole", "half open", "reset"])
def test_it_is_subscribed_again_within_ten_seconds_of_a_link_that_works(ordeal: Ordeal, fault: str) -> None:
    assert ordeal.back[fault] < 10


def test_everything_arrives_in_the_end_and_once(ordeal: Ordeal) -> None:
    assert ordeal.stats["dropped"] == ordeal.stats["quarantined"] == 0
    assert ordeal.stats["stored"] == len(ordeal.acked)
    nothing_missing(ordeal.rig, ordeal.acked)


def test_what_we_could_not_hear_makes_no_device_absent_and_what_we_can_does(ordeal: Ordeal) -> None:
    assert ordeal.absent_meanwhile == 0
    assert ordeal.absent_at_last == len(ordeal.rig.devices)


def test_each_connection_acknowledges_only_what_it_brought_and_in_that_order(ordeal: Ordeal) -> None:
    assert ordeal.wrong == []


def test_the_judge_of_acknowledgements_sees_a_stale_one_and_one_out_of_turn() -> None:
    publish = bytes.fromhex("320900036100620007006f")
    other = bytes.fromhex("320900036100620008006f")
    assert wrong_acks([(True, publish + other), (False, bytes.fromhex("4002000740020008"))]) == []
    assert wrong_acks([(True, publish), (False, bytes.fromhex("40020008"))]) == [8]
    assert wrong_acks([(True, publish + other), (False, bytes.fromhex("4002000840020007"))]) == [8, 7]
