"""The doctor reads the broker's log: who has the collector's session, and who took it from whom."""

from __future__ import annotations

from pathlib import Path

import mqtt5
import pytest

from collector.broker import Mosquitto
from collector.doctor.findings import Finding
from collector.doctor.mosquitto_log import history, judge
from collector.doctor.wire import Account, ProbeConnection, connect

NAMES = {"nagari-collector"}
NEWER = """\
1795561056: mosquitto version 2.1.2 starting
1795561056: New client connected from 10.0.0.1:48216 as nagari-collector (p5, c0, k2).
1795561057: Client nagari-collector [10.0.0.1:48216] disconnected: session taken over.
1795561057: New client connected from {second}:48222 as nagari-collector (p5, c0, k2, u'nagari-collector').
1795561058: Client nagari-collector [{second}:48222] disconnected.
1795561059: Client nagari-collector [{second}:48222] disconnected: session taken over.
1795561059: New client connected from 10.0.0.1:48230 as nagari-collector (p5, c0, k2).
"""


async def enter(broker: Mosquitto, name: str = "nagari-collector") -> ProbeConnection:
    hello = mqtt5.ConnectPacket(name, session_expiry_interval=60, keep_alive=60)
    return await connect(Account("127.0.0.1", broker.port), hello)


def judged(broker: Mosquitto) -> Finding:
    return judge(broker.folder / "mosquitto.log", NAMES)


async def test_one_collector_is_found_without_being_disturbed(mosquitto: Mosquitto) -> None:
    assert judged(mosquitto).what == "nobody is connected as 'nagari-collector'"
    collector = await enter(mosquitto)
    other = await enter(mosquitto, "nagari-collector-2")
    found = judged(mosquitto)
    assert found.status == "ok"
    assert "'nagari-collector' is connected from 127.0.0.1" in found.what
    await collector.close()
    await other.close()
    assert "nobody is connected" in judged(mosquitto).what


async def test_two_that_throw_each_other_out_are_a_warning(mosquitto: Mosquitto) -> None:
    for _ in range(4):
        last = await enter(mosquitto)
    found = judged(mosquitto)
    assert (found.status, "was taken over 3 times" in found.what) == ("warning", True)
    assert "second collector" in found.mend
    await last.close()


async def test_one_that_comes_back_after_its_link_broke_is_well(mosquitto: Mosquitto) -> None:
    await enter(mosquitto)
    last = await enter(mosquitto)
    assert judged(mosquitto).status == "ok"
    await last.close()


@pytest.mark.parametrize(("second", "strangers"), [("10.0.0.2", True), ("10.0.0.1", False)])
def test_a_newer_mosquitto_is_understood(second: str, strangers: bool) -> None:
    found = history(NEWER.format(second=second).splitlines(), NAMES)
    assert (found.takeovers, found.strangers) == (1, strangers)
    assert (found.address, found.since) == ("10.0.0.1", "1795561059")


def test_a_broker_that_started_again_has_nobody_connected() -> None:
    lines = NEWER.format(second="10.0.0.1").splitlines()
    assert history([*lines, lines[0]], NAMES).address is None


def test_a_log_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    found = judge(tmp_path / "nowhere.log", NAMES)
    assert (found.status, "No such file" in found.what) == ("warning", True)
