"""The machine's clock is set an hour wrong while the collector runs, and right again: alerts still come."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.faults.checks import alerts, rule, rules, wait_for
from tests.acceptance.faults.publishers import Wire, now_ms, tele, topic
from tests.bench.rig import Rig, balanced

HOUR = 3600
BLIND = 60.0
OTHER_CLOCK = """
import os, pathlib, time
_real, _shift = time.time_ns, pathlib.Path(os.environ["SHIFT"])
time.time_ns = lambda: _real() + int(_shift.read_text()) * 1_000_000_000
time.time = lambda: time.time_ns() / 1e9
"""
"""Run by Python at its start: the wall clock is off by as many seconds as a file says, the others go on."""


class Machine:
    """A collector whose wall clock can be set, and six routers with right clocks, one reading a second."""

    def __init__(self, folder: Path) -> None:
        (folder / "site").mkdir(parents=True)
        (folder / "site" / "sitecustomize.py").write_text(OTHER_CLOCK)
        self._shift = folder / "shift"
        self.set(0)
        env = {"PYTHONPATH": str(folder / "site"), "SHIFT": str(self._shift)}
        loss = rules(rule("slow", "latency_ms", 'above = 300, clear_below = 250, for = "2s"'))
        self.rig = Rig(folder / "rig", sites=6, rules=loss, env=env)
        self.lossy: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._publish)

    def set(self, seconds: int) -> None:
        """The wall clock is off by so much from now on."""
        new = self._shift.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._shift)

    def start(self) -> None:
        self.rig.broker.start()
        self.rig.start()
        self._thread.start()

    def hush(self) -> None:
        """The routers say no more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def end(self) -> None:
        self.hush()
        self.rig.end()

    def _publish(self) -> None:
        with Wire(self.rig.broker.port, "right") as wire:
            while not self._over.wait(1.0):
                for site, device in self.rig.devices:
                    slow = 900.0 if device in self.lossy else 9.0
                    wire.publish(topic(site, device), tele({"latency_ms": slow}, now_ms()))

    def alarmed(self, number: int) -> float:
        """A router becomes slow: seconds until its alert."""
        device = self.rig.devices[number][1]
        self.lossy.add(device)
        return wait_for(
            f"{device} is alarmed",
            lambda: any(alert["device"] == device for alert in alerts(self.rig, "slow")),
            BLIND,
            every=0.3,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    try:
        machine.start()
        yield machine
    finally:
        machine.end()


@pytest.mark.parametrize("wrong", [HOUR, -HOUR], ids=["an hour fast", "an hour slow"])
def test_alerts_come_within_a_minute_and_the_clock_is_one_of_them(machine: Machine, wrong: int) -> None:
    assert machine.alarmed(0) < 10
    machine.set(wrong)
    machine.alarmed(1)
    took = wait_for("the clock is alarmed", lambda: alerts(machine.rig, "collector-clock"), BLIND, every=0.3)
    [clock] = alerts(machine.rig, "collector-clock")
    assert (clock["severity"], clock["device"]) == ("critical", "collector")
    assert took < BLIND
    assert abs(clock["value"] - HOUR) < 60
    machine.set(0)
    machine.alarmed(2)
    assert not alerts(machine.rig, "clock-wrong")
    machine.hush()
    wait_for("all is stored", lambda: machine.rig.stats()["in_flight"] == 0, 20)
    assert balanced(machine.rig.stats())
