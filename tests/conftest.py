"""What every folder of tests may use: a free port, a real broker on the shipped settings, a small region."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.broker import Mosquitto, find_mosquitto
from collector.broker import free_port as any_free_port
from simulators.regions import write_region

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses."""
    return any_free_port()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A real mosquitto on a free port, with the shipped settings; `kill()`, `stop()`, `start()` at will."""
    if find_mosquitto() is None:
        pytest.fail("mosquitto is not installed: `make servers`")
    broker = Mosquitto(tmp_path / "mosquitto", any_free_port())
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def region_small(tmp_path: Path) -> Path:
    """A region folder of three sites with a router and an ONT each, under the shipped rules."""
    folder = tmp_path / "region"
    shipped = sorted((ROOT / "deploy" / "padang-pariaman" / "rules").glob("*.toml"))
    write_region(folder, 3, ("router", "ont"), {f"rules/{file.name}": file.read_bytes() for file in shipped})
    return folder


@pytest.fixture
def region_ring(tmp_path: Path) -> Path:
    """A region folder of eight nagari whose fibre has two rings, under the shipped rules; yours to change."""
    folder = tmp_path / "ring"
    shutil.copytree(ROOT / "tests" / "regions" / "ring", folder)
    shutil.copytree(ROOT / "deploy" / "padang-pariaman" / "rules", folder / "rules")
    return folder
