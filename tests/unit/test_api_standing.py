"""How the sites stand, beside the routes: no pass more than needed, and none that grows with its square."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from collector.api.routes.alerts import AlertsOut
from collector.api.routes.inventory import DevicesOut, LinksOut, RejectsOut
from collector.api.routes.places import SitesOut
from collector.api.standing import REST, Standings
from collector.core.readings import Quality, Readings, SeriesKey, SeriesTable
from collector.followers.lasts import Lasts
from devices.catalogue import KINDS
from simulators.regions import write_region
from tests.unit import api_desk

NOW = 1_764_000_000 * 10**9


class Timer:
    """Monotonic seconds that a test moves; each look at it takes `step`."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def newest(desk: Any, times: np.ndarray, quality: int = 0) -> None:
    """Every series of the table had its newest reading then."""
    size = len(times)
    flags = np.full(size, quality, np.uint8)
    desk.lasts.take(Readings(np.arange(size, dtype=np.int32), times, np.ones(size), flags, times))


class Counting(Lasts):
    """Counts what it is asked for."""

    asked: list[int]

    def of(self, series: Any) -> Readings:
        self.asked.append(len(series))
        return super().of(series)


def counting(desk: Any) -> list[int]:
    desk.lasts = Counting(desk.table)
    desk.lasts.asked = []
    found: list[int] = desk.lasts.asked
    return found


async def test_those_who_ask_together_share_one_pass_and_a_pass_earns_its_rest(desk: Any) -> None:
    timer = Timer(0.001)
    standings, passes = Standings(timer), counting(desk)
    await asyncio.gather(*(standings.look(desk, NOW) for _ in range(5)))
    assert len(passes) == 1
    timer.now += REST * 0.001
    await standings.look(desk, NOW)
    assert len(passes) == 2


def test_a_page_of_devices_costs_its_devices_and_not_the_regions(tmp_path: Path) -> None:
    desk = api_desk.Desk(tmp_path)
    desk.region = write_region(tmp_path / "region", 4_000, ("router", "ont", "power", "climate", "river"))
    for device in desk.region.devices.values():
        for metric in ("a", "b"):
            desk.table.number(SeriesKey(device.site, device.id, metric))
    asked = counting(desk)
    newest(desk, np.full(len(desk.table), NOW))
    headers = {"Authorization": f"Bearer {desk.token('viewer')}"}
    with api_desk.serving(desk) as live, httpx.Client(base_url=live.url, headers=headers) as client:
        page = client.get("/api/v1/devices?limit=200").json()
        assert len(DevicesOut.model_validate(page, strict=True).devices) == 200
        assert {metric["value"] for metric in page["devices"][0]["metrics"]} == {1.0, None}
        assert asked == [400]
        site = page["devices"][0]["site"]
        assert len(client.get("/api/v1/devices", params={"site": site}).json()["devices"]) == 5
        assert asked == [400, 10]
    desk.close()


def test_what_large_answers_say_is_what_their_schema_says(desk: Any) -> None:
    desk.reading("lubuk-alung-ont", "rx_dbm", -21.0)
    desk.reject("nagari/v1/x/y/tele", "is not JSON", b"{")
    headers = {"Authorization": f"Bearer {desk.token('engineer')}"}
    with api_desk.serving(desk) as live, httpx.Client(base_url=live.url, headers=headers) as client:
        live.do(desk.raise_alert())
        for path, model in (
            ("sites", SitesOut),
            ("devices", DevicesOut),
            ("links", LinksOut),
            ("alerts", AlertsOut),
            ("rejects", RejectsOut),
        ):
            body = client.get(f"/api/v1/{path}").json()
            assert json.loads(model.model_validate(body).model_dump_json()) == body


async def test_what_the_broker_remembered_is_no_fresh_reading(desk: Any) -> None:
    desk.table.number(SeriesKey("1305012001", "lubuk-alung-ont", "rx_dbm"))
    newest(desk, np.array([NOW]), int(Quality.RETAINED))
    view = await Standings().look(desk, NOW)
    found = view.at(view.ids.index("1305012001"))
    assert (found["heard"], found["silent"]) == (0, 1)


async def test_the_edge_of_freshness_is_the_kinds(desk: Any) -> None:
    desk.table.number(SeriesKey("1305012001", "lubuk-alung-ont", "rx_dbm"))
    edge = int(KINDS["ont"].stale_after_s * 1e9)
    heard = []
    for age in (edge, edge + 1):
        newest(desk, np.array([NOW - age]))
        view = await Standings().look(desk, NOW)
        heard.append(view.at(view.ids.index("1305012001"))["heard"])
    assert heard == [1, 0]


async def test_of_a_hundred_thousand_devices_only_the_site_that_changed_comes(tmp_path: Path) -> None:
    desk = api_desk.Desk(tmp_path)
    desk.region = write_region(tmp_path / "region", 20_000, ("router", "ont", "power", "climate", "river"))
    for device in desk.region.devices.values():
        for metric in ("a", "b"):
            desk.table.number(SeriesKey(device.site, device.id, metric))
    times = np.full(len(desk.table), NOW)
    newest(desk, times)
    standings = Standings(Timer(0.0))
    view = await standings.look(desk, NOW)
    assert view.counts[:, 3].sum() == 100_000
    times[:2] = 0  # both series of the first device
    newest(desk, times)
    after = await standings.look(desk, NOW)
    rows, following = after.page(1000, "", view.version)
    assert ([after.ids[row] for row in rows], following) == (["load-000000"], None)
    desk.close()


def test_a_new_time_is_never_seen_beside_an_old_value() -> None:
    table = SeriesTable()
    number = table.number(SeriesKey("s", "d", "m"))
    lasts, series = Lasts(table), np.array([number], np.int32)
    stop = threading.Event()

    def write() -> None:
        count = 0
        while not stop.is_set():
            count += 1
            stamp = np.array([count], np.int64)
            lasts.take(Readings(series, stamp, stamp.astype(float), np.zeros(1, np.uint8), stamp))

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5_000):
            seen = lasts.of(series)
            assert seen.time.tolist() == seen.value.tolist() == seen.received.tolist()
    finally:
        stop.set()
        writer.join()
        sys.setswitchinterval(switch)
