"""The storage contract of a running collector: measured, told, and what would break it is not taken in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.bench.rig import Rig

SETTINGS = '[journal]\nmax_bytes = "100MB"\n[storage]\ncapacity = "5GB"\n'
MORE = 200


@pytest.fixture
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = Rig(tmp_path_factory.mktemp("contract"), sites=2, rules={}, settings=SETTINGS)
    rig.broker.start()
    rig.start()
    yield rig
    rig.end()


def grow(rig: Rig) -> None:
    file = rig.folder / "region" / "devices.csv"
    commas = "," * (file.read_text().splitlines()[0].count(",") - 2)
    with file.open("a") as out:
        out.writelines(f"load-000000,more-{n},router{commas}\n" for n in range(MORE))


def devices(rig: Rig) -> int:
    return len(rig.get("/api/v1/devices?site=load-000000&limit=500")["devices"])


def hang_up_until(rig: Rig, said: str) -> None:
    os.kill(rig.pid, signal.SIGHUP)
    deadline = time.monotonic() + 10
    while said not in rig.tail():
        assert time.monotonic() < deadline, rig.tail()
        time.sleep(0.05)


def admit(rig: Rig) -> None:
    command = [sys.executable, "-m", "collector.cli", "storage", "admit", "--config", str(rig.config)]
    subprocess.run([*command, "--reason", "a disk is ordered"], check=True, env={**os.environ, **rig.env})


def test_a_region_that_breaks_it_waits_for_somebody_to_take_it_on(rig: Rig) -> None:
    found = rig.eventually("/api/v1/storage", lambda storage: storage["at"] > 0)
    assert found["capacity"] == 5 * 10**9
    assert found["breach"] is None
    assert {share["share"] for share in found["shares"]} == {"raw", "minute", "hour", "journal", "state"}
    assert 0 < rig.stats()["storage_used_pct"] < 10
    before = devices(rig)
    grow(rig)
    hang_up_until(rig, "the storage contract would break")
    assert devices(rig) == before
    admit(rig)
    hang_up_until(rig, "taken anew")
    assert devices(rig) == before + MORE


def test_a_region_changed_while_it_was_down_starts_with_an_alarm(rig: Rig) -> None:
    rig.stop()
    grow(rig)
    rig.start()
    assert "it runs on as it did" in rig.tail()
    found = rig.eventually("/api/v1/alerts", lambda alerts: bool(alerts["alerts"]))
    assert [(each["rule"], each["severity"]) for each in found["alerts"]] == [("storage-breach", "critical")]
    assert rig.eventually("/api/v1/storage", lambda storage: storage["at"] > 0)["breach"]
    admit(rig)
    os.kill(rig.pid, signal.SIGHUP)
    cleared = rig.eventually("/api/v1/alerts?state=all", lambda alerts: not _active(alerts))
    assert [each["rule"] for each in cleared["alerts"]] == ["storage-breach"]


def _active(alerts: dict) -> bool:
    return any(each["condition"] == "active" for each in alerts["alerts"])


def test_new_settings_that_do_not_fit_are_refused_in_one_sentence(rig: Rig) -> None:
    rig.stop()
    rig.config.write_text(rig.config.read_text().replace("5GB", "1GB").replace("100MB", "1GB"))
    with pytest.raises(RuntimeError, match="and the capacity is 1 GB"):
        rig.start()
    assert "Traceback" not in rig.tail()
