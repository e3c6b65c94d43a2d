"""The shipped mosquitto.conf, ACL and TLS listener, on a real mosquitto: who may do what."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mqtt5
import pytest

from collector.broker import SHIPPED, find_mosquitto, free_port
from collector.broker.child import spawn, stop
from collector.doctor.mosquitto import judge
from collector.doctor.mosquitto_conf import read
from collector.doctor.probe import BrokerDemands, probe
from collector.doctor.wire import Account, ProbeConnection, connect
from tests.servers import NO_NAMESPACE

ROOT = Path(__file__).resolve().parents[2]
SHIPPED_FILES = ROOT / "deploy" / "mosquitto"
ROUTER = "1305012001/router-1"
OTHER = "1305012002/router-2"
COLLECTOR = "nagari-collector"
PASSWORD = "a password of this test"


LISTENERS = ("loopback", "tls")
INSTALL = """set -e
ip link set lo up
mount --bind "$1/etc" /etc/mosquitto
mount --bind "$1/lib" /var/lib/mosquitto
mount --bind "$1/log" /var/log/mosquitto
exec "$2" -c /etc/mosquitto/mosquitto.conf
"""


@dataclass(frozen=True)
class Broker:
    conf: Path
    port: int
    tls_port: int
    ca: Path

    def at(self, listener: str) -> Account:
        if listener == "loopback":
            return Account("127.0.0.1", self.port)
        tls = ssl.create_default_context(cafile=str(self.ca))
        return Account("127.0.0.1", self.tls_port, tls=tls)


@dataclass(frozen=True)
class Installed:
    """mosquitto on the shipped files, to the byte and in their places, with a network of its own."""

    process: subprocess.Popen[bytes]
    log: Path

    def open_sockets(self) -> set[str]:
        """Every address and port that is listened to in that network."""
        command = (
            f"nsenter --net=/proc/{self.process.pid}/ns/net ss --no-header --listening --numeric --tcp --udp"
        )
        shown = subprocess.run(command.split(), check=True, capture_output=True, text=True)
        return {line.split()[4] for line in shown.stdout.splitlines()}

    def await_listening(self, expected: set[str]) -> None:
        deadline = time.monotonic() + 5
        while not expected <= self.open_sockets():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        time.sleep(0.3)  # a listener too many might come last


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Callable[..., Installed]]:
    """Start it; with `tls` as README.md says to add TLS, else without conf.d's file."""
    if (
        os.geteuid() != 0
        or not all(map(shutil.which, ("unshare", "nsenter", "ip", "ss")))
        or not Path("/etc/mosquitto").is_dir()
    ):
        pytest.skip(NO_NAMESPACE)
    started = []

    def start(*, tls: bool) -> Installed:
        etc = tmp_path / "etc"
        shutil.copytree(SHIPPED_FILES, etc)
        (etc / "certs").mkdir()
        _certificate(etc / "certs")
        if not tls:
            (etc / "conf.d" / "nagari-tls.conf").unlink()
        _accounts(etc / "nagari.passwd", COLLECTOR, ROUTER)
        for name in ("etc", "lib", "log"):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name).chmod(0o755)
            shutil.chown(tmp_path / name, "mosquitto")
        for secret in (etc / "nagari.passwd", etc / "certs" / "server.key"):
            shutil.chown(secret, "mosquitto")
        command = [
            "unshare",
            "--net",
            "--mount",
            "sh",
            "-c",
            INSTALL,
            "sh",
            str(tmp_path),
            str(find_mosquitto()),
        ]
        started.append(spawn(command, tmp_path / "out"))
        return Installed(started[0], tmp_path / "out")

    yield start
    for process in started:
        stop(process)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The shipped files with nothing changed but paths, ports and who mosquitto runs as."""
    folder = tmp_path_factory.mktemp("mosquitto")
    port, tls_port = free_port(), free_port()
    (folder / "conf.d").mkdir()
    (folder / "certs").mkdir()
    _certificate(folder / "certs")
    paths = {
        "/etc/mosquitto/nagari.": f"{folder}/nagari.",
        "/etc/mosquitto/certs": f"{folder}/certs",
        "/etc/mosquitto/conf.d": f"{folder}/conf.d",
        "/var/lib/mosquitto/": f"{folder}/",
        "/var/log/mosquitto/": f"{folder}/",
        "listener 1883 ": f"listener {port} ",
        "listener 8883": f"listener {tls_port} 127.0.0.1",
    }
    conf = folder / "mosquitto.conf"
    conf.write_text(_with(paths, SHIPPED_FILES / "mosquitto.conf") + "user root\n")
    (folder / "conf.d" / "nagari-tls.conf").write_text(
        _with(paths, SHIPPED_FILES / "conf.d" / "nagari-tls.conf")
    )
    shutil.copy(SHIPPED_FILES / "nagari.acl", folder / "nagari.acl")
    _accounts(folder / "nagari.passwd", COLLECTOR, "nagari-doctor", ROUTER, OTHER)
    binary = find_mosquitto()
    assert binary is not None, "mosquitto is not installed: `make servers`"
    process = spawn([str(binary), "-c", str(conf)], folder / "out")
    _await_port(port)
    yield Broker(conf, port, tls_port, folder / "certs" / "ca.crt")
    stop(process)


def _with(changes: dict[str, str], file: Path) -> str:
    text = file.read_text("utf-8")
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


def _accounts(file: Path, *names: str) -> None:
    file.touch(0o600)
    for name in names:
        subprocess.run(["mosquitto_passwd", "-b", file, name, PASSWORD], check=True, capture_output=True)


def _certificate(folder: Path) -> None:
    how = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    command = ["openssl", *how.split(), "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(folder / "server.key"), "-out", str(folder / "server.crt")]
    subprocess.run(command, check=True, capture_output=True)
    shutil.copy(folder / "server.crt", folder / "ca.crt")


def _await_port(port: int) -> None:
    async def reached() -> None:
        async with asyncio.timeout(5):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    return

    asyncio.run(reached())


async def _enter(broker: Broker, name: str | None, password: str | None = PASSWORD) -> ProbeConnection:
    secret = password.encode() if password is not None else None
    hello = mqtt5.ConnectPacket(
        f"chosen-{name}".replace("/", "-"), username=name, password=secret, clean_start=True, keep_alive=60
    )
    return await connect(Account("127.0.0.1", broker.port), hello)


async def _publish(connection: ProbeConnection, topic: str, payload: bytes = b"{}") -> mqtt5.PubAckReasonCode:
    connection.send(mqtt5.PublishPacket(topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=1))
    answer = next(packet for packet in await connection.receive() if isinstance(packet, mqtt5.PubAckPacket))
    return answer.reason_code


async def _hear(connection: ProbeConnection, *filters: str) -> None:
    connection.send(mqtt5.SubscribePacket(1, [mqtt5.TopicFilter(each) for each in filters]))
    await connection.receive()


async def _heard(connection: ProbeConnection, patience: float = 0.5) -> list[str]:
    topics: list[str] = []
    while True:
        try:
            packets = await connection.receive(patience)
        except TimeoutError:
            return topics
        topics += [packet.topic for packet in packets if isinstance(packet, mqtt5.PublishPacket)]


def test_the_files_as_they_are_open_the_one_listener_on_loopback(install: Callable[..., Installed]) -> None:
    installed, meant = install(tls=False), {"127.0.0.1:1883"}
    installed.await_listening(meant)
    assert installed.open_sockets() == meant


def test_the_files_as_they_are_open_tls_beside_it_and_nothing_else(install: Callable[..., Installed]) -> None:
    installed, meant = install(tls=True), {"127.0.0.1:1883", "0.0.0.0:8883", "[::]:8883"}
    installed.await_listening(meant)
    assert installed.open_sockets() == meant


def test_the_file_says_what_demo_and_tests_run_on() -> None:
    said = {name: setting.value for name, setting in read(SHIPPED_FILES / "mosquitto.conf").settings.items()}
    assert {name: said.get(name) for name in SHIPPED} == SHIPPED


def test_the_doctor_finds_nothing_wrong_with_it(broker: Broker) -> None:
    assert [finding for finding in judge(read(broker.conf), 7 * 86400) if finding.status != "ok"] == []
    account = Account("127.0.0.1", broker.port, "nagari-doctor", PASSWORD)
    found = asyncio.run(probe(account, BrokerDemands(7 * 86400, 2000)))
    assert [finding for finding in found if finding.status != "ok"] == []


@pytest.mark.parametrize(
    ("name", "password"),
    [(None, None), (ROUTER, None), (ROUTER, ""), (ROUTER, "guess"), ("admin", "admin"), ("nobody", PASSWORD)],
)
async def test_strangers_are_refused(broker: Broker, name: str | None, password: str | None) -> None:
    connection = await _enter(broker, name, password)
    assert int(connection.connack.reason_code) >= 0x80
    await connection.close()


@pytest.mark.parametrize("kind", ["tele", "state", "event", "ack"])
async def test_a_device_publishes_under_its_own_site_and_id(broker: Broker, kind: str) -> None:
    device = await _enter(broker, ROUTER)
    assert int(await _publish(device, f"nagari/v1/{ROUTER}/{kind}")) < 0x80
    await device.close()


@pytest.mark.parametrize(
    "topic",
    [
        f"nagari/v1/{OTHER}/tele",
        "nagari/v1/1305012001/router-2/tele",
        "nagari/v1/1305012002/router-1/tele",
        f"nagari/v1/{ROUTER}/cmd",
        f"nagari/v1/{ROUTER}/tele/more",
        "nagari-doctor/x",
        "$SYS/broker/uptime",
        "anything",
    ],
)
async def test_a_device_publishes_nowhere_else(broker: Broker, topic: str) -> None:
    device = await _enter(broker, ROUTER)
    assert await _publish(device, topic) == mqtt5.PubAckReasonCode.NOT_AUTHORIZED
    await device.close()


async def test_a_device_hears_its_own_commands_and_nothing_else(broker: Broker) -> None:
    device = await _enter(broker, ROUTER)
    await _hear(device, "#", "$SYS/#", f"nagari/v1/{ROUTER}/cmd", "nagari/v1/+/+/cmd", "nagari/v1/+/+/tele")
    collector = await _enter(broker, COLLECTOR)
    other = await _enter(broker, OTHER)
    await _publish(other, f"nagari/v1/{OTHER}/tele")
    await _publish(collector, f"nagari/v1/{OTHER}/cmd")
    await _publish(collector, f"nagari/v1/{ROUTER}/cmd")
    assert set(await _heard(device)) == {f"nagari/v1/{ROUTER}/cmd"}
    for connection in (device, other, collector):
        await connection.close()


async def test_the_collector_hears_everybody(broker: Broker) -> None:
    collector = await _enter(broker, COLLECTOR)
    await _hear(collector, "nagari/v1/+/+/tele")
    device = await _enter(broker, ROUTER)
    await _publish(device, f"nagari/v1/{ROUTER}/tele")
    assert await _heard(collector) == [f"nagari/v1/{ROUTER}/tele"]
    await device.close()
    await collector.close()


async def test_the_collector_forges_no_readings(broker: Broker) -> None:
    collector = await _enter(broker, COLLECTOR)
    assert int(await _publish(collector, f"nagari/v1/{ROUTER}/tele")) >= 0x80
    await collector.close()


async def _enter_as_collector(broker: Broker, name: str, listener: str, *, clean: bool) -> ProbeConnection:
    """An account that connects under the collector's client id, for a session that lasts."""
    hello = mqtt5.ConnectPacket(
        COLLECTOR,
        username=name,
        password=PASSWORD.encode(),
        clean_start=clean,
        keep_alive=60,
        session_expiry_interval=60,
    )
    return await connect(broker.at(listener), hello)


@pytest.mark.parametrize("listener", LISTENERS)
@pytest.mark.parametrize("collectors", LISTENERS)
async def test_no_device_takes_over_the_collectors_session_by_its_client_id(
    broker: Broker, collectors: str, listener: str
) -> None:
    collector = await _enter_as_collector(broker, COLLECTOR, collectors, clean=True)
    await _hear(collector, "nagari/v1/+/+/tele")
    thief = await _enter_as_collector(broker, ROUTER, listener, clean=False)
    await _publish(thief, f"nagari/v1/{ROUTER}/tele")
    assert await _heard(collector) == [f"nagari/v1/{ROUTER}/tele"]
    await thief.close()
    await collector.close()


@pytest.mark.parametrize("listener", LISTENERS)
async def test_no_device_wipes_what_waits_for_the_collector(broker: Broker, listener: str) -> None:
    collector = await _enter_as_collector(broker, COLLECTOR, "loopback", clean=True)
    await _hear(collector, "nagari/v1/+/+/tele")
    await collector.close()
    vandal = await _enter_as_collector(broker, ROUTER, listener, clean=True)
    await _publish(vandal, f"nagari/v1/{ROUTER}/tele")
    await vandal.close()
    back = await _enter_as_collector(broker, COLLECTOR, "loopback", clean=False)
    assert back.connack.session_present
    assert await _heard(back) == [f"nagari/v1/{ROUTER}/tele"]
    await back.close()


async def test_a_message_that_is_too_large_for_us_still_comes_through_to_be_refused_in_the_open(
    broker: Broker,
) -> None:
    collector = await _enter(broker, COLLECTOR)
    await _hear(collector, "nagari/v1/+/+/tele")
    device = await _enter(broker, ROUTER)
    await _publish(device, f"nagari/v1/{ROUTER}/tele", b"x" * 1_000_000)
    assert len(await _heard(collector)) == 1
    await device.close()
    await collector.close()


async def test_the_field_comes_in_under_tls(broker: Broker) -> None:
    context = ssl.create_default_context(cafile=str(broker.ca))
    hello = mqtt5.ConnectPacket(
        "x", username=ROUTER, password=PASSWORD.encode(), clean_start=True, keep_alive=60
    )
    device = await connect(Account("127.0.0.1", broker.tls_port, tls=context), hello)
    assert device.connack.reason_code == mqtt5.ConnAckReasonCode.SUCCESS
    await device.close()


@pytest.mark.parametrize(
    ("ciphers", "taken"),
    [
        ("ECDHE-ECDSA-AES256-GCM-SHA384", True),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", True),
        ("ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:ECDHE-ECDSA-AES256-SHA384", False),
    ],
)
async def test_tls_1_2_without_cbc(broker: Broker, ciphers: str, taken: bool) -> None:
    context = ssl.create_default_context(cafile=str(broker.ca))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", broker.tls_port, ssl=context)
    except (ssl.SSLError, ConnectionError):
        assert not taken
    else:
        writer.close()
        assert taken


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_older_tls_is_refused(broker: Broker) -> None:
    context = ssl.create_default_context(cafile=str(broker.ca))
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", broker.tls_port, ssl=context)
