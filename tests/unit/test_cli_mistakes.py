"""Every mistake that a person can make gets one sentence on stderr and exit code 2, never a traceback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.unit import api_desk

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("NAGARI_")}


def nagari(*words: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "collector.cli", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=cwd, env={**CLEAN, **env}, check=False
    )


def mistake(*words: str, cwd: Path | None = None, code: int = 2, **env: str) -> str:
    done = nagari(*words, cwd=cwd, **env)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("command", [["run"], ["token", "list"], ["token", "create", "--role", "viewer"]])
def test_settings_that_are_not_there_are_named(command: list[str], tmp_path: Path) -> None:
    said = mistake(*command, "--config", "nowhere.toml", cwd=tmp_path)
    assert said == "nagari: nowhere.toml: there is no such file; name one with --config\n"


def test_every_wrong_setting_is_named_with_its_mend(tmp_path: Path) -> None:
    (tmp_path / "nagari.toml").write_text('[mqtt]\nulr = "x"\n[journal]\nmax_age = "soon"\n')
    said = mistake("run", cwd=tmp_path)
    assert "nagari.toml:2: mqtt.ulr: is not a setting; did you mean url? It is one of url, client_id" in said
    assert "journal.max_age: 'soon' is no duration; write it like" in said


def test_a_wrong_override_is_named_by_its_variable(tmp_path: Path) -> None:
    (tmp_path / "nagari.toml").touch()
    said = mistake("run", cwd=tmp_path, NAGARI_JOURNAL__MAX_BYTES="much")
    assert said.startswith("nagari: NAGARI_JOURNAL__MAX_BYTES: 'much' is no size")


def test_without_a_token_it_says_how_to_get_one() -> None:
    said = mistake("alerts")
    assert "there is no API token; `nagari token create --role viewer --out FILE` makes one" in said


def test_a_token_file_that_is_not_there_is_named() -> None:
    assert "nowhere.token: the secret cannot be read" in mistake("rejects", "--token-file", "nowhere.token")


def test_a_token_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "siti.token"
    file.write_text("secret")
    file.chmod(0o640)
    said = mistake("alerts", "--token-file", str(file))
    assert said == f"nagari: {file}: others can read this secret; chmod 600 {file}\n"


def test_a_token_that_the_collector_does_not_know_is_named_by_its_file(tmp_path: Path) -> None:
    desk = api_desk.Desk(tmp_path)
    file = tmp_path / "old.token"
    file.touch(0o600)
    file.write_text("wrong")
    with api_desk.serving(desk) as live:
        said = mistake("alerts", "--token-file", str(file), "--url", live.url)
    desk.close()
    assert f"{file}: the collector at {live.url} does not know this token, or it has ended" in said
    assert "`nagari token create --role viewer --out FILE` makes one" in said


def test_a_language_that_there_is_not_is_named() -> None:
    assert "'fr' is not one of 'en', 'id'" in mistake(
        "alerts", "--lang", "fr", NAGARI_TOKEN="t", COLUMNS="100"
    )


def test_without_config_the_settings_of_a_demo_in_this_folder_are_found(tmp_path: Path) -> None:
    (tmp_path / "demo-data").mkdir()
    (tmp_path / "demo-data" / "nagari.toml").touch()
    done = nagari("token", "create", "--role", "operator", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "demo-data" / "data" / "state.db").exists()


def test_the_version_is_told() -> None:
    assert nagari("--version").stdout == f"nagari {version('nagari')}\n"


def test_times_are_in_the_zone_of_the_region_and_say_so(tmp_path: Path) -> None:
    desk = api_desk.Desk(tmp_path)
    with api_desk.serving(desk) as live:
        alert = live.do(desk.raise_alert())
        token = desk.token("viewer", "Vera")
        done = nagari("alerts", "--url", live.url, NAGARI_TOKEN=token, TZ="America/Lima", COLUMNS="300")
    desk.close()
    at = datetime.fromtimestamp(alert.at // 10**9, ZoneInfo("Asia/Jakarta"))
    assert f"{at:%Y-%m-%d %H:%M:%S} WIB" in done.stdout


@pytest.mark.parametrize(
    "command", [["alerts"], ["rejects"], ["watch", "--for", "1"], ["alerts", "ack", "x"]]
)
def test_a_collector_that_does_not_answer_is_named(command: list[str], free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}"
    said = mistake(*command, "--url", url, NAGARI_TOKEN="t")
    assert said.startswith(f"nagari: {url}: the collector does not answer")
    assert "start it with `nagari run`" in said


@pytest.mark.parametrize("url", ["127.0.0.1:80", "ftp://x", "http://[::1", "//"])
def test_an_address_that_is_none_is_named(url: str) -> None:
    assert "write it like" in mistake("alerts", "--url", url, NAGARI_TOKEN="t")


def test_what_is_no_collector_is_named(free_port: int) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(free_port), "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", free_port)) == 0:
                    break
        said = mistake("alerts", "--url", f"http://127.0.0.1:{free_port}", NAGARI_TOKEN="t")
    finally:
        server.kill()
        server.wait()
    assert "answered 404" in said
    assert "is it a collector?" in said


def test_a_region_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "nagari.toml").write_text('[region]\ndir = "nowhere"\n')
    said = mistake("run", cwd=tmp_path)
    assert said.splitlines()[0].startswith(
        f"nagari: {tmp_path}/nowhere: is no folder; name the region folder"
    )


def test_a_page_whose_port_is_taken_is_named(tmp_path: Path, region_small: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        (tmp_path / "nagari.toml").write_text(
            f'[http]\nlisten = "{listen}"\n[region]\ndir = "{region_small}"\n[mqtt]\nurl = "mqtt://127.0.0.1:1"\n'
        )
        said = mistake("run", cwd=tmp_path, code=1)  # no mistake in the settings: it may be free again
    assert f"nagari: http.listen: {listen} is taken" in said


def test_the_demo_leaves_a_folder_alone_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    said = mistake("demo", "--fresh", "--data", str(tmp_path))
    assert "is in use by something other than the demo; name an empty folder with --data" in said
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_a_token_made_before_the_first_run_leaves_nothing_open_to_others(tmp_path: Path) -> None:
    (tmp_path / "nagari.toml").touch()
    done = nagari("token", "create", "--role", "viewer", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = [tmp_path / "data", *(tmp_path / "data").rglob("*")]
    assert len(made) > 1
    assert [each for each in made if each.stat().st_mode & 0o077] == []


def test_an_agent_that_the_region_does_not_know_is_named(region_small: Path) -> None:
    said = mistake("agent", "--region", str(region_small), "--device", "nobody")
    assert "devices.csv: has no host 'nobody'" in said


def test_an_agent_without_a_site_is_named() -> None:
    assert "nagari: agent: '' is no id" in mistake("agent", "--device", "agent-1")


def test_a_load_for_nobody_is_named(tmp_path: Path) -> None:
    assert "is no folder" in mistake("load", "--region", str(tmp_path / "nowhere"))


def test_a_broken_pipe_is_silent(region_small: Path) -> None:
    command = f"{sys.executable} -m collector.cli rules schema | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout == "{\n"
    assert done.stderr == ""
