"""The collector under TLS with an account: it checks the broker, and says why it is refused."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.broker import Mosquitto, free_port
from devices.client import ClientOptions, DeviceClient
from devices.model import Device
from tests.bench.rig import Rig

ACCOUNT, PASSWORD = "nagari-collector", "a secret of the test"


def run(*command: str, into: Path) -> None:
    subprocess.run(command, cwd=into, check=True, capture_output=True)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a certificate for localhost, a stranger's authority, and the broker's accounts."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ca", "stranger"):
        asked = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}")
        run("openssl", *asked, "-keyout", f"{name}.key", "-out", f"{name}.pem", into=folder)
    asked = (
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
    )
    run("openssl", *asked, "-keyout", "broker.key", "-out", "broker.csr", into=folder)
    signing = (
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-copy_extensions",
        "copy",
    )
    run("openssl", "x509", "-req", "-in", "broker.csr", *signing, "-out", "broker.pem", into=folder)
    run("mosquitto_passwd", "-b", "-c", "accounts", ACCOUNT, PASSWORD, into=folder)
    for name, text in (("right", PASSWORD), ("wrong", "guessed")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    return folder


@pytest.fixture
def broker(tmp_path: Path, keys: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(
        tmp_path / "mosquitto",
        free_port(),
        allow_anonymous="false",
        password_file=str(keys / "accounts"),
        cafile=str(keys / "ca.pem"),
        certfile=str(keys / "broker.pem"),
        keyfile=str(keys / "broker.key"),
    )
    broker.start()
    yield broker
    broker.stop()


def collector(folder: Path, broker: Mosquitto, keys: Path, ca: str, password: str) -> Rig:
    env = {
        "NAGARI_MQTT__USERNAME": ACCOUNT,
        "NAGARI_MQTT__PASSWORD_FILE": str(keys / password),
        "NAGARI_MQTT__CA": str(keys / ca),
    }
    return Rig(folder, sites=1, broker=broker, url=f"mqtts://localhost:{broker.port}", env=env)


async def test_a_reading_comes_in_under_tls_with_an_account(
    tmp_path: Path, broker: Mosquitto, keys: Path
) -> None:
    rig = collector(tmp_path / "rig", broker, keys, "ca.pem", "right")
    rig.start()
    options = ClientOptions(
        f"mqtts://localhost:{broker.port}", username=ACCOUNT, password_file=keys / "right", ca=keys / "ca.pem"
    )
    async with DeviceClient(options, Device("load-000000", "router-000000-0", "router")) as client:
        client.publish_tele({"latency_ms": 3.5})
        assert await client.drain(10)
    assert rig.settle(3)["stored"] == 3
    assert PASSWORD not in rig.tail()
    rig.stop()


@pytest.mark.parametrize(
    ("ca", "password", "said"),
    [("stranger.pem", "right", "certificate verify failed"), ("ca.pem", "wrong", "NOT_AUTHORIZED")],
)
def test_what_stands_in_the_way_is_said_and_the_page_is_there_all_the_same(
    tmp_path: Path, broker: Mosquitto, keys: Path, ca: str, password: str, said: str
) -> None:
    rig = collector(tmp_path / "rig", broker, keys, ca, password)
    rig.start(wait=False)
    health = rig.eventually("/api/v1/stats", lambda stats: said in stats["health"]["mqtt"])
    assert health["ready"] is False
    rig.stop()
