"""How the sites stand, beside the routes: no pass more than needed, and none that grows with its square."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np

from collector.api.collector import Newest
from collector.api.standing import REST, Standings
from collector.core.readings import Quality, SeriesKey
from collector.followers.lasts import NEVER
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


async def test_those_who_ask_together_share_one_pass_and_a_pass_earns_its_rest(desk: Any) -> None:
    timer = Timer(0.001)
    standings = Standings(timer)
    passes = 0
    newest = desk.newest

    def counted() -> Newest:
        nonlocal passes
        passes += 1
        found: Newest = newest()
        return found

    desk.newest = counted
    await asyncio.gather(*(standings.look(desk, NOW) for _ in range(5)))
    assert passes == 1
    timer.now += REST * 0.001
    await standings.look(desk, NOW)
    assert passes == 2


async def test_what_the_broker_remembered_is_no_fresh_reading(desk: Any) -> None:
    key = SeriesKey("1305012001", "lubuk-alung-ont", "rx_dbm")
    number = desk.table.number(key)
    times, quality = np.full(number + 1, NEVER), np.zeros(number + 1, np.uint8)
    times[number], quality[number] = NOW, int(Quality.RETAINED)
    desk.newest = lambda: Newest(times, times, quality)
    view = await Standings().look(desk, NOW)
    found = view.at(view.ids.index("1305012001"))
    assert (found["heard"], found["silent"]) == (0, 1)


async def test_the_edge_of_freshness_is_the_kinds(desk: Any) -> None:
    number = desk.table.number(SeriesKey("1305012001", "lubuk-alung-ont", "rx_dbm"))
    edge = int(KINDS["ont"].stale_after_s * 1e9)
    heard = []
    for age in (edge, edge + 1):
        times = np.full(number + 1, NOW - age)
        desk.newest = lambda times=times: Newest(times, times, np.zeros(number + 1, np.uint8))
        view = await Standings().look(desk, NOW)
        heard.append(view.at(view.ids.index("1305012001"))["heard"])
    assert heard == [1, 0]


async def test_a_hundred_thousand_devices_take_a_blink(tmp_path: Path) -> None:
    region = write_region(tmp_path / "region", 20_000, ("router", "ont", "power", "climate", "river"))
    desk = api_desk.Desk(tmp_path)
    desk._region = region
    for device in region.devices.values():
        for metric in ("a", "b"):
            desk.table.number(SeriesKey(device.site, device.id, metric))
    size = len(desk.table)
    times = np.full(size, NOW)
    desk.newest = lambda: Newest(times, times, np.zeros(size, np.uint8))
    standings = Standings(Timer(0.0))
    view = await standings.look(desk, NOW)
    assert view.counts[:, 3].sum() == 100_000
    times[:2] = 0  # both series of the first device
    begun = time.perf_counter()
    after = await standings.look(desk, NOW)
    assert time.perf_counter() - begun < 1.0  # 0.03 s on a quiet machine
    rows, following = after.page(1000, "", view.version)
    assert ([after.ids[row] for row in rows], following) == (["load-000000"], None)
    desk.close()
