"""What the stream's clients are sent, as server-sent events: made once, however many there are."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

import numpy as np
from anyio import to_thread

from collector.api.collector import Collector
from collector.api.rendering import quality
from collector.core.readings import DEVICE, F64, I32, I64, Readings
from collector.state import OutboxRow

_MS = 1_000_000
_UNSEEN = np.iinfo(np.int64).min

T = TypeVar("T")


def frame(event: str, data: Mapping[str, object], seq: int | None = None) -> bytes:
    """One server-sent event; `seq` is its id."""
    head = f"id: {seq}\n" if seq is not None else ""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"{head}event: {event}\ndata: {text}\n\n".encode()


def frame_of(row: OutboxRow) -> bytes:
    """The event of an outbox row, its name and that of its body being the row's kind; `at` in epoch ms."""
    event = {
        "seq": row.seq,
        "kind": row.change,
        "at": row.at // _MS,
        "by": row.by,
        "comment": row.comment,
        row.kind: row.body,
    }
    return frame(row.kind, event, row.seq)


class Shared(Generic[T]):
    """What several ask for within one tick is made once. On the event loop."""

    def __init__(self) -> None:
        self._tick = -1
        self._made: dict[Hashable, asyncio.Task[T]] = {}

    async def get(self, tick: int, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """What `make` gives, asked for by the first who comes with this key in this tick."""
        if tick != self._tick:
            self._tick, self._made = tick, {}
        task = self._made.get(key)
        if task is None:
            task = self._made[key] = asyncio.ensure_future(_run(make))
        return await asyncio.shield(task)  # one client's leaving takes it from nobody else


async def _run(make: Callable[[], Awaitable[T]]) -> T:
    return await make()


class SiteReadings:
    """The newest readings of a site's series, each made a frame when it changes. Its calls run in threads."""

    def __init__(self, collector: Collector, site: str) -> None:
        self._collector = collector
        self._site = site
        self._lock = threading.Lock()
        self._series_known = -1  # the size of the table when `_numbers` was made
        self._numbers: I32 = np.empty(0, np.int32)
        self._time: I64 = np.empty(0, np.int64)
        self._value: F64 = np.empty(0, np.float64)
        self._changed: I64 = np.empty(0, np.int64)  # the tick of each series' newest frame
        self._frames: list[bytes] = []

    def look(self, tick: int) -> None:
        """Make the frames of what has changed since the last look."""
        with self._lock:
            self._find_series()
            rows = self._collector.lasts.of(self._numbers)
            at = np.searchsorted(self._numbers, rows.series)
            new = np.flatnonzero((self._time[at] != rows.time) | (self._value[at] != rows.value))
            rows, at = rows.take(new), at[new]
            self._time[at], self._value[at], self._changed[at] = rows.time, rows.value, tick
            for number, made in zip(at.tolist(), self._made(rows), strict=True):
                self._frames[number] = made

    def since(self, tick: int) -> bytes:
        """The frames that were made after that tick."""
        with self._lock:
            return b"".join(self._frames[number] for number in np.flatnonzero(self._changed > tick).tolist())

    def _find_series(self) -> None:
        """Numbers of series only rise: a site's new ones come behind those it had."""
        size = len(self._collector.table)
        if size == self._series_known:
            return
        self._series_known = size
        numbers = np.array(self._collector.table.at_site(self._site), np.int32)
        more = len(numbers) - len(self._numbers)
        self._numbers = numbers
        self._time = np.append(self._time, np.full(more, _UNSEEN))
        self._value = np.append(self._value, np.zeros(more))
        self._changed = np.append(self._changed, np.full(more, _UNSEEN))
        self._frames += [b""] * more

    def _made(self, rows: Readings) -> list[bytes]:
        names = self._collector.table.names_of(rows.series)
        columns = (rows.time.tolist(), rows.value.tolist(), rows.received.tolist(), rows.quality.tolist())
        return [_reading(*row) for row in zip(*names, *columns, strict=True)]


def _reading(
    site: str, device: str, metric: str, time: int, value: float, received: int, flags: int
) -> bytes:
    if metric == DEVICE:
        return b""
    reading = {
        "site": site,
        "device": device,
        "metric": metric,
        "t": time // _MS,
        "value": value,
        "received": received // _MS,
        "quality": quality(flags),
    }
    return frame("reading", reading)


class SharedFrames:
    """Frames of stats and readings, and whether callers may still read: each once a tick. On the loop."""

    def __init__(self) -> None:
        self._stats: Shared[bytes] = Shared()
        self._looks: Shared[None] = Shared()
        self._readings: Shared[bytes] = Shared()
        self._valid: Shared[bool] = Shared()
        self._sites: WeakValueDictionary[str, SiteReadings] = WeakValueDictionary()

    async def stats(self, tick: int, make: Callable[[], Mapping[str, object]]) -> bytes:
        """The stats of this tick."""
        return await self._stats.get(tick, "", lambda: to_thread.run_sync(lambda: frame("stats", make())))

    def watch(self, collector: Collector, site: str) -> SiteReadings:
        """The site's readings, shared with all who watch it; kept as long as somebody holds it."""
        found = self._sites.get(site)
        if found is None:
            found = self._sites[site] = SiteReadings(collector, site)
        return found

    async def readings(self, watched: SiteReadings, since: int, tick: int) -> bytes:
        """What changed at the site after the tick `since`, up to this one."""
        await self._looks.get(tick, watched, lambda: to_thread.run_sync(watched.look, tick))
        make = lambda: to_thread.run_sync(watched.since, since)  # noqa: E731
        return await self._readings.get(tick, (watched, since), make)

    async def valid(self, tick: int, secret: str, ask: Callable[[], Awaitable[bool]]) -> bool:
        """Whether who proved himself with this secret may still read."""
        return await self._valid.get(tick, secret, ask)
