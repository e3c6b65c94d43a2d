"""The demo is one tree: it comes up, says where the page is, and leaves nobody behind."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from collector.broker import free_port
from collector.cli.serve import find_token
from collector.demo.plan import prepare


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "collector.cli", "demo", "--data", str(tmp_path / "demo")]
    command += ["--port", str(free_port()), "--mqtt-port", str(free_port())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    yield process
    process.kill()
    process.communicate()


def page(demo: subprocess.Popen[str]) -> tuple[str, str]:
    """(address, token), once it says so."""
    assert demo.stdout is not None
    said = ""
    for line in demo.stdout:
        said += line
        found = re.search(r"(http://127\.0\.0\.1:\d+)/#token=(\S+)", line)
        if found:
            return found[1], found[2]
    raise AssertionError(said)


def family(demo: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(demo.pid).children(recursive=True)


def eventually(question: object, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not question():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.1)


def test_it_shows_this_machines_readings_and_ends_with_all_its_children(demo: subprocess.Popen[str]) -> None:
    url, token = page(demo)
    api = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False)

    def measured() -> bool:
        devices = api.get("/api/v1/devices", params={"site": "1305-kominfo"}).json()["devices"]
        agent = next(each for each in devices if each["id"] == "agent-kominfo")
        return any(m["name"] == "cpu_pct" and m["value"] is not None for m in agent["metrics"])

    eventually(measured)
    children = family(demo)
    assert len(children) == 2
    demo.send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert demo.wait(10) == 0, f"after {time.monotonic() - began:.0f} s"
    assert [child for child in children if child.is_running()] == []


def test_its_children_do_not_survive_its_murder(demo: subprocess.Popen[str]) -> None:
    page(demo)
    children = family(demo)
    assert len(children) == 2
    demo.kill()
    _, left = psutil.wait_procs(children, timeout=10)
    assert left == []


def test_an_agent_that_dies_is_started_again(demo: subprocess.Popen[str]) -> None:
    page(demo)
    first = next(child for child in family(demo) if "agent" in child.cmdline())
    first.kill()
    eventually(
        lambda: first.pid not in (members := [child.pid for child in family(demo)]) and len(members) == 2
    )
    demo.send_signal(signal.SIGINT)
    assert demo.wait(10) == 0


def test_a_second_start_goes_on_with_token_and_data(tmp_path: Path) -> None:
    def start(*, fresh: bool) -> str:
        plan = prepare(tmp_path / "demo", tmp_path, "agent-1", "", (free_port(), free_port()), fresh=fresh)
        return find_token(plan)

    first = start(fresh=False)
    assert start(fresh=False) == first
    assert start(fresh=True) != first
    assert (tmp_path / "demo" / "token").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "demo" / "data" / "state.db").exists()
