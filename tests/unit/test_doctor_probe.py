"""The doctor tries real brokers out: good ones, and ones that would lose messages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mqtt5
import pytest

from collector.broker import Mosquitto, free_port
from collector.doctor.findings import Finding
from collector.doctor.probe import BrokerDemands, granted, probe
from collector.doctor.wire import Account, connect

WANTED = BrokerDemands(session_expiry=7 * 86400, receive_max=2000)
QUEUE = "broker keeps messages"


@contextmanager
def broker(folder: Path, **changes: str) -> Iterator[Mosquitto]:
    started = Mosquitto(folder / "broker", free_port(), **changes)
    started.start()
    try:
        yield started
    finally:
        started.stop()


def examined(port: int, messages: int = 3500, username: str | None = None) -> dict[str, Finding]:
    account = Account("127.0.0.1", port, username)
    return {finding.check: finding for finding in asyncio.run(probe(account, WANTED, messages))}


def ill(found: dict[str, Finding]) -> dict[str, str]:
    return {check: finding.status for check, finding in found.items() if finding.status != "ok"}


def test_a_broker_on_the_shipped_settings_is_well(mosquitto: Mosquitto) -> None:
    found = examined(mosquitto.port)
    assert ill(found) == {}
    assert "all of 3,500" in found[QUEUE].what


@pytest.mark.parametrize("setting", ["max_queued_messages", "max_queued_bytes"])
def test_a_broker_that_drops_what_waits_is_found_out(tmp_path: Path, setting: str) -> None:
    with broker(tmp_path, **{setting: "1000"}) as bad:
        found = examined(bad.port)
    assert ill(found) == {QUEUE: "bad"}
    assert "500 were gone" in found[QUEUE].what or "gone when the client came back" in found[QUEUE].what
    assert setting in found[QUEUE].mend


def test_mosquittos_defaults_are_found_out(tmp_path: Path) -> None:
    with broker(tmp_path, max_queued_messages="", max_inflight_messages="") as bad:
        assert ill(examined(bad.port)) == {QUEUE: "bad"}


def test_a_limit_on_packets_is_found_out(tmp_path: Path) -> None:
    with broker(tmp_path, max_packet_size="2000") as bad:
        found = examined(bad.port, 10)
    assert ill(found) == {"broker largest packet": "bad"}


def test_a_broker_that_keeps_no_state_is_found_out(tmp_path: Path) -> None:
    with broker(tmp_path, retain_available="false") as bad:
        assert ill(examined(bad.port, 10)) == {"broker retained messages": "bad"}


def test_a_broker_that_is_not_there_is_named(free_port: int) -> None:
    found = examined(free_port)
    assert found["broker reachable"].what == f"127.0.0.1:{free_port}: connection refused"


def test_a_refusal_is_named(tmp_path: Path) -> None:
    with broker(tmp_path, allow_anonymous="false") as strict:
        found = examined(strict.port)
    assert found["broker credentials"].status == "bad"
    assert "refuses us without an account: not authorized" in found["broker credentials"].what


def test_an_account_that_may_not_probe_gets_a_warning(tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite nagari/#\n")
    acl.chmod(0o600)
    with broker(tmp_path, acl_file=str(acl)) as strict:
        found = examined(strict.port, 10)
    assert ill(found) == {QUEUE: "warning"}
    assert "nagari-doctor/#" in found[QUEUE].mend


def test_nothing_is_left_behind(mosquitto: Mosquitto) -> None:
    examined(mosquitto.port, 10)
    mosquitto.stop()
    database = (mosquitto.folder / "mosquitto.db").read_bytes()
    assert b"nagari-doctor" not in database


def test_a_session_that_is_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    """Where the username is the client id, the doctor must not take the collector's queue."""
    with broker(tmp_path, use_username_as_clientid="true") as shared:
        asyncio.run(_subscribe_and_leave(shared.port))
        found = examined(shared.port, 10, "nagari-collector")
        assert ill(found) == {QUEUE: "warning"}
        assert "an account of its own" in found[QUEUE].mend
        assert asyncio.run(_session_present(shared.port))


def test_what_a_broker_grants_too_little_of_is_bad() -> None:
    connack = mqtt5.ConnAckPacket(
        session_expiry_interval=60,
        receive_max=1,
        max_qos=mqtt5.QoS.AT_MOST_ONCE,
        retain_available=False,
        max_packet_size=1000,
        wildcard_subscription_available=False,
    )
    found = granted(connack, WANTED)
    assert {finding.status for finding in found} == {"bad"}
    assert all(finding.mend for finding in found)


def _hello() -> mqtt5.ConnectPacket:
    return mqtt5.ConnectPacket("any", username="nagari-collector", session_expiry_interval=600)


async def _subscribe_and_leave(port: int) -> None:
    connection = await connect(Account("127.0.0.1", port), _hello())
    connection.send(mqtt5.SubscribePacket(1, [mqtt5.TopicFilter("nagari/#")]))
    await connection.receive()
    await connection.close()


async def _session_present(port: int) -> bool:
    connection = await connect(Account("127.0.0.1", port), _hello())
    present = connection.connack.session_present
    await connection.close()
    return present
