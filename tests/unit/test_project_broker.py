"""Brokers for this machine: they speak MQTT 5 on loopback alone, and never outlive who started them."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mqtt5
import psutil
import pytest

from collector.broker import EmbeddedBroker, Mosquitto, free_port, start_broker
from collector.doctor.wire import Account, ProbeConnection, connect
from devices.problems import Problems

Make = Callable[[Path, int], EmbeddedBroker | Mosquitto]
EACH = pytest.mark.parametrize("make", [Mosquitto, EmbeddedBroker])
TOPIC = "nagari/v1/1305012001/ont-1/tele"


async def _open(port: int, name: str) -> ProbeConnection:
    hello = mqtt5.ConnectPacket(name, clean_start=True, keep_alive=60)
    connection = await connect(Account("127.0.0.1", port), hello)
    assert connection.connack.reason_code == mqtt5.ConnAckReasonCode.SUCCESS
    return connection


async def _carried(port: int, payload: bytes) -> bytes:
    ears = await _open(port, "ears")
    ears.send(mqtt5.SubscribePacket(1, [mqtt5.TopicFilter("nagari/#")]))
    await ears.receive()
    mouth = await _open(port, "mouth")
    mouth.send(mqtt5.PublishPacket(TOPIC, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=1))
    came = next(packet for packet in await ears.receive() if isinstance(packet, mqtt5.PublishPacket))
    await mouth.close()
    await ears.close()
    return came.payload


@EACH
def test_it_carries_the_largest_lawful_message_over_mqtt_5(make: Make, tmp_path: Path) -> None:
    broker = make(tmp_path, free_port())
    broker.start()
    try:
        payload = b"x" * 256 * 1024
        assert asyncio.run(_carried(broker.port, payload)) == payload
    finally:
        broker.stop()
    assert not broker.alive()


@EACH
def test_it_listens_on_loopback_alone(make: Make, tmp_path: Path) -> None:
    broker = make(tmp_path, free_port())
    broker.start()
    try:
        listening = {
            c.laddr.ip for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port == broker.port
        }
        assert listening == {"127.0.0.1"}
    finally:
        broker.stop()


@EACH
def test_it_ends_with_the_process_that_started_it(make: Make, tmp_path: Path) -> None:
    port = free_port()
    code = f"""
import os, sys
from pathlib import Path
from collector.broker import {make.__name__}
broker = {make.__name__}(Path({str(tmp_path)!r}), {port})
broker.start()
print("up", flush=True)
sys.stdin.read()
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"up\n"
    children = psutil.Process(parent.pid).children(recursive=True)
    assert children
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    _, left = psutil.wait_procs(children, timeout=10)
    assert left == []


def test_mosquitto_is_taken_where_it_is_installed(tmp_path: Path) -> None:
    broker = start_broker(tmp_path, free_port())
    kind = broker.kind
    broker.stop()
    assert kind == "mosquitto"


def test_without_mosquitto_the_embedded_broker_is_taken(tmp_path: Path) -> None:
    code = f"""
import collector.broker.run as run
from pathlib import Path
broker = run.start_broker(Path({str(tmp_path)!r}), run.free_port())
print(broker.kind)
broker.stop()
"""
    hidden = code.replace("from pathlib", "run._PATHS = ''\nfrom pathlib")
    done = subprocess.run(
        [sys.executable, "-c", hidden], capture_output=True, text=True, check=True, env={"PATH": "/nowhere"}
    )
    assert done.stdout == "embedded\n"


def test_mosquitto_keeps_what_it_took_in_over_a_restart(mosquitto: Mosquitto) -> None:
    asyncio.run(_leave_session(mosquitto.port))
    mosquitto.stop()
    mosquitto.start()
    assert asyncio.run(_take_session(mosquitto.port)) == b"kept"


def test_a_port_that_is_taken_is_named(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with pytest.raises(Problems, match=f"port {mosquitto.port}: is taken"):
        Mosquitto(tmp_path / "second", mosquitto.port).start()


def test_a_taken_port_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port(port) > port


def _session(name: str) -> mqtt5.ConnectPacket:
    return mqtt5.ConnectPacket(name, session_expiry_interval=600)


async def _leave_session(port: int) -> None:
    connection = await connect(Account("127.0.0.1", port), _session("ears"))
    connection.send(mqtt5.SubscribePacket(1, [mqtt5.TopicFilter("nagari/#")]))
    await connection.receive()
    await connection.close()
    mouth = await _open(port, "mouth")
    mouth.send(mqtt5.PublishPacket(TOPIC, b"kept", qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=1))
    await mouth.receive()
    await mouth.close()


async def _take_session(port: int) -> bytes:
    connection = await connect(Account("127.0.0.1", port), _session("ears"))
    assert connection.connack.session_present
    packets = await connection.receive()
    await connection.close()
    return next(packet.payload for packet in packets if isinstance(packet, mqtt5.PublishPacket))
