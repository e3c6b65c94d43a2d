"""How every site stands: how many of its devices are online, and how many are heard.

A command centre asks this every few seconds, from several screens, of a region that may have 420,000 devices.
So it is worked out in columns, in one pass over the newest readings, once for all who ask at the same time;
and a page that has seen a version is told only what changed after it.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from anyio import to_thread

from collector.api.collector import Collector
from collector.core.readings import DEVICE, I32, I64, U8, Bools, Quality, SeriesTable
from devices.catalogue import KINDS
from devices.model import Presence
from devices.region import Region

REST = 20.0
"""After a pass it rests so many times as long: five per cent of a core, however large the region."""
_FOREVER = np.iinfo(np.int64).max
_CODES: Mapping[Presence, int] = {"unknown": 0, "online": 1, "offline": 2}
Counts = npt.NDArray[np.int32]
CountName = Literal["online", "offline", "unknown", "heard", "silent"]
PRESENCES: tuple[Presence, ...] = ("online", "offline", "unknown")
COUNTS: tuple[CountName, ...] = ("online", "offline", "unknown", "heard", "silent")


@dataclass(frozen=True, slots=True)
class Overview:
    """The sites of one pass. `ids` sorted; `counts` has a row per site, a column per name in COUNTS.

    `changed` is the version at which each site was last found different; `version` the newest of them.
    """

    region: Region
    ids: Sequence[str]
    counts: Counts
    changed: I64
    version: int

    def page(self, limit: int, cursor: str, since: int) -> tuple[list[int], str | None]:
        """Numbers of sites by id: after the cursor, changed after `since`; and the next page's cursor.

        A version from the future is from before a restart: then all sites come.
        """
        start = bisect_right(self.ids, cursor) if cursor else 0
        if since > self.version:
            since = 0
        found = np.flatnonzero(self.changed[start:] > since)[: limit + 1] + start
        rows: list[int] = found[:limit].tolist()
        return rows, self.ids[rows[-1]] if len(found) > limit else None

    def at(self, number: int) -> Mapping[CountName, int]:
        """The counts of a site."""
        return dict(zip(COUNTS, self.counts[number].tolist(), strict=True))


class Standings:
    """Keeps the view. `look` on the event loop; the pass itself runs in a thread."""

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self._timer = timer
        self._lock = asyncio.Lock()
        self._index: _Index | None = None
        self._view: Overview | None = None
        self._due = 0.0

    async def look(self, collector: Collector, now: int) -> Overview:
        """How the sites stand, from a pass that may be a moment old. `now` in epoch ns."""
        async with self._lock:
            region = collector.region
            if self._view is None or self._view.region is not region or self._timer() >= self._due:
                started = self._timer()
                self._view = await to_thread.run_sync(self._pass, collector, region, now)
                ended = self._timer()
                self._due = ended + REST * (ended - started)
            return self._view

    def _pass(self, collector: Collector, region: Region, now: int) -> Overview:
        index = self._index
        if index is None or index.region is not region:
            index = self._index = _Index(region)
        index.learn(collector.table)
        counts = index.count(collector, now)
        before = self._view
        if before is None or before.region is not region:
            version = max(now // 1_000_000, before.version + 1 if before else 0)
            return Overview(region, index.ids, counts, np.full(len(index.ids), version, np.int64), version)
        different = (counts != before.counts).any(axis=1)
        if not different.any():
            return before
        version = max(now // 1_000_000, before.version + 1)
        return Overview(region, index.ids, counts, np.where(different, version, before.changed), version)


class _Index:
    """Which series belongs to which device, and which device to which site, as numbers."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.ids = sorted(region.sites)
        sites = {site: number for number, site in enumerate(self.ids)}
        devices = region.devices
        self._devices = {device: number for number, device in enumerate(devices)}
        self._site = np.array([sites.get(device.site, -1) for device in devices.values()], np.int32)
        # One place more than there are devices: series of no known device are numbered -1 and land there.
        limits = [_stale_after(device.kind) for device in devices.values()]
        self._stale_after = np.array([*limits, 0], np.int64)
        self._place: I32 = np.empty(0, np.int32)  # of each place of the series table its device, or -1
        self._series: I32 = np.empty(0, np.int32)  # of each series its device, or -1

    def learn(self, table: SeriesTable) -> None:
        """Take in the series that are new in the table."""
        place, metric = table.columns(len(self._series))  # before the names, which then know all of them
        if len(place) == 0:
            return
        places, metrics = table.names(len(self._place))
        new = np.fromiter(map(self._device_at, places), np.int32, len(places))
        self._place = np.concatenate([self._place, new])
        values = np.array([name != DEVICE for name in metrics], np.bool_)
        device = np.where(values[metric], self._place[place], -1).astype(np.int32)
        self._series = np.concatenate([self._series, device])

    def _device_at(self, place: tuple[str, str]) -> int:
        site, device = place
        number = self._devices.get(device, -1)
        return number if number >= 0 and self.region.devices[device].site == site else -1

    def count(self, collector: Collector, now: int) -> Counts:
        """The counts as they are now; a row per site."""
        fresh, came = self._heard(collector, now)
        presence = self._presence(collector.presence(), fresh)
        masks: dict[CountName, Bools] = {
            "online": presence == _CODES["online"],
            "offline": presence == _CODES["offline"],
            "unknown": presence == _CODES["unknown"],
            "heard": fresh,
            "silent": came & ~fresh,
        }
        return np.stack([self._per_site(masks[name]) for name in COUNTS], axis=1)

    def _presence(self, said: Mapping[str, Presence], fresh: Bools) -> U8:
        """By device the code of what is said of it; of the others, whether a reading is fresh."""
        found = np.where(fresh, _CODES["online"], _CODES["unknown"]).astype(np.uint8)
        for device, presence in said.items():
            number = self._devices.get(device)
            if number is not None:
                found[number] = _CODES[presence]
        return found

    def _heard(self, collector: Collector, now: int) -> tuple[Bools, Bools]:
        """By device: whether a reading of it is fresh, and whether one ever came."""
        rows = collector.lasts.all()
        device = self._series[rows.series[rows.series < len(self._series)]]
        ours = device >= 0
        rows, device = rows.take(np.flatnonzero(ours)), device[ours]
        # A backlog, or the broker's memory, came just now and is old.
        measured = np.minimum(rows.time, rows.received)
        fresh = now - measured <= self._stale_after[device]
        fresh &= (rows.quality & int(Quality.RETAINED)) == 0
        return self._marked(device[fresh]), self._marked(device)

    def _marked(self, devices: I32) -> Bools:
        mask = np.zeros(len(self._devices), np.bool_)
        mask[devices] = True
        return mask

    def _per_site(self, devices: Bools) -> Counts:
        sites = self._site[devices]
        return np.bincount(sites[sites >= 0], minlength=len(self.ids)).astype(np.int32)


def _stale_after(kind: str) -> int:
    known = KINDS.get(kind)
    return int(known.stale_after_s * 1e9) if known else _FOREVER
