"""The agent's measurements, against this very machine."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from devices.agent import AgentOptions, ProbeTarget, parse_target, run_agent
from devices.agent.host import HostMeter
from devices.agent.probe import LinkQuality, icmp_mode, probe, tcp_trip
from devices.catalogue import KINDS
from devices.problems import Problems


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port that answers no more: its backlog is full, so the kernel drops what else comes."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = server.getsockname()[1]
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        time.sleep(0.05)
        yield port
        for filler in fillers:
            filler.close()


def test_an_open_port_answers(listening: int) -> None:
    found = probe("127.0.0.1", listening, count=3, spacing=0.01, timeout=1)
    assert found.loss_pct == 0
    assert found.latency_ms is not None
    assert 0 < found.latency_ms < 500
    assert found.jitter_ms is not None


def test_a_closed_port_is_a_loss_without_a_latency(closed: int) -> None:
    assert probe("127.0.0.1", closed, count=2, spacing=0.01, timeout=1) == LinkQuality(None, None, 100.0)


def test_a_black_hole_is_a_loss_after_the_timeout(black_hole: int) -> None:
    start = time.perf_counter()
    found = probe("127.0.0.1", black_hole, count=2, spacing=0.01, timeout=0.2)
    assert found == LinkQuality(None, None, 100.0)
    assert 0.4 <= time.perf_counter() - start < 2


def test_a_refusal_is_an_answer_where_the_host_is_meant_and_not_the_port(closed: int) -> None:
    assert tcp_trip("127.0.0.1", closed, 1) is None
    trip = tcp_trip("127.0.0.1", closed, 1, refusal_answers=True)
    assert trip is not None
    assert 0 < trip < 500


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_host_without_a_port_is_pinged_or_else_asked_by_tcp(host: str) -> None:
    found = probe(host, None, count=3, spacing=0.01, timeout=1)
    assert found.loss_pct == 0
    assert found.latency_ms is not None
    assert icmp_mode() in {"unprivileged", "privileged", None}


def test_a_name_that_nobody_knows_is_a_loss() -> None:
    found = probe("nowhere.invalid", None, count=2, spacing=0.01, timeout=0.2)
    assert found == LinkQuality(None, None, 100.0)


@pytest.mark.parametrize(
    ("answers", "quality"),
    [
        ([10.0, 12.0, 11.0], LinkQuality(11.0, 1.5, 0.0)),
        ([10.0, None, 14.0], LinkQuality(12.0, 4.0, 33.33)),
        ([None, None, 8.0], LinkQuality(8.0, None, 66.67)),
        ([None], LinkQuality(None, None, 100.0)),
    ],
)
def test_answers_make_latency_jitter_and_loss(answers: list[float | None], quality: LinkQuality) -> None:
    assert LinkQuality.of(answers) == quality


def test_the_host_meter_gives_what_the_catalogue_promises_in_range() -> None:
    meter = HostMeter()
    time.sleep(0.1)
    values = meter.read()
    kind = KINDS["host"]
    assert set(values) <= set(kind.metrics)
    assert {"cpu_pct", "mem_pct", "disk_pct", "load1", "rx_bps", "tx_bps"} <= set(values)
    for name, value in values.items():
        assert value is not None, name
        low, high = kind.metrics[name].low, kind.metrics[name].high
        assert low is None or value >= low
        assert high is None or value <= high
    assert values["mem_pct"] == pytest.approx(psutil.virtual_memory().percent, abs=10)


def test_cpu_is_seen_whichever_thread_reads_it() -> None:
    meter = HostMeter()
    until = time.perf_counter() + 0.4
    while time.perf_counter() < until:
        pass
    values: dict[str, float | bool | None] = {}
    reader = threading.Thread(target=lambda: values.update(meter.read()))
    reader.start()
    reader.join()
    cpu = values["cpu_pct"]
    assert cpu is not None
    assert cpu >= 50 / (psutil.cpu_count() or 1)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("r1=10.0.0.1", ProbeTarget("r1", "10.0.0.1")),
        ("r1=router.example:443", ProbeTarget("r1", "router.example", 443)),
        ("r1=::1", ProbeTarget("r1", "::1")),
        ("r1=[::1]:80", ProbeTarget("r1", "::1", 80)),
    ],
)
def test_targets_are_read(text: str, target: ProbeTarget) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize("text", ["", "r1", "r1=", "=h", "r 1=h", "r1=h:0", "r1=h:65536", "r1=h:x", "r1=a b"])
def test_a_bad_target_is_refused(text: str) -> None:
    with pytest.raises(Problems, match="target: "):
        parse_target(text)


async def test_bad_options_are_all_named_at_once() -> None:
    targets = (ProbeTarget("a b", "h"), ProbeTarget("r1", "h"), ProbeTarget("r1", "h"))
    options = AgentOptions("mqtt://127.0.0.1:1", "s 1", "agent", targets, interval=0.1, disk="/nowhere")
    with pytest.raises(Problems) as refused:
        await run_agent(options)
    said = str(refused.value)
    for part in (
        "'s 1' is no id",
        "'a b' is no id",
        "r1 is named 2 times",
        "0.1 s is too short",
        "no /nowhere",
    ):
        assert part in said
