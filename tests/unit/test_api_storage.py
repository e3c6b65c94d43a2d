"""GET /api/v1/storage: what fills the disk, and when it is full; and the same for Prometheus, without ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from collector.api.figures import COUNTERS, FATES, GAUGES, Health, exposition
from collector.storage.holding import DeviceCost, Holding, KindCost, ShareUse, Shed
from tests.unit import api_desk

DAY = 86_400 * 10**9
HOLDING = Holding(
    at=20_000 * DAY,
    capacity=1000,
    used=500,
    held=600,
    shares=(ShareUse("raw", 450, 700, 90, 19_000 * DAY, 20_000 * DAY), ShareUse("state", 50, 100)),
    shed=(Shed("raw", 30, 18_999 * DAY, 19_999 * DAY, "room"),),
    growth=10.0,
    days_left=30.0,
    alarm=True,
    breach="this needs 2 TB",
    kinds=(KindCost("router", 2, 100.0, 300.0, 50.0, 1),),
    devices=tuple(DeviceCost("s", f"rtr-{n}", "router", 50.04, 150.0, 25.0, n == 0) for n in range(3)),
    over=1,
)


@pytest.fixture
def client(desk: Any) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {desk.token('viewer')}"}
    with api_desk.serving(desk) as live, httpx.Client(base_url=live.url, headers=headers) as client:
        yield client


def test_it_says_what_fills_the_disk_and_when_it_is_full(desk: Any, client: httpx.Client) -> None:
    desk.holding = HOLDING
    found = client.get("/api/v1/storage?top=2").json()
    assert (found["capacity"], found["held"], found["used_pct"], found["alarm"]) == (1000, 600, 60.0, True)
    assert found["full_at"] == (20_030 * DAY) // 10**6
    assert found["shares"][0] == {
        "share": "raw",
        "bytes": 450,
        "planned": 700,
        "rows": 90,
        "oldest": 19_000 * DAY // 10**6,
        "newest": 20_000 * DAY // 10**6,
    }
    assert found["shed"][0]["bytes"] == 30
    assert [each["device"] for each in found["devices"]] == ["rtr-0", "rtr-1"]
    assert found["devices"][0]["readings_per_day"] == 50.0
    assert found["kinds"][0]["over"] == found["over_rate"] == 1
    assert found["breach"] == "this needs 2 TB"


def test_without_a_capacity_what_is_used_is_told_all_the_same(desk: Any, client: httpx.Client) -> None:
    desk.holding = Holding(DAY, None, 500, 600, (ShareUse("raw", 450, 0),), growth=10.0)
    found = client.get("/api/v1/storage").json()
    assert (found["used"], found["capacity"], found["used_pct"], found["days_left"]) == (
        500,
        None,
        None,
        None,
    )


def test_prometheus_hears_of_shares_and_never_of_devices() -> None:
    stats: dict[str, Any] = dict.fromkeys(["received", *FATES, *COUNTERS, *GAUGES], 0)
    text = exposition(stats, Health(ready=True), HOLDING).decode()
    assert 'nagari_storage_bytes{share="raw"} 450.0' in text
    assert 'nagari_storage_shed_bytes_total{tier="raw",why="room"} 30.0' in text
    assert "nagari_storage_days_left 30.0" in text
    assert "rtr-" not in text
