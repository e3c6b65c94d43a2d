"""Each part of the collector breaks in turn: it heals, or the process ends and systemd starts it again."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.acceptance.faults.checks import alerts, committed, nothing_missing, rule, rules, settled, wait_for
from tests.acceptance.faults.publishers import Load, Wire, tele, topic
from tests.bench.rig import HOST, Rig, balanced

RULES = rules(rule("slow", "latency_ms", "above = 300, clear_below = 250"))


class Breakable(Rig):
    """A collector one part of which breaks, and mends, when the test wants it."""

    program = "tests.acceptance.faults.broken"

    def will_break(self, part: str) -> None:
        self.flag = self.folder / "broken"
        self.env["NAGARI_TEST_BREAK"] = f"{part}={self.flag}"

    def restarts(self, worker: str) -> int:
        with urllib.request.urlopen(f"http://{HOST}:{self.http}/metrics", timeout=5) as answer:
            found = re.search(
                rf'nagari_worker_restarts_total{{worker="{worker}"}} (\d+)', answer.read().decode()
            )
        return int(found[1]) if found else 0


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Breakable]:
    rig = Breakable(tmp_path / "rig", sites=5, rules=RULES, env={"NAGARI_HTTP__OPEN_METRICS": "true"})
    rig.broker.start()
    yield rig
    rig.end()


def publish(rig: Rig, latency: float) -> None:
    wire = Wire(rig.broker.port, "one")
    wire.publish(topic(*rig.devices[0]), tele({"latency_ms": latency}))
    wire.flush(10)
    wire.close()


def restarted(rig: Breakable, worker: str, times: int = 1) -> bool:
    try:
        return rig.restarts(worker) >= times
    except OSError:  # HTTP is the one that is broken
        return False


@pytest.mark.parametrize(
    "worker", ["storing", "alarming", "ingest", "keeper", "selfwatch", "housekeeping", "http", "reload"]
)
def test_a_worker_that_breaks_is_started_again_and_nothing_is_lost(rig: Breakable, worker: str) -> None:
    rig.will_break(worker)
    rig.start()
    pid = rig.pid
    load = Load(rig.broker.port, rig.devices, 200)
    time.sleep(0.5)
    rig.flag.touch()
    if worker == "reload":
        os.kill(pid, signal.SIGHUP)
    wait_for(f"{worker} has failed", lambda: f"{worker} stopped (RuntimeError: broken" in rig.tail(), 20)
    rig.flag.unlink()
    wait_for(f"{worker} is started again", lambda: restarted(rig, worker), 20)
    acked = load.stop()
    settled(rig, len(acked))
    publish(rig, 500.0)
    wait_for("the alert is there", lambda: alerts(rig, "slow"), 10)
    wait_for("the alarm of itself is there", lambda: alerts(rig, "collector-worker-failing"), 10)
    assert rig.pid == pid
    assert rig.process is not None
    assert rig.process.poll() is None
    assert rig.stop() < 10
    assert rig.process.returncode == 0
    nothing_missing(rig, acked)


def test_a_store_that_fails_again_and_again_never_delays_an_alert(rig: Breakable) -> None:
    rig.will_break("storing")
    rig.start()
    publish(rig, 1.0)
    rig.flag.touch()
    for turn in range(3):
        publish(rig, 500.0)
        wait_for("the alert is there", lambda: alerts(rig, "slow"), 3)
        publish(rig, 1.0)
        wait_for("the alert is over", lambda: not alerts(rig, "slow"), 3)
        wait_for("storing has failed", partial(restarted, rig, "storing", turn + 1), 30)
        assert balanced(rig.stats())
    with urllib.request.urlopen(f"http://{HOST}:{rig.http}/readyz", timeout=5) as answer:
        assert answer.status == 200  # ready all the same
    rig.flag.unlink()
    settled(rig, 7)


def test_a_disk_that_fails_ends_the_process_with_1_and_the_next_one_goes_on(rig: Breakable) -> None:
    rig.will_break("journal")
    rig.start()
    load = Load(rig.broker.port, rig.devices, 500)
    time.sleep(0.5)
    rig.flag.touch()
    assert rig.process is not None
    assert rig.process.wait(20) == 1
    assert rig.tail().rstrip().splitlines()[-1] == (
        "nagari: journal: writing failed ([Errno 5] Input/output error); "
        "look at the disk; nothing was acknowledged since"
    )
    rig.flag.unlink()
    rig.start()
    acked = load.stop()
    settled(rig, len(acked))
    rig.stop()
    nothing_missing(rig, acked)


def test_alarming_that_never_comes_to_itself_ends_the_process_with_1(rig: Breakable) -> None:
    rig.will_break("alarming")
    rig.start()
    rig.flag.touch()
    publish(rig, 500.0)
    assert rig.process is not None
    assert rig.process.wait(60) == 1
    assert "nagari: alarming: RuntimeError: broken by the test, after 5 restarts; look at" in rig.tail()
    rig.flag.unlink()
    rig.start()
    wait_for("the alert is there", lambda: alerts(rig, "slow"), 10)


def test_a_store_that_hangs_cannot_hold_up_the_end(rig: Breakable) -> None:
    rig.will_break("storing hangs")
    rig.start()
    rig.flag.touch()
    publish(rig, 500.0)
    wait_for("the alert is there", lambda: alerts(rig, "slow"), 5)
    assert rig.stop(18) < 15
    rig.flag.unlink()
    rig.start()
    settled(rig, 1)


def test_state_db_that_somebody_holds_for_long_ends_nothing(rig: Breakable) -> None:
    rig.will_break("housekeeping")  # it comes often there
    rig.start()
    pid = rig.pid
    with sqlite3.connect(rig.data / "state.db", isolation_level=None) as other:
        other.execute("begin immediate")
        publish(rig, 500.0)
        wait_for("housekeeping failed", lambda: "housekeeping stopped (StateError" in rig.tail(), 30)
        other.execute("rollback")
    wait_for("the alert is there", lambda: alerts(rig, "slow"), 25)
    assert rig.pid == pid
    assert rig.stop() < 10


@pytest.mark.parametrize("after", [0.3, 0.6, 0.9, 1.2, 1.5])
def test_sigterm_during_the_start_ends_it_in_order(rig: Breakable, after: float) -> None:
    rig.will_break("keeper")
    rig.start(wait=False)
    assert rig.process is not None
    wait_for("it claims its folder", (rig.data / "lock").exists, 20, every=0.001)
    time.sleep(after - 0.3)
    rig.process.terminate()
    assert rig.process.wait(15) == 0, rig.tail()
    assert "Traceback" not in rig.tail()


def test_a_second_collector_on_the_same_port_takes_no_message(rig: Breakable, tmp_path: Path) -> None:
    """It has the same client id, too: at the broker it would throw the first one out and take its queue."""
    rig.will_break("keeper")
    rig.start()
    connects = rig.stats()["connects"]
    load = Load(rig.broker.port, rig.devices, 500)
    for turn in range(3):
        env = {**os.environ, **rig.env, "NAGARI_DATA__DIR": str(tmp_path / f"other-{turn}")}
        done = subprocess.run(
            [sys.executable, "-m", "collector.cli", "run", "--config", str(rig.config)],
            capture_output=True,
            text=True,
            timeout=60,
            env=env,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.startswith(f"nagari: http.listen: {HOST}:{rig.http} is taken or not ours")
    acked = load.stop()
    settled(rig, len(acked))
    assert rig.stats()["connects"] == connects
    rig.stop()
    nothing_missing(rig, acked)


def test_a_loop_of_pages_that_hangs_holds_up_no_message_and_no_alert(rig: Breakable) -> None:
    rig.will_break("main loop hangs")
    rig.start()
    rig.flag.touch()
    time.sleep(2.0)
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(f"http://{HOST}:{rig.http}/healthz", timeout=2)
    publish(rig, 500.0)
    wait_for("the alert is committed", lambda: any("slow" in str(row) for row in committed(rig)), 5)
