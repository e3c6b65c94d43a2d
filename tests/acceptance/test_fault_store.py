"""Faults 8, 9 and 10: the time-series server is away, misbehaves, is killed right after it said yes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.faults.checks import Watcher, alerts, balanced, rule, rules, settled, wait_for
from tests.acceptance.faults.http_proxy import Fault, HttpProxy, everything, writes
from tests.acceptance.faults.publishers import NUMBER, Load, Wire, now_ms, tele, topic
from tests.bench.rig import Rig
from tests.servers import VictoriaMetrics

RULES = rules(rule("slow", "latency_ms", "above = 300.0, clear_below = 250.0"))


@pytest.fixture
def proxy(victoria: VictoriaMetrics) -> Iterator[HttpProxy]:
    proxy = HttpProxy(victoria.port)
    yield proxy
    proxy.close()


@pytest.fixture
def rig(tmp_path: Path, proxy: HttpProxy) -> Iterator[Rig]:
    rig = Rig(tmp_path / "rig", sites=10, rules=RULES, env={"NAGARI_STORE__URL": proxy.url})
    with ExitStack() as stack:
        stack.callback(rig.end)
        rig.broker.start()
        rig.start()
        yield rig


def numbers(victoria: VictoriaMetrics) -> list[int]:
    """The numbers of all numbered messages on the server."""
    lines = [json.loads(line) for line in victoria.export(f"{NUMBER}_value")]
    return [int(value) for line in lines for value in line["values"]]


def nothing_missing(victoria: VictoriaMetrics, acked: set[int]) -> None:
    """Every number is on the server, none of them twice."""
    stored = numbers(victoria)
    missing = sorted(acked - set(stored))
    assert not missing, f"{len(missing)} acknowledged messages are missing, such as {missing[:5]}"
    assert len(stored) == len(set(stored)), "a message is stored twice"


def raised_within(rig: Rig, seconds: float, wire: Wire) -> None:
    """An alert comes in time, whatever the store does."""
    site, device = rig.devices[-1]
    wire.publish(topic(site, device), tele({"latency_ms": 900.0}, now_ms()))
    wait_for("an alert is raised", lambda: alerts(rig, "slow"), seconds, every=0.02)
    wire.publish(topic(site, device), tele({"latency_ms": 9.0}, now_ms()))
    wait_for("it clears", lambda: not alerts(rig, "slow"), seconds, every=0.02)


def test_an_outage_of_twenty_seconds_under_load_loses_nothing_and_delays_no_alert(
    rig: Rig, victoria: VictoriaMetrics
) -> None:
    load = Load(rig.broker.port, rig.devices[:-1], 2500)
    time.sleep(1.0)
    victoria.stop()
    began = time.monotonic()
    with Wire(rig.broker.port, "alarmer") as wire:
        for _ in range(4):
            raised_within(rig, 1.0, wire)
            time.sleep(2.0)
        ready = rig.get("/readyz")
        assert ready["ready"]
        assert "does not answer" in ready["parts"]["store"]
        assert balanced(rig.stats())
        assert rig.get("/api/v1/alerts?limit=1")  # the API is there
        time.sleep(max(0.0, 20 - (time.monotonic() - began)))
        victoria.start()
        time.sleep(1.0)
        raised_within(rig, 1.0, wire)
    acked = load.stop()
    stats = settled(rig, len(acked) + 10)
    assert stats["stored"] == len(acked) + 10
    assert stats["duplicate"] == stats["quarantined"] == stats["dropped"] == 0
    rig.stop()
    nothing_missing(victoria, acked)


def test_what_victoriametrics_took_and_lost_when_it_was_killed_is_there_in_the_end(
    rig: Rig, victoria: VictoriaMetrics
) -> None:
    acked: set[int] = set()
    turns: list[int] = []
    for turn in range(3):
        turns.append(turn)
        load = Load(
            rig.broker.port, rig.devices, 3000, first=turn * 6000, count=6000, client_id=f"load-{turn}"
        )
        acked |= load.join()
        settled(rig, len(acked))  # all of it was answered 204
        victoria.kill()
        victoria.start()
        if turn == 1:  # and so was the collector, as when the power is cut
            rig.kill()
            rig.start()
        wait_for("all is there", lambda: len(set(numbers(victoria))) >= 6000 * len(turns), 15, every=0.5)
    stats = settled(rig, len(acked))
    assert stats["stored"] == len(acked)
    assert stats["duplicate"] == stats["quarantined"] == stats["dropped"] == 0
    rig.stop()
    nothing_missing(victoria, acked)


FAULTS: Mapping[str, Fault] = {
    "writes hang": writes("hang"),
    "everything hangs": everything("hang"),
    "500": writes(500),
    "503 to everything": everything(503),
    "429": writes(429),
    "400 to everything": writes(400),
    "401": everything(401),
    "answers cut off": everything("cut"),
    "answers to writes cut off": writes("cut"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_server_that_misbehaves_loses_nothing_and_no_good_line_is_refused(
    rig: Rig, victoria: VictoriaMetrics, proxy: HttpProxy, kind: str
) -> None:
    load = Load(rig.broker.port, rig.devices, 2000)
    time.sleep(0.5)
    proxy.fault = FAULTS[kind]
    watcher = Watcher(rig.stats)
    wait_for("it is hurt", lambda: proxy.hurt, 10)
    time.sleep(3.0)
    proxy.heal()
    time.sleep(0.5)
    acked = load.stop()
    stats = settled(rig, len(acked))
    assert all(balanced(seen) for _, seen in watcher.end())
    assert stats["stored"] == len(acked)
    assert stats["duplicate"] == stats["quarantined"] == stats["dropped"] == 0
    rig.stop()
    nothing_missing(victoria, acked)


@pytest.mark.parametrize("status", [400, 422])
def test_only_the_bad_line_goes_to_the_rejects(
    rig: Rig, victoria: VictoriaMetrics, proxy: HttpProxy, status: int
) -> None:
    proxy.fault = writes(status, when=b"value=666.0 ")
    (site, device), (other_site, other) = rig.devices[:2]
    load = Load(rig.broker.port, rig.devices[2:], 2000, first=1000, count=6000)
    with Wire(rig.broker.port, "bad") as wire:
        for n in range(5):
            wire.publish(topic(site, device), tele({"jitter_ms": 666, "loss_pct": 1.5}, now_ms() + n))
            wire.publish(topic(other_site, other), tele({"jitter_ms": 666}, now_ms() + n))
        wire.flush()
    acked = load.join()
    stats = settled(rig, len(acked) + 10)
    assert stats["quarantined"] == 5  # those of which nothing is left
    assert stats["stored"] == len(acked) + 5
    rejects = rig.get("/api/v1/rejects?limit=100")["rejects"]
    assert len(rejects) == 10
    assert all(f"the store refused it: {status}" in reject["reason"] for reject in rejects)
    assert {reject["topic"] for reject in rejects} == {topic(site, device), topic(other_site, other)}
    rig.stop()
    nothing_missing(victoria, acked)
    assert len(victoria.export("loss_pct_value")) == 1
    assert not victoria.export("jitter_ms_value")


def test_copies_are_duplicates_and_the_first_value_stays(rig: Rig, victoria: VictoriaMetrics) -> None:
    site, device = rig.devices[0]
    at = now_ms()
    with Wire(rig.broker.port, "copies") as wire:
        for turn in range(3):
            for n in range(100):
                wire.publish(topic(site, device), tele({NUMBER: n + 0.1, "latency_ms": 9.5 + turn}, at + n))
        wire.flush()
    stats = settled(rig, 300)
    assert (stats["stored"], stats["duplicate"], stats["conflicts"]) == (100, 200, 200)
    rig.stop()
    [line] = [json.loads(line) for line in victoria.export("latency_ms_value")]
    assert line["values"] == [9.5] * 100


def test_killed_again_and_again_the_collector_counts_every_message_once(
    rig: Rig, victoria: VictoriaMetrics
) -> None:
    load = Load(rig.broker.port, rig.devices, 3000)
    for pause in (0.31, 0.77, 1.13, 0.52):
        time.sleep(pause)
        rig.kill()
        rig.start()
    acked = load.stop()
    stats = settled(rig, len(acked))
    stored = numbers(victoria)
    assert stats["quarantined"] == stats["dropped"] == 0
    assert stats["stored"] == len(stored) == len(set(stored))
    rig.stop()
    nothing_missing(victoria, acked)


def points(rig: Rig, metric: str, device: tuple[str, str], more: str = "") -> list[Any]:
    asked = f"site={device[0]}&device={device[1]}&metric={metric}{more}"
    return list(rig.get(f"/api/v1/series?{asked}")["points"])


def test_the_api_shows_what_is_on_the_server_and_says_when_it_is_away(
    rig: Rig, victoria: VictoriaMetrics
) -> None:
    site, device = rig.devices[0]
    at = now_ms() - 50_000
    with Wire(rig.broker.port, "api") as wire:
        for n in range(40):
            wire.publish(topic(site, device), tele({"latency_ms": n}, at + n * 1000))
        wire.flush()
    settled(rig, 40)
    victoria.flush()
    assert points(rig, "latency_ms", (site, device)) == [[at + n * 1000, float(n)] for n in range(40)]
    sums = points(rig, "latency_ms", (site, device), "&step=60000&agg=count")
    assert sum(count for _, count in sums) == 40
    victoria.stop()
    with pytest.raises(OSError, match="503"):
        points(rig, "latency_ms", (site, device))


def test_readings_without_a_time_that_come_within_a_millisecond_are_counted_for_what_they_are(
    rig: Rig, victoria: VictoriaMetrics
) -> None:
    site, device = rig.devices[0]
    with Wire(rig.broker.port, "timeless") as wire:
        wire.send(
            b"".join(
                wire.packet(topic(site, device), tele({NUMBER: n, "latency_ms": 9.5}, seq=n))
                for n in range(900)
            )
        )
        wire.flush()
    stats = settled(rig, 900)
    stored = numbers(victoria)
    assert stats["stored"] == len(stored) == len(set(stored))
    assert stats["stored"] + stats["duplicate"] == 900
    assert (
        stats["duplicate"] > 0
    )  # this server keeps one a millisecond: it says so, and never loses one unsaid
    assert min(stored) == 0
    rig.stop()


def test_a_start_while_the_server_is_away_and_nothing_is_remembered_goes_on_once_it_is_back(
    rig: Rig, victoria: VictoriaMetrics
) -> None:
    acked = Load(rig.broker.port, rig.devices, 3000, count=3000).join()
    settled(rig, len(acked))
    rig.stop()
    victoria.stop()
    for file in (rig.data / "snapshots").rglob("storing*"):
        file.unlink()
    rig.start()
    assert "does not answer" in rig.get("/readyz")["parts"]["store"]
    with Wire(rig.broker.port, "alarmer") as wire:
        raised_within(rig, 2.0, wire)
    acked |= Load(rig.broker.port, rig.devices, 3000, first=3000, count=3000).join()
    victoria.start()
    stats = settled(rig, len(acked) + 2)
    assert stats["stored"] == len(acked) + 2
    rig.stop()
    nothing_missing(victoria, acked)


def test_told_to_end_while_the_server_hangs_it_ends_in_time_and_counts_everything_once(
    rig: Rig, victoria: VictoriaMetrics, proxy: HttpProxy
) -> None:
    proxy.fault = writes("hang")
    acked = Load(rig.broker.port, rig.devices, 3000, count=3000).join()
    wait_for("it is hurt", lambda: proxy.hurt, 10)
    assert rig.stop(patience=20) < 10
    proxy.heal()
    rig.start()
    stats = settled(rig, len(acked))
    assert stats["stored"] == len(acked)
    assert stats["received"] == len(acked) + stats["duplicate"]  # the broker may send again what it sent last
    rig.stop()
    nothing_missing(victoria, acked)
