"""A collector starts in order, claims what is its own before anybody hears of it, and lets it go."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from collector import app
from collector.core.config import Config, load
from collector.followers.storing import Storing
from collector.state import State
from collector.storage.keeper import Keeper
from collector.supervision.claims import claimed_folder, claimed_port
from devices.problems import Faults, Problems


@pytest.fixture
def config(tmp_path: Path, region_small: Path, free_port: int) -> Config:
    """A collector whose broker is away."""
    (tmp_path / "nagari.toml").write_text(
        f'[data]\ndir = "data"\n[http]\nlisten = "127.0.0.1:{free_port}"\n[region]\ndir = "{region_small}"\n'
        '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n'
    )
    return load(tmp_path / "nagari.toml", {})


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[asyncio.Task[None]]:
    """A collector that is ready; at the end it is told to stop, and has to end well."""
    ready, stop = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(app.run(config, ready=ready, stop=stop))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({task, waiting}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        await task
    assert ready.is_set()
    try:
        yield task
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


def get(config: Config, path: str) -> str:
    state = State(config.data.dir / "state.db")
    token = state.create_token("viewer", "test", time.time_ns())
    state.close()
    asked = urllib.request.Request(
        f"http://{config.http.listen}{path}", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(asked, timeout=5) as answer:
        return answer.read().decode()


def answers(config: Config) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((config.http.host, config.http.port)) == 0


async def test_it_is_there_though_the_broker_is_away_and_gone_after_its_stop(config: Config) -> None:
    async with running(config):
        assert "Connection refused" in await asyncio.to_thread(_not_ready, config)
    assert not answers(config)
    with claimed_folder(config.data.dir):  # nobody holds it any more
        pass


def _not_ready(config: Config) -> str:
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(config, "/readyz")
    return refused.value.read().decode()


async def test_it_can_be_started_again_in_the_same_process(config: Config) -> None:
    for _ in range(2):
        async with running(config):
            assert "nagari_worker_restarts_total" in await asyncio.to_thread(get, config, "/metrics")


async def test_a_second_one_on_the_same_data_is_refused_and_the_first_goes_on(config: Config) -> None:
    async with running(config) as first:
        with pytest.raises(Faults, match=f"another collector \\(process {os.getpid()}\\) has"):
            await app.run(config)
        assert answers(config)
        assert not first.done()


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


async def test_a_port_that_is_taken_is_refused_before_any_file_is_opened(config: Config) -> None:
    with (
        claimed_port(config.http.host, config.http.port),
        pytest.raises(Faults, match="is taken or not ours"),
    ):
        await app.run(config)
    assert _files(config.data.dir) == {"lock"}


async def test_a_data_folder_that_cannot_be_is_a_mistake_in_the_settings(config: Config) -> None:
    config.data.dir.write_text("a file")
    with pytest.raises(Problems, match="cannot be made or written") as refused:
        await app.run(config)
    assert not isinstance(refused.value, Faults)


async def test_a_mistake_that_shows_late_leaves_nothing_claimed(config: Config, tmp_path: Path) -> None:
    mqtt = config.mqtt.model_copy(update={"password_file": tmp_path / "nowhere"})
    with pytest.raises(Problems, match="nowhere"):
        await app.run(config.model_copy(update={"mqtt": mqtt}))
    assert not answers(config)
    async with running(config):
        pass


async def test_the_data_are_for_the_collector_alone(config: Config) -> None:
    async with running(config):
        assert config.data.dir.stat().st_mode & 0o777 == 0o700
        assert (config.data.dir / "lock").stat().st_mode & 0o777 == 0o600


async def test_a_stop_during_the_start_is_obeyed(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, recover = asyncio.Event(), Storing.recover
    loop = asyncio.get_running_loop()

    def stopped_meanwhile(storing: Storing) -> None:
        loop.call_soon_threadsafe(stop.set)
        recover(storing)

    monkeypatch.setattr(Storing, "recover", stopped_meanwhile)
    await asyncio.wait_for(app.run(config, stop=stop), 20)
    assert not answers(config)


async def test_a_fault_of_a_chore_shows_in_health_and_ends_nothing(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("in the keeper")

    monkeypatch.setattr(Keeper, "tried_to_look", broken)
    async with running(config) as task:
        for _ in range(200):
            if "in the keeper" in (said := await asyncio.to_thread(_not_ready, config)):
                break
            await asyncio.sleep(0.05)
        assert "ZeroDivisionError: in the keeper" in said
        assert not task.done()


async def test_sighup_has_the_region_read_again_off_the_loop(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with running(config):
        os.kill(os.getpid(), signal.SIGHUP)
        for _ in range(200):
            if "is unchanged" in caplog.text:
                break
            await asyncio.sleep(0.05)
        assert "is unchanged" in caplog.text
