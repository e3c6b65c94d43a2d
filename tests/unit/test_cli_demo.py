"""The demo is one tree: it comes up, says where the page is, and leaves nobody behind."""

from __future__ import annotations

import os
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
from collector.demo.plan import MARK, claim, prepare
from tests.unit.sims import regency

CHILDREN = 3  # broker, agent, regency


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


def test_it_shows_this_machine_and_the_whole_regency_and_ends_with_all_its_children(
    demo: subprocess.Popen[str],
) -> None:
    url, token = page(demo)
    api = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False)

    def heard() -> dict[str, set[str]]:
        """The devices with a value, by site."""
        found: dict[str, set[str]] = {}
        cursor: str | None = ""
        while cursor is not None:
            answer = api.get("/api/v1/devices", params={"limit": 500, "cursor": cursor}).json()
            cursor = answer["next"]
            for device in answer["devices"]:
                if any(metric["value"] is not None for metric in device["metrics"]):
                    found.setdefault(device["site"], set()).add(device["id"])
        return found

    with_devices = {device.site for device in regency().devices.values()}
    eventually(lambda: with_devices <= heard().keys(), 40.0)
    assert "agent-kominfo" in heard()["1305-kominfo"]
    assert api.get("/api/v1/stats").json()["quarantined"] == 0
    children = family(demo)
    assert len(children) == CHILDREN
    demo.send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert demo.wait(10) == 0, f"after {time.monotonic() - began:.0f} s"
    assert [child for child in children if child.is_running()] == []


def test_its_children_do_not_survive_its_murder(demo: subprocess.Popen[str]) -> None:
    page(demo)
    children = family(demo)
    assert len(children) == CHILDREN
    demo.kill()
    _, left = psutil.wait_procs(children, timeout=10)
    assert left == []


@pytest.mark.parametrize(("child", "command"), [("agent", "agent"), ("regency", "simulate")])
def test_a_child_that_dies_is_started_again_and_that_is_said(
    demo: subprocess.Popen[str], child: str, command: str
) -> None:
    page(demo)
    first = next(each for each in family(demo) if command in each.cmdline())
    first.kill()
    eventually(
        lambda: first.pid not in (members := [each.pid for each in family(demo)]) and len(members) == CHILDREN
    )
    demo.send_signal(signal.SIGINT)
    said, _ = demo.communicate(timeout=10)
    assert demo.returncode == 0, said
    assert f"nagari: {child} ended; starting it again ({child}.log in the demo's folder says why)" in said


def test_a_second_start_goes_on_with_token_and_data(tmp_path: Path) -> None:
    def start(*, fresh: bool) -> str:
        with claim(tmp_path / "demo") as folder:
            plan = prepare(folder, tmp_path, "agent-1", "", (free_port(), free_port()), fresh=fresh)
            return find_token(plan)

    first = start(fresh=False)
    assert start(fresh=False) == first
    assert start(fresh=True) != first
    assert (tmp_path / "demo" / "token").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "demo" / "data" / "state.db").exists()


def test_nobody_else_can_read_what_the_demo_keeps(demo: subprocess.Popen[str], tmp_path: Path) -> None:
    page(demo)
    folder = tmp_path / "demo"
    for each in (folder, *folder.rglob("*")):
        owner = each.stat().st_uid
        if owner == os.geteuid():  # mosquitto, started by root, writes as its own user
            assert each.stat().st_mode & 0o077 == 0, each


def test_a_demo_that_is_refused_leaves_the_settings_of_the_one_that_runs(
    demo: subprocess.Popen[str], tmp_path: Path
) -> None:
    page(demo)
    settings = (tmp_path / "demo" / "nagari.toml").read_text()
    assert "another demo runs in it" in refused(tmp_path / "demo")
    assert "has no host 'nobody'" in refused(tmp_path / "demo", "--device", "nobody")
    assert (tmp_path / "demo" / "nagari.toml").read_text() == settings
    assert demo.poll() is None


def refused(folder: Path, *more: str) -> str:
    command = [sys.executable, "-m", "collector.cli", "demo", "--data", str(folder), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stderr


def test_a_link_is_no_folder_for_the_demo(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "demo").symlink_to(tmp_path / "theirs")
    assert "is a link" in refused(tmp_path / "demo")
    assert list((tmp_path / "theirs").iterdir()) == []


def test_a_folder_that_others_can_write_is_none_for_the_demo(tmp_path: Path) -> None:
    """Whoever planted a state.db there would know its admin's token."""
    folder = tmp_path / "demo"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / MARK).touch()
    assert "can be written by others" in refused(folder)
    assert [each.name for each in folder.iterdir()] == [MARK]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_none_for_the_demo(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir(mode=0o755)
    os.chown(folder, 65534, 65534)
    assert "belongs to somebody else" in refused(folder)
    assert list(folder.iterdir()) == []
