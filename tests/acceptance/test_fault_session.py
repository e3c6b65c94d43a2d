"""Fault: the collector's session at a real broker is lost, wiped, or taken over by a second collector."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import mqtt5
import pytest
from typer.testing import CliRunner

from collector.broker import Mosquitto, free_port
from collector.cli.main import app
from collector.doctor.wire import Account, connect
from tests.acceptance.faults.checks import alerts, wait_for
from tests.bench.rig import Rig

LOST, TAKEN = "collector-session-lost", "collector-session-taken-over"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path / "mosquitto", free_port())
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def collect(broker: Mosquitto, tmp_path: Path) -> Iterator[Callable[[str], Rig]]:
    with ExitStack() as stack:

        def start(name: str) -> Rig:
            rig = Rig(tmp_path / name, sites=2, broker=broker, rules={})
            stack.callback(rig.end)
            rig.start()
            return rig

        yield start


def test_a_session_wiped_under_its_client_id_is_a_critical_alert(
    broker: Mosquitto, collect: Callable[[str], Rig]
) -> None:
    rig = collect("one")
    assert alerts(rig, LOST) == []  # the first connection ever
    connects = rig.stats()["connects"]
    asyncio.run(_wipe(broker.port))
    wait_for("it is back", lambda: rig.stats()["connects"] > connects, 20)
    wait_for("the alert", lambda: alerts(rig, LOST), 20)
    [alert] = alerts(rig, LOST)
    assert (alert["severity"], alert["value"] > 0) == ("critical", True)
    assert f"messages of {alert['value']:g} s may be missing" in alert["summary"]["en"]
    assert "it has lost the session 'nagari-collector'" in (rig.folder / "collector.log").read_text()


def test_a_session_lost_while_the_collector_was_down_is_a_critical_alert(
    broker: Mosquitto, collect: Callable[[str], Rig]
) -> None:
    rig = collect("one")
    rig.stop()
    asyncio.run(_wipe(broker.port))
    rig.start()
    wait_for("the alert", lambda: alerts(rig, LOST), 20)


def test_a_restart_of_collector_or_broker_that_keeps_the_session_alarms_nobody(
    broker: Mosquitto, collect: Callable[[str], Rig]
) -> None:
    rig = collect("one")
    rig.stop()
    rig.start()
    connects = rig.stats()["connects"]
    broker.stop()
    broker.start()
    wait_for("it is back", lambda: rig.stats()["connects"] > connects, 20)
    watermark = rig.stats()["fsyncs"] + 3
    wait_for("it has looked at itself since", lambda: rig.stats()["fsyncs"] > watermark, 20)
    assert alerts(rig, LOST) == alerts(rig, TAKEN) == []


def test_two_collectors_under_one_client_id_both_say_so(
    broker: Mosquitto, collect: Callable[[str], Rig]
) -> None:
    one, two = collect("one"), collect("two")
    for rig in (one, two):
        wait_for("the alert", lambda: alerts(rig, TAKEN), 60)  # noqa: B023
        assert alerts(rig, TAKEN)[0]["severity"] == "critical"
        assert "two collectors?" in (rig.folder / "collector.log").read_text()


def test_the_doctor_throws_out_no_collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the account is the client id, to enter as the collector is to take its session."""
    broker = Mosquitto(tmp_path / "mosquitto", free_port(), use_username_as_clientid="true")
    broker.start()
    monkeypatch.setenv("NAGARI_MQTT__USERNAME", "nagari-collector")
    rig = Rig(tmp_path / "one", sites=2, broker=broker, rules={})
    try:
        rig.start()
        command = ["doctor", "--json", "--config", str(rig.config), "--mosquitto-conf", str(broker.conf)]
        said = json.loads(CliRunner().invoke(app, command, catch_exceptions=False).output)
        found = {finding["check"]: finding for finding in said["findings"]}
        assert "not tried: the collector runs under this account" in found["broker"]["what"]
        assert "is connected from 127.0.0.1" in found["collector's session"]["what"]
        log = (broker.folder / "mosquitto.log").read_text()
        assert log.count("as nagari-collector") == 1
    finally:
        rig.end()
        broker.stop()


async def _wipe(port: int) -> None:
    hello = mqtt5.ConnectPacket("nagari-collector", clean_start=True)
    thief = await connect(Account("127.0.0.1", port), hello)
    await thief.close()
