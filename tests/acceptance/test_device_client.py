"""DeviceClient against a real mosquitto: what is published arrives, whatever the broker goes through."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from collector.broker import Mosquitto
from devices.client import ClientOptions, DeviceClient
from devices.model import Command, Device, Event
from devices.payload.native import encode_command
from devices.problems import Problems
from devices.signing import sign

KEY = b"0123456789abcdef0123456789abcdef"
ROUTER = Device("1305012001", "router-1", "router")
ONT = Device("1305012001", "ont-1", "ont", via="router-1")


class Watch:
    """A subscriber on everything, through restarts, that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes, bool]] = []
        self.subscribed = asyncio.Event()

    async def run(self, port: int) -> None:
        while True:
            try:
                async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
                    await client.subscribe("nagari/v1/#", qos=1)
                    self.subscribed.set()
                    async for message in client.messages:
                        assert isinstance(message.payload, bytes)
                        self.heard.append((message.topic.value, message.payload, bool(message.retain)))
            except aiomqtt.MqttError:
                self.subscribed.clear()
                await asyncio.sleep(0.05)

    def on(self, suffix: str, device: str = "router-1") -> list[bytes]:
        topic = f"nagari/v1/1305012001/{device}/{suffix}"
        return [payload for heard, payload, _ in self.heard if heard == topic]

    def numbers(self) -> list[float]:
        return [json.loads(payload)["values"]["latency_ms"] for payload in self.on("tele")]

    def acks(self) -> list[tuple[str, str, str]]:
        found = [json.loads(payload) for payload in self.on("ack")]
        return [(each["id"], each["status"], each["detail"]) for each in found]


@asynccontextmanager
async def watching(broker: Mosquitto) -> AsyncIterator[Watch]:
    watch = Watch()
    task = asyncio.create_task(watch.run(broker.port))
    async with asyncio.timeout(5):
        await watch.subscribed.wait()
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.01)


def options(broker: Mosquitto, **more: Any) -> ClientOptions:
    return ClientOptions(broker.url, **more)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "command-key"
    file.write_bytes(KEY)
    file.chmod(0o600)
    return file


async def test_what_is_published_arrives_once_with_time_and_number(mosquitto: Mosquitto) -> None:
    async with watching(mosquitto) as watch:
        before = int(time.time() * 1000)
        async with DeviceClient(options(mosquitto), ROUTER, [ONT]) as client:
            client.publish_tele({"latency_ms": 4.5, "on_lte": False})
            client.publish_tele({"rx_dbm": -21.4}, device="ont-1", ts=1764000000123)
            client.publish_event(Event("dying_gasp", data={"battery": 3}), device="ont-1")
            assert await client.drain(5)
        await until(lambda: len(watch.on("state")) == 2)
    tele = json.loads(watch.on("tele")[0])
    assert tele["values"] == {"latency_ms": 4.5, "on_lte": False}
    assert tele["seq"] == 0
    assert before <= tele["ts"] <= time.time() * 1000
    ont = [json.loads(payload) for payload in watch.on("tele", "ont-1")]
    assert ont == [{"ts": 1764000000123, "values": {"rx_dbm": -21.4}, "seq": 0}]
    assert json.loads(watch.on("event", "ont-1")[0])["data"] == {"battery": 3}


async def test_what_nobody_has_subscribed_to_yet_waits_for_the_first_who_does(mosquitto: Mosquitto) -> None:
    async with DeviceClient(options(mosquitto), ROUTER) as client:
        for number in range(100):
            client.publish_tele({"latency_ms": float(number)})
        await until(lambda: client.stats.connected)
        await asyncio.sleep(1.5)
        assert client.stats.pending == 100
        async with watching(mosquitto) as watch:
            assert await client.drain(10)
            await until(lambda: len(watch.on("tele")) == 100)
    assert [json.loads(payload)["seq"] for payload in watch.on("tele")] == list(range(100))


async def test_online_on_connect_and_offline_on_leaving_are_retained(mosquitto: Mosquitto) -> None:
    async with watching(mosquitto) as watch:
        async with DeviceClient(options(mosquitto), ROUTER):
            await until(lambda: watch.on("state") == [b"online"])
            async with watching(mosquitto) as late:
                await until(lambda: len(late.heard) == 1)
                assert late.heard[0][1:] == (b"online", True)
        await until(lambda: watch.on("state") == [b"online", b"offline"])
        assert watch.on("state", "ont-1") == []


async def test_a_publisher_that_vanishes_is_said_to_be_offline_by_its_will(mosquitto: Mosquitto) -> None:
    async with watching(mosquitto) as watch:
        async with DeviceClient(options(mosquitto), ROUTER):
            await until(lambda: watch.on("state") == [b"online"])
            # Another with the same client id: the broker throws the first out, as if its line had been cut.
            async with aiomqtt.Client(
                "127.0.0.1", mosquitto.port, identifier="router-1", protocol=aiomqtt.ProtocolVersion.V5
            ):
                await until(lambda: watch.on("state")[:2] == [b"online", b"offline"])
        await until(lambda: watch.on("state")[-1] == b"offline")


async def test_nothing_is_lost_while_the_broker_is_away(mosquitto: Mosquitto) -> None:
    async with DeviceClient(options(mosquitto), ROUTER) as client:
        await until(lambda: client.stats.connected)
        mosquitto.stop()
        await until(lambda: not client.stats.connected)
        for number in range(500):
            client.publish_tele({"latency_ms": float(number)})
        mosquitto.start()
        async with watching(mosquitto) as watch:
            await until(lambda: set(watch.numbers()) == set(map(float, range(500))), 15)
            assert watch.numbers() == sorted(watch.numbers())
        assert client.stats.dropped == 0
        assert client.stats.connections == 2


async def test_the_last_seconds_go_out_again_unchanged_after_the_broker_was_killed(
    mosquitto: Mosquitto,
) -> None:
    async with DeviceClient(options(mosquitto), ROUTER) as client, watching(mosquitto) as watch:
        for number in range(50):
            client.publish_tele({"latency_ms": float(number)})
        assert await client.drain(5)
        await until(lambda: len(watch.on("tele")) == 50)
        first = list(watch.on("tele"))
        mosquitto.kill()
        await until(lambda: not watch.subscribed.is_set())
        mosquitto.start()
        await until(lambda: Counter(watch.on("tele")) == Counter(dict.fromkeys(first, 2)), 15)
        assert client.stats.acked == 100


async def test_what_a_killed_broker_had_acknowledged_and_lost_reaches_an_absent_subscriber_in_the_end(
    mosquitto: Mosquitto,
) -> None:
    session = Properties(PacketTypes.CONNECT)
    session.SessionExpiryInterval = 600

    def subscriber() -> aiomqtt.Client:
        return aiomqtt.Client(
            "127.0.0.1",
            mosquitto.port,
            identifier="absent",
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=False,
            properties=session,
        )

    async with subscriber() as absent:
        await absent.subscribe("nagari/v1/+/+/tele", qos=1)
    await asyncio.sleep(2.5)  # until the broker has saved that session
    async with DeviceClient(options(mosquitto), ROUTER) as client:
        for number in range(50):
            client.publish_tele({"latency_ms": float(number)})
        assert await client.drain(5)
        mosquitto.kill()
        await until(lambda: not client.stats.connected)
        mosquitto.start()
        await until(lambda: client.stats.acked == 100, 15)
    found: set[float] = set()
    async with subscriber() as absent, asyncio.timeout(5):
        while len(found) < 50:
            message = await anext(absent.messages)
            found.add(json.loads(message.payload)["values"]["latency_ms"])
    assert found == set(map(float, range(50)))


async def test_what_was_acknowledged_long_enough_ago_is_not_sent_again(mosquitto: Mosquitto) -> None:
    async with DeviceClient(options(mosquitto, keep_s=0.2), ROUTER) as client, watching(mosquitto) as watch:
        client.publish_tele({"latency_ms": 1.0})
        assert await client.drain(5)
        await asyncio.sleep(0.3)
        client.publish_tele({"latency_ms": 2.0})
        assert await client.drain(5)
        mosquitto.stop()
        await until(lambda: not watch.subscribed.is_set())
        mosquitto.start()
        await until(lambda: watch.numbers().count(2.0) == 2, 15)
        assert watch.numbers().count(1.0) == 1


async def test_the_oldest_are_dropped_and_counted_when_the_buffer_is_full(mosquitto: Mosquitto) -> None:
    mosquitto.stop()
    async with DeviceClient(options(mosquitto, capacity=10), ROUTER) as client:
        for number in range(25):
            client.publish_tele({"latency_ms": float(number)})
        assert client.stats.dropped == 15
        assert client.stats.pending == 10
        mosquitto.start()
        async with watching(mosquitto):
            assert await client.drain(10)
        assert client.stats.acked == 10


async def send(broker: Mosquitto, payload: bytes, *, retain: bool = False, device: str = "router-1") -> None:
    async with aiomqtt.Client("127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.publish(f"nagari/v1/1305012001/{device}/cmd", payload, qos=1, retain=retain)


def order(name: str, id_: str, key: bytes = KEY, seconds: float = 30, **args: object) -> bytes:
    command = Command(id_, name, args, int((time.time() + seconds) * 1000))
    return encode_command(sign(command, ROUTER.site, ROUTER.id, key))


async def test_commands_are_run_once_and_answered(mosquitto: Mosquitto, key_file: Path) -> None:
    done: list[tuple[str, str, object]] = []

    async def obey(device: Device, command: Command) -> str:
        if command.name == "reboot":
            raise OSError("the relay does not answer")
        done.append((device.id, command.name, command.args))
        return "on LTE"

    with_key = options(mosquitto, command_key_file=key_file)
    async with watching(mosquitto) as watch, DeviceClient(with_key, ROUTER, handler=obey) as client:
        await until(lambda: client.stats.connected)
        again = order("switch_uplink", "c1", to="lte")
        await send(mosquitto, again)
        await until(lambda: ("c1", "done", "on LTE") in watch.acks())
        await send(mosquitto, again)
        await until(lambda: watch.acks().count(("c1", "done", "on LTE")) == 2)
        await send(mosquitto, order("reboot", "c2"))
        await until(lambda: ("c2", "failed", "the relay does not answer") in watch.acks())
        assert done == [("router-1", "switch_uplink", {"to": "lte"})]
        assert ("c1", "accepted", "") in watch.acks()


async def test_a_command_that_comes_again_after_a_restart_is_answered_and_not_run(
    mosquitto: Mosquitto, key_file: Path, tmp_path: Path
) -> None:
    done: list[str] = []

    async def obey(device: Device, command: Command) -> str:
        done.append(command.id)
        return "on LTE"

    kept = options(mosquitto, command_key_file=key_file, command_memory=tmp_path / "commands.json")
    again = order("switch_uplink", "c1", to="lte")
    async with watching(mosquitto) as watch:
        for answers in (1, 2):
            async with DeviceClient(kept, ROUTER, handler=obey) as client:
                await until(lambda: client.stats.connected)
                await send(mosquitto, again)
                await until(lambda: watch.acks().count(("c1", "done", "on LTE")) == answers)  # noqa: B023
    assert done == ["c1"]


async def test_commands_that_must_not_be_obeyed_are_rejected_with_the_reason(
    mosquitto: Mosquitto, key_file: Path
) -> None:
    async def obey(device: Device, command: Command) -> str:
        raise AssertionError(f"{command.id} was run")

    with_key = options(mosquitto, command_key_file=key_file)
    async with watching(mosquitto) as watch, DeviceClient(with_key, ROUTER, handler=obey) as client:
        await until(lambda: client.stats.connected)
        await send(mosquitto, order("reboot", "late", seconds=-1))
        await send(mosquitto, order("reboot", "forged", key=b"another"))
        await send(mosquitto, order("reboot", "altered").replace(b'"args":{}', b'"args":{"now":1}'))
        await send(mosquitto, order("siren", "strange"))
        await send(mosquitto, order("reboot", "kept"), retain=True)
        await send(mosquitto, b"{}")
        await until(lambda: client.stats.commands == 6 and len(watch.acks()) == 5)
        assert client.stats.bad_commands == 1
    assert set(watch.acks()) == {
        ("late", "rejected", "expired"),
        ("forged", "rejected", "altered"),
        ("altered", "rejected", "altered"),
        ("strange", "rejected", "unknown_command"),
        ("kept", "rejected", "retained"),
    }


async def test_a_password_that_others_can_read_is_refused_at_start(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("secret")
    file.chmod(0o644)
    with pytest.raises(Problems, match="others can read this secret; chmod 600"):
        async with DeviceClient(ClientOptions("mqtt://127.0.0.1:1", password_file=file), ROUTER):
            pass


async def test_a_broker_that_refuses_a_topic_is_noticed(tmp_path: Path, free_port: int) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic write nagari/v1/1305012001/router-1/#\ntopic read nagari/v1/#\n")
    acl.chmod(0o644)
    broker = Mosquitto(tmp_path / "m", free_port, acl_file=str(acl))
    broker.start()
    try:
        async with watching(broker), DeviceClient(options(broker), ROUTER, [ONT]) as client:
            client.publish_tele({"latency_ms": 1.0})
            client.publish_tele({"rx_dbm": -20.0}, device="ont-1")
            assert await client.drain(5)
            assert (client.stats.acked, client.stats.refused) == (1, 1)
    finally:
        broker.stop()


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A folder with the key.pem and the cert.pem of 127.0.0.1, signed by itself."""
    folder = tmp_path / "tls"
    folder.mkdir()
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    )
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / "key.pem")]
    subprocess.run(
        [*command.split(), *names, "-out", str(folder / "cert.pem")], check=True, capture_output=True
    )
    (folder / "key.pem").chmod(0o644)  # mosquitto reads it as its own user
    return folder


async def test_over_tls_it_publishes_to_a_broker_it_can_trust_and_to_no_other(
    tmp_path: Path, free_port: int, certificates: Path
) -> None:
    files = {"certfile": str(certificates / "cert.pem"), "keyfile": str(certificates / "key.pem")}
    broker = Mosquitto(tmp_path / "m", free_port, **files)
    broker.start()
    url = f"mqtts://127.0.0.1:{free_port}"
    try:
        trusting = ClientOptions(url, ca=certificates / "cert.pem")
        trust = ssl.create_default_context(cafile=certificates / "cert.pem")
        async with aiomqtt.Client("127.0.0.1", free_port, tls_context=trust) as somebody:
            await somebody.subscribe("nagari/v1/#")
            async with DeviceClient(trusting, ROUTER) as client:
                client.publish_tele({"latency_ms": 1.0})
                assert await client.drain(5)
        async with DeviceClient(ClientOptions(url, drain_s=0), ROUTER) as client:
            client.publish_tele({"latency_ms": 1.0})
            assert not await client.drain(1)
            assert client.stats.connections == 0
    finally:
        broker.stop()


async def test_certificates_that_cannot_be_used_are_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(Problems, match="the certificates cannot be used"):
        async with DeviceClient(ClientOptions("mqtts://127.0.0.1:1", ca=tmp_path / "none.pem"), ROUTER):
            pass


async def test_a_url_that_names_no_broker_is_refused_at_start() -> None:
    with pytest.raises(Problems, match="'http://x' is no broker; write it like"):
        async with DeviceClient(ClientOptions("http://x"), ROUTER):
            pass
