"""What every folder of tests may use: a free port, a real broker on the shipped settings, a small region."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from collector.broker import Mosquitto, find_mosquitto
from collector.broker import free_port as any_free_port
from simulators.regions import write_region
from tests.servers import NO_INFLUX, NO_NAMESPACE, InfluxDB, VictoriaMetrics, influx_2

ROOT = Path(__file__).resolve().parents[1]
NOT_TRIED = (
    (
        NO_INFLUX,
        "INFLUXDB 2 WAS NOT TESTED",
        "put an influxd 2.x on the PATH, or name a server in NAGARI_TEST_INFLUX_URL (influx://host:8086/org/any)"
        " with NAGARI_TEST_INFLUX_TOKEN.",
    ),
    (NO_NAMESPACE, "THE BROKER'S FILES AS SHIPPED WERE NOT TESTED", f"{NO_NAMESPACE}."),
)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Which part took how long; and what was not tried for want of a server must not look like a pass."""
    spent: Counter[str] = Counter()
    for report in chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport):
            spent["/".join(report.nodeid.split("/")[:2])] += report.duration
    for part, seconds in spent.most_common():
        terminalreporter.line(f"{part}: {seconds:.0f} s of tests")
    for reason, title, mend in NOT_TRIED:
        skipped = sum(reason in str(report.longrepr) for report in terminalreporter.getreports("skipped"))
        if skipped:
            terminalreporter.section(title, sep="!", red=True)
            terminalreporter.line(f"{skipped} tests did not run: {mend}")


@pytest.fixture(scope="session")
def one_victoria(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VictoriaMetrics]:
    """A VictoriaMetrics for all tests of a session."""
    server = VictoriaMetrics(tmp_path_factory.mktemp("victoria"), any_free_port())
    server.start()
    yield server
    server.kill()


@pytest.fixture
def victoria(tmp_path: Path) -> Iterator[VictoriaMetrics]:
    """A VictoriaMetrics of the test's own; `kill()`, `stop()`, `start()` at will."""
    server = VictoriaMetrics(tmp_path / "victoria", any_free_port())
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def one_influx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxDB]:
    """An InfluxDB 2 for all tests of a session, where there is one."""
    if not influx_2():
        pytest.skip(NO_INFLUX)
    server = InfluxDB(tmp_path_factory.mktemp("influx"), any_free_port())
    yield server
    server.stop()


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
