"""systemd hears over its own socket how we are; of what is stuck it hears nothing, and starts us again."""

from __future__ import annotations

import asyncio
import configparser
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.supervision.systemd import Notifier
from collector.supervision.watchdog import PATIENCE, Pulse, Stuck, Watchdog

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "deploy" / "systemd" / "nagari.service"


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket that NOTIFY_SOCKET names."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(str(tmp_path / "notify"))
        door.settimeout(5)
        yield door


def notifier(systemd: socket.socket, **more: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": str(systemd.getsockname()), **more})


def heard(systemd: socket.socket) -> list[str]:
    systemd.setblocking(False)
    said = []
    while True:
        try:
            said.append(systemd.recv(4096).decode())
        except BlockingIOError:
            return said


def test_every_word_is_as_sd_notify_has_it(systemd: socket.socket) -> None:
    ours = notifier(systemd)
    ours.ready()
    ours.reloading()
    ours.alive()
    ours.starting(60)
    ours.stopping()
    ready, reloading, *rest = heard(systemd)
    assert ready == "READY=1"
    assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert reloading.rpartition("=")[2].isdecimal()
    assert rest == ["WATCHDOG=1", "EXTEND_TIMEOUT_USEC=60000000", "STOPPING=1"]


def test_an_abstract_socket_is_found() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(f"\0nagari-test-{os.getpid()}")
        Notifier({"NOTIFY_SOCKET": f"@nagari-test-{os.getpid()}"}).ready()
        door.settimeout(5)
        assert door.recv(100) == b"READY=1"


def test_without_systemd_nothing_happens_and_one_that_is_gone_hurts_nobody(tmp_path: Path) -> None:
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_the_watchdog_that_is_meant_for_us_is_known(given: dict[str, str], seconds: float | None) -> None:
    assert Notifier(given).watchdog == seconds


def test_what_has_work_and_does_not_move_is_stuck_after_a_while_and_not_before() -> None:
    pulse = {"alarming": Pulse(True, 7), "journal": Pulse(False, 3)}
    stuck = Stuck({name: lambda name=name: pulse[name] for name in pulse})  # type: ignore[misc]
    assert stuck.look(0) == []
    assert stuck.look(PATIENCE - 1) == []
    assert stuck.look(PATIENCE) == ["alarming"]
    pulse["alarming"] = Pulse(True, 8)
    assert stuck.look(PATIENCE + 1) == []


def test_work_that_has_just_come_is_not_taken_for_an_old_one() -> None:
    pulse = Pulse(False, 7)
    stuck = Stuck({"alarming": lambda: pulse})
    assert stuck.look(0) == []
    assert stuck.look(1000) == []
    pulse = Pulse(True, 7)
    assert stuck.look(1001) == []
    assert stuck.look(1001 + PATIENCE) == ["alarming"]


async def test_signs_of_life_stop_while_something_is_stuck_and_come_again(systemd: socket.socket) -> None:
    pulse = Pulse(True, 1)
    watchdog = Watchdog(notifier(systemd), Stuck({"ingest": lambda: pulse}))
    watchdog.look(0)
    assert heard(systemd) == ["EXTEND_TIMEOUT_USEC=60000000"]
    watchdog.started = True
    watchdog.look(1)
    assert heard(systemd) == ["WATCHDOG=1"]
    watchdog.look(PATIENCE)
    assert heard(systemd) == []
    pulse = Pulse(True, 2)
    watchdog.look(PATIENCE + 1)
    assert heard(systemd) == ["WATCHDOG=1"]


async def test_it_is_fed_at_least_twice_as_often_as_systemd_looks(systemd: socket.socket) -> None:
    watchdog = Watchdog(notifier(systemd, WATCHDOG_USEC="200000"), Stuck({}))
    watchdog.started = True
    task = asyncio.create_task(watchdog.run())
    await asyncio.sleep(1.0)
    task.cancel()
    assert len(heard(systemd)) >= 5


@pytest.fixture(scope="module")
def unit() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    assert parser["Unit"]["StartLimitIntervalSec"] == "0"  # never given up for good
    return parser["Service"]


def test_the_unit_hears_our_words_and_starts_us_again_unless_the_settings_are_wrong(
    unit: configparser.SectionProxy,
) -> None:
    assert unit["Type"] == "notify"
    assert unit["NotifyAccess"] == "main"
    assert unit["Restart"] == "always"
    assert unit["RestartPreventExitStatus"] == "2"
    assert float(unit["WatchdogSec"]) >= 1.5 * PATIENCE


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_finds_no_fault_with_the_unit(tmp_path: Path) -> None:
    text = UNIT.read_text().replace("/opt/nagari/.venv/bin/nagari", "/bin/true")
    (tmp_path / "nagari.service").write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", str(tmp_path / "nagari.service")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "nagari.service:" not in done.stderr, done.stderr
