"""Fault 11: the broker gets SIGKILL and starts again, with its sessions and without: nothing lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from collector.broker import Mosquitto, free_port
from devices.client import ClientOptions
from tests.acceptance.faults.checks import nothing_missing, settled, wait_for
from tests.acceptance.faults.proxy import proxy, wrong_acks
from tests.acceptance.faults.publishers import DeviceThread
from tests.bench.rig import Rig


@dataclass
class Ordeal:
    """A collector whose broker was killed; stopped by now."""

    rig: Rig
    back: list[float]
    published: set[int]
    dropped: int
    connections: int
    stats: dict
    wrong: list[int]
    log: str


@pytest.fixture(scope="module")
def ordeal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ordeal]:
    folder = tmp_path_factory.mktemp("broker")
    broker = Mosquitto(folder / "mosquitto", free_port())
    broker.start()
    with ExitStack() as stack:
        link = stack.enter_context(proxy(broker.port))
        rig = Rig(folder, sites=4, broker=broker, url=link.url, rules={})
        stack.callback(rig.end)
        rig.start()
        publishers = _publishers(rig)
        time.sleep(1.0)
        _saved(rig)
        back = [_kill(rig, publishers, session_lost=lost) for lost in (False, True, False)]
        published = {number for publisher in publishers for number in publisher.end()}
        total = len(published)
        wait_for("all that was sent again is in", lambda: rig.stats()["stored"] >= total, 20)
        wrong = [number for talk in link.conversations() for number in wrong_acks(talk)]
        stats = settled(rig, total)
        rig.stop()
        dropped, connections = sum(p.dropped for p in publishers), min(p.connections for p in publishers)
        log = (rig.folder / "collector.log").read_text()
        yield Ordeal(rig, back, published, dropped, connections, stats, wrong, log)


def _publishers(rig: Rig) -> list[DeviceThread]:
    options = ClientOptions(rig.broker.url, keepalive=4, drain_s=20.0)
    routers = [device for device in rig.region.devices.values() if device.kind == "router"]
    return [DeviceThread(options, each, step=len(routers), first=n) for n, each in enumerate(routers)]


def _kill(rig: Rig, publishers: list[DeviceThread], *, session_lost: bool) -> float:
    """Kill and start the broker; the seconds until the collector is subscribed again. Devices return, too."""
    connects = rig.stats()["connects"]
    before = [publisher.connections for publisher in publishers]
    rig.broker.kill()
    if session_lost:
        (rig.broker.folder / "mosquitto.db").unlink()
    time.sleep(0.5)
    rig.broker.start()
    took = wait_for("it is subscribed again", lambda: rig.stats()["connects"] > connects, 20)
    for publisher, connections in zip(publishers, before, strict=True):
        wait_for("a device is back", lambda: publisher.connections > connections, 20)  # noqa: B023
    _saved(rig)
    return took


def _saved(rig: Rig) -> None:
    """Wait until the broker has saved the sessions as they are now: the next kill is about those."""
    file, now = rig.broker.folder / "mosquitto.db", time.time() + 0.1
    wait_for("the broker has saved", lambda: file.exists() and file.stat().st_mtime > now, 20)


def test_it_is_subscribed_again_within_ten_seconds(ordeal: Ordeal) -> None:
    assert max(ordeal.back) < 10
    assert ordeal.log.count("session kept") == 2
    assert ordeal.log.count("session new") == 2


def test_nothing_that_a_device_client_published_is_lost_and_nothing_is_doubled(ordeal: Ordeal) -> None:
    assert ordeal.connections >= 4
    assert ordeal.dropped == 0
    assert len(ordeal.published) > 400
    nothing_missing(ordeal.rig, ordeal.published)


def test_what_was_sent_again_is_counted_as_duplicate(ordeal: Ordeal) -> None:
    stats = ordeal.stats
    assert stats["quarantined"] == stats["dropped"] == 0
    assert stats["duplicate"] > 0


def test_no_acknowledgement_goes_over_another_connection_than_its_message_came(ordeal: Ordeal) -> None:
    assert ordeal.wrong == []
