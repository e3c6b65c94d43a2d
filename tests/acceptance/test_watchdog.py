"""systemd is told that we are ready, reload, stop, and that all moves; of what is stuck it hears no more."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.faults.checks import rule, rules
from tests.acceptance.test_fault_workers import Breakable, publish

RULES = rules(rule("slow", "latency_ms", "above = 300, clear_below = 250"))


class Manager:
    """The service manager's end: the words that came, each with the moment it came."""

    def __init__(self, path: Path) -> None:
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._door.bind(str(path))

    def hear(self, word: str, seconds: float) -> str:
        """The next word that begins so; other ones before it are passed over. Fails after so many seconds."""
        deadline, said = time.monotonic() + seconds, []
        while (left := deadline - time.monotonic()) > 0:
            self._door.settimeout(left)
            try:
                said.append(self._door.recv(4096).decode())
            except TimeoutError:
                break
            if said[-1].startswith(word):
                return said[-1]
        raise AssertionError(f"no {word} within {seconds} s, but {said}")

    def hears_nothing(self, seconds: float, within: float) -> bool:
        """Whether it falls silent for so long, within so many seconds."""
        deadline = time.monotonic() + within
        self._door.settimeout(seconds)
        while time.monotonic() < deadline:
            try:
                self._door.recv(4096)
            except TimeoutError:
                return True
        return False

    def close(self) -> None:
        self._door.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


@pytest.fixture
def rig(tmp_path: Path, manager: Manager) -> Iterator[Breakable]:
    env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
    rig = Breakable(tmp_path / "rig", sites=2, rules=RULES, env=env)
    rig.broker.start()
    yield rig
    rig.end()


def test_it_says_when_it_is_ready_when_it_reloads_and_when_it_stops(rig: Breakable, manager: Manager) -> None:
    rig.will_break("keeper")
    rig.start()
    manager.hear("READY=1", 10)
    manager.hear("WATCHDOG=1", 5)
    os.kill(rig.pid, signal.SIGHUP)
    assert "\nMONOTONIC_USEC=" in manager.hear("RELOADING=1", 5)
    manager.hear("READY=1", 10)
    rig.stop()
    manager.hear("STOPPING=1", 5)


@pytest.mark.parametrize("part", ["main loop", "ingest", "journal", "alarming"])
def test_what_hangs_silences_the_signs_of_life(rig: Breakable, manager: Manager, part: str) -> None:
    rig.will_break(f"{part} hangs")
    rig.start()
    manager.hear("WATCHDOG=1", 10)
    rig.flag.touch()
    if part == "alarming":
        publish(rig, 500.0)
    assert manager.hears_nothing(3.0, within=30)
    rig.kill()
    rig.flag.unlink()
    rig.start()
    manager.hear("READY=1", 10)
    manager.hear("WATCHDOG=1", 10)


def test_a_store_that_hangs_is_no_reason_to_start_again(rig: Breakable, manager: Manager) -> None:
    rig.will_break("storing hangs")
    rig.start()
    rig.flag.touch()
    publish(rig, 500.0)
    assert not manager.hears_nothing(3.0, within=8)
