"""Engineers change the region folder while the collector runs: it takes the new one, or keeps the old."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from devices.client import ClientOptions, DeviceClient
from devices.model import Device
from tests.bench.rig import Rig, balanced

RULE = """
[[rule]]
name = "{name}"
select = {{ kind = "router", metric = "latency_ms" }}
when = {{ above = 100.0 }}
severity = "major"
summary = {{ id = "{{site}} lambat", en = "{{site}} is slow" }}
"""


@pytest.fixture
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = Rig(tmp_path_factory.mktemp("reload"), sites=2, rules={"rules/rules.toml": b""})
    rig.broker.start()
    rig.start()
    yield rig
    rig.end()


def hang_up(rig: Rig) -> None:
    os.kill(rig.pid, signal.SIGHUP)


def add_device(rig: Rig) -> None:
    with (rig.folder / "region" / "devices.csv").open("a") as file:
        file.write("load-000000,router-new,router" + "," * _commas(rig) + "\n")


def _commas(rig: Rig) -> int:
    return (rig.folder / "region" / "devices.csv").read_text().splitlines()[0].count(",") - 2


def known(rig: Rig) -> set[str]:
    return {each["id"] for each in rig.get("/api/v1/devices?site=load-000000")["devices"]}


async def slow(rig: Rig) -> None:
    async with DeviceClient(
        ClientOptions(rig.broker.url), Device("load-000000", "router-new", "router")
    ) as client:
        client.publish_tele({"latency_ms": 500.0})
        assert await client.drain(10)


async def test_a_new_device_and_a_new_rule_hold_without_a_restart(rig: Rig) -> None:
    await slow(rig)
    rig.eventually("/api/v1/stats", lambda stats: stats["unclaimed"] > 0)
    add_device(rig)
    (rig.folder / "region" / "rules" / "rules.toml").write_text(RULE.format(name="slow"))
    hang_up(rig)
    rig.eventually("/api/v1/devices?site=load-000000", lambda found: "router-new" in str(found))
    await slow(rig)
    found = rig.eventually("/api/v1/alerts", lambda alerts: len(alerts["alerts"]) == 1)
    assert found["alerts"][0]["rule"] == "slow"
    assert found["alerts"][0]["device"] == "router-new"
    assert rig.eventually("/api/v1/stats", lambda stats: stats["in_flight"] == 0)["unclaimed"] == 0
    assert balanced(rig.stats())


async def test_what_holds_after_a_reload_holds_after_a_crash(rig: Rig) -> None:
    add_device(rig)
    (rig.folder / "region" / "rules" / "rules.toml").write_text(RULE.format(name="slow"))
    hang_up(rig)
    rig.eventually("/api/v1/devices?site=load-000000", lambda found: "router-new" in str(found))
    await slow(rig)
    rig.eventually("/api/v1/alerts", lambda alerts: len(alerts["alerts"]) == 1)
    rig.kill()
    rig.start()
    found = rig.get("/api/v1/alerts")["alerts"]
    assert [(each["rule"], each["device"], each["count"]) for each in found] == [("slow", "router-new", 1)]


def test_one_asked_for_during_the_start_is_served_after_it(rig: Rig) -> None:
    rig.kill()
    started = rig.tail().count(": page and API")
    rig.start(wait=False)
    while rig.tail().count(": page and API") == started:
        time.sleep(0.001)
    add_device(rig)
    hang_up(rig)
    rig.eventually("/api/v1/devices?site=load-000000", lambda found: "router-new" in str(found))


def test_a_folder_with_a_mistake_changes_nothing_and_the_log_says_where(rig: Rig) -> None:
    before = known(rig)
    with (rig.folder / "region" / "devices.csv").open("a") as file:
        file.write("nowhere,router-x,router" + "," * _commas(rig) + "\n")
    hang_up(rig)
    deadline = time.monotonic() + 10
    while "the region is not taken" not in rig.tail():
        assert time.monotonic() < deadline, rig.tail()
        time.sleep(0.05)
    assert "devices.csv:" in rig.tail()
    assert known(rig) == before
