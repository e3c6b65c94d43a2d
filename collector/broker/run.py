"""Starts a broker on loopback as a child of this process: mosquitto where installed, else the embedded one.

For the demo and the tests: without accounts, heard on 127.0.0.1 only. The child dies with its parent.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Literal, Protocol

from collector.broker.child import spawn, stop
from collector.broker.settings import loopback
from devices.problems import Problems

HOST = "127.0.0.1"
_START_S = 5.0
_PATHS = "/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"  # not on every user's PATH
_RUMQTTD = """\
id = 0
[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 200
max_segment_size = 10485760
max_segment_count = 10
[v5.1]
name = "v5"
listen = "{host}:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 2097152
max_inflight_count = 200
dynamic_filters = true
"""


class LocalBroker(Protocol):
    """A broker that runs on 127.0.0.1."""

    kind: Literal["mosquitto", "embedded"]
    port: int

    @property
    def url(self) -> str:
        """`mqtt://127.0.0.1:PORT`."""

    def stop(self) -> None:
        """End it. mosquitto saves what it holds. May be called twice."""

    def alive(self) -> bool:
        """Whether it still runs."""


def find_mosquitto() -> Path | None:
    """Where mosquitto is installed; None: nowhere."""
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:{_PATHS}")
    return Path(found) if found else None


def free_port(preferred: int = 0) -> int:
    """The preferred port if it is free on loopback, else the next free one above; 0 takes any."""
    # Any: of those that the kernel gives to no outgoing connection, which could take it before it is used.
    preferred = preferred or random.randrange(20_000, 32_000)  # noqa: S311 (no secret)
    return next(port for port in range(preferred, 65536) if _free(port))


def start_broker(folder: Path, port: int) -> LocalBroker:
    """Start a broker on 127.0.0.1:port with its data in `folder`; returns once it listens. Raises Problems"""
    binary = find_mosquitto()
    broker = Mosquitto(folder, port) if binary else EmbeddedBroker(folder, port)
    broker.start()
    return broker


class Mosquitto:
    """mosquitto on the shipped settings. `changes` replace settings of its file, "" leaves one out."""

    kind: Literal["mosquitto", "embedded"] = "mosquitto"

    def __init__(self, folder: Path, port: int, **changes: str) -> None:
        self.port = port
        self.folder = folder.absolute()
        self.changes = changes
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """`mqtt://127.0.0.1:PORT`."""
        return f"mqtt://{HOST}:{self.port}"

    @property
    def conf(self) -> Path:
        """The settings file it runs on, written at each start."""
        return self.folder / "mosquitto.conf"

    @property
    def pid(self) -> int:
        """The process id. Raises RuntimeError when it does not run."""
        if self._process is None:
            raise RuntimeError("mosquitto does not run")
        return self._process.pid

    def start(self) -> None:
        """Start it; after `stop` or `kill`, with what it had saved. Raises Problems if it does not start."""
        binary = find_mosquitto()
        if binary is None:
            raise Problems.one("mosquitto", "is not installed", "run `make servers`")
        if not _free(self.port):
            raise Problems.one(
                f"port {self.port}", "is taken", "stop what listens there, or take another port"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self.conf.write_text(loopback(self.folder, self.port, **self.changes), "utf-8")
        self._process = spawn([str(binary), "-c", str(self.conf)], self.folder / "mosquitto.out")
        _await_listening(self._process, self.port, self.folder / "mosquitto.log")

    def stop(self) -> None:
        """SIGTERM: it saves and ends."""
        if self._process is not None:
            stop(self._process)

    def kill(self) -> None:
        """SIGKILL: what it had not saved is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process is not None and self._process.poll() is None


class EmbeddedBroker:
    """The broker inside the package iotcore: MQTT 5 only, nothing survives its end. For a first look."""

    kind: Literal["mosquitto", "embedded"] = "embedded"

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.folder = folder.absolute()
        self._broker: object = None

    @property
    def url(self) -> str:
        """`mqtt://127.0.0.1:PORT`."""
        return f"mqtt://{HOST}:{self.port}"

    def start(self) -> None:
        """Start it and wait until it listens. Raises Problems when it does not come up."""
        from iotcore import Broker  # noqa: PLC0415 (a megabyte of Rust that only this one case needs)

        self.folder.mkdir(parents=True, exist_ok=True)
        conf = self.folder / "rumqttd.toml"
        conf.write_text(_RUMQTTD.format(host=HOST, port=self.port), "utf-8")
        self._broker = broker = Broker(config_path=str(conf))
        try:
            broker.start()
        except (OSError, RuntimeError) as error:
            raise Problems.one(self.url, f"the broker did not start ({error})", "free the port") from None

    def stop(self) -> None:
        """End it."""
        if self._broker is not None:
            self._broker.stop()  # type: ignore[attr-defined]

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._broker is not None and bool(self._broker.is_running)  # type: ignore[attr-defined]


def _free(port: int) -> bool:
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return False
    return True


def _await_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((HOST, port), 0.2).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    stop(process)
    said = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
    last = said[-1] if said else "it said nothing"
    raise Problems.one(f"mosquitto on port {port}", f"did not start: {last}", f"see {log}")
