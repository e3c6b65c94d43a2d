"""The live stream: server-sent events that resume without a gap and without a double."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import anyio
from anyio import to_thread
from fastapi import APIRouter, Header, Query
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from collector.api.access import Caller, Viewer
from collector.api.alerts import event_of
from collector.api.context import Context, Ctx
from collector.api.errors import Refusal
from collector.api.hub import Listener
from collector.api.inventory import known_site, quality, stats_of
from collector.core.readings import DEVICE
from collector.state import OutboxRow

router = APIRouter(prefix="/api/v1", tags=["stream"])
_log = logging.getLogger(__name__)
_ROWS = 500
_MS = 1_000_000
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Connection": "keep-alive"}


@router.get("/stream", response_class=Response)
async def stream(
    ctx: Ctx,
    who: Viewer,
    site: Annotated[str, Query(max_length=64)] = "",
    last_event_id: Annotated[int | None, Query(ge=0)] = None,
    resumed: Annotated[int | None, Header(alias="Last-Event-ID", ge=0)] = None,
) -> Response:
    """Events: `alert` (its id is the outbox sequence), `stats` every 2 s, with ?site= `reading`, and `reset`.

    Goes on after Last-Event-ID (or ?last_event_id); without either it begins now. `reset` says that what came
    after that id is no longer kept: read the alerts anew.
    """
    place = known_site(ctx.collector.region, site) if site else ""
    listener = ctx.hub.listen()
    if listener is None:
        raise Refusal(503, "too many streams are open", "/api/v1/stream", "close one", {"Retry-After": "10"})
    return EventStream(ctx, who, listener, place, resumed if resumed is not None else last_event_id)


@dataclass(slots=True)
class _Every:
    """Something that is due again and again. Monotonic seconds."""

    seconds: float
    next: float

    def due(self, now: float) -> bool:
        if now < self.next:
            return False
        self.next = now + self.seconds
        return True


@dataclass(slots=True)
class _Timers:
    stats: _Every
    reading: _Every
    beat: _Every
    check: _Every

    def wait(self, now: float) -> float:
        return min(self.stats.next, self.reading.next, self.beat.next, self.check.next) - now


@dataclass(slots=True)
class _Sent:
    """What this client has: the last outbox row, and of each series the last reading."""

    seq: int = 0
    readings: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)


class EventStream(Response):
    """One client's stream. It ends when the client leaves, stalls or may no longer read, or we stop."""

    media_type = "text/event-stream"

    def __init__(
        self, ctx: Context, who: Caller, listener: Listener, site: str, last_event_id: int | None
    ) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._ctx = ctx
        self._who = who
        self._listener = listener
        self._site = site
        self._asked = last_event_id
        self._sent = _Sent()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the end."""
        with self._listener:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_until_gone, receive, tasks.cancel_scope)
                await self._feed(send)
                tasks.cancel_scope.cancel()

    async def _feed(self, send: Send) -> None:
        try:
            async for chunk in self._chunks():
                async with asyncio.timeout(self._ctx.pace.stall):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            _log.warning("a stream of %s was cut: it took nothing for %g s", *self._cut())

    def _cut(self) -> tuple[str, float]:
        return self._who.principal.name, self._ctx.pace.stall

    async def _chunks(self) -> AsyncIterator[bytes]:
        timers = self._timers()
        yield b"retry: 2000\n\n" + self._stats()
        yield await self._begin()
        while not self._listener.hub.closed:
            rows = await self._rows()
            if rows:
                self._sent.seq = rows[-1].seq
                yield b"".join(_alert(row) for row in rows)
            now = time.monotonic()
            if timers.check.due(now) and not await self._who.still(self._ctx):
                return
            chunk = self._due(timers, now)
            if chunk:
                yield chunk
            if not rows:
                await self._listener.wait(timers.wait(time.monotonic()))

    def _timers(self) -> _Timers:
        pace, now = self._ctx.pace, time.monotonic()
        first_reading = now if self._site else float("inf")
        return _Timers(
            _Every(pace.stats, now + pace.stats),
            _Every(pace.reading, first_reading),
            _Every(pace.beat, now + pace.beat),
            _Every(pace.check, now + pace.check),
        )

    async def _begin(self) -> bytes:
        oldest, newest = await to_thread.run_sync(self._ctx.collector.state.outbox_bounds)
        asked = self._asked
        if asked is None:
            self._sent.seq = newest
            return _frame("hello", {"seq": newest}, newest)
        # Beyond the newest: the id is from a state.db that is no more.
        if asked < oldest - 1 or asked > newest:
            self._sent.seq = newest
            return _frame("reset", {"seq": newest}, newest)
        self._sent.seq = asked
        return b": resumed\n\n"

    async def _rows(self) -> Sequence[OutboxRow]:
        rows = self._listener.hub.after(self._sent.seq, _ROWS)
        if rows is not None:
            return rows
        return await to_thread.run_sync(self._ctx.collector.state.outbox, self._sent.seq, _ROWS)

    def _due(self, timers: _Timers, now: float) -> bytes:
        parts = []
        if timers.stats.due(now):
            parts.append(self._stats())
        if timers.reading.due(now):
            parts.extend(self._readings())
        if timers.beat.due(now):
            parts.append(b": beat\n\n")
        return b"".join(parts)

    def _stats(self) -> bytes:
        return _frame("stats", stats_of(self._ctx))

    def _readings(self) -> list[bytes]:
        collector, frames = self._ctx.collector, []
        rows = collector.lasts.at_site(self._site)
        columns = (rows.time.tolist(), rows.value.tolist(), rows.quality.tolist(), rows.received.tolist())
        for site, device, metric, time_, value, flags, received in zip(
            *collector.table.names_of(rows.series), *columns, strict=True
        ):
            if metric == DEVICE or self._sent.readings.get((device, metric)) == (time_, value):
                continue
            self._sent.readings[device, metric] = (time_, value)
            reading = {
                "site": site,
                "device": device,
                "metric": metric,
                "t": time_ // _MS,
                "value": value,
                "received": received // _MS,
                "quality": quality(flags),
            }
            frames.append(_frame("reading", reading))
        return frames


def _alert(row: OutboxRow) -> bytes:
    return _frame("alert", event_of(row), row.seq)


def _frame(event: str, data: Mapping[str, object], seq: int | None = None) -> bytes:
    head = f"id: {seq}\n" if seq is not None else ""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"{head}event: {event}\ndata: {text}\n\n".encode()


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
