"""The live stream: server-sent events that resume without a gap and without a double."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from collector.api.context import Context, Ctx
from collector.api.edge.access import Caller, Viewer, address
from collector.api.edge.errors import ApiError
from collector.api.frames import frame, frame_of
from collector.api.hub import Subscriber
from collector.api.routes.inventory import known_site, stats_of
from collector.state import State

router = APIRouter(prefix="/api/v1", tags=["stream"])
_log = logging.getLogger(__name__)
_ROWS = 500
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Connection": "keep-alive"}


@router.get("/stream", response_class=Response)
async def stream(
    ctx: Ctx,
    request: Request,
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
    subscriber = ctx.hub.listen(who.principal.token_id, address(request), ctx.caps)
    if isinstance(subscriber, str):
        raise ApiError(503, subscriber, "/api/v1/stream", "close one", {"Retry-After": "10"})
    return EventStream(ctx, who, subscriber, place, resumed if resumed is not None else last_event_id)


class Ticker:
    """Due once in each stretch of so many seconds, for all clients at the same moments. Monotonic seconds."""

    def __init__(self, seconds: float, last: int = -1) -> None:
        self._seconds = seconds
        self.last = last

    def due(self, now: float) -> bool:
        """Whether a new stretch has begun, whose number `last` then is."""
        tick = int(now / self._seconds)
        began, self.last = tick != self.last, tick
        return began

    @property
    def next(self) -> float:
        """When the next stretch begins."""
        return (self.last + 1) * self._seconds


class EventStream(Response):
    """One client's stream. It ends when the client leaves, stalls or may no longer read, or we stop."""

    media_type = "text/event-stream"

    def __init__(
        self, ctx: Context, who: Caller, subscriber: Subscriber, site: str, last_event_id: int | None
    ) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._ctx = ctx
        self._who = who
        self._subscriber = subscriber
        self._watched = ctx.frames.watch(ctx.collector, site) if site else None
        self._asked = last_event_id
        self._seq = self._known = 0  # the last row sent, and the newest there was at the beginning
        pace, now = ctx.pace, time.monotonic()
        self._stats, self._reading = Ticker(pace.stats), Ticker(pace.reading)
        self._beat, self._check = (Ticker(each, int(now / each)) for each in (pace.beat, pace.check))
        self._alerts_from = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the end."""
        with self._subscriber:
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
            name, stall = self._who.principal.name, self._ctx.pace.stall
            _log.warning("a stream of %s was cut: it took nothing for %g s", name, stall)

    async def _chunks(self) -> AsyncIterator[bytes]:
        yield b"retry: 2000\n\n" + await self._due_stats(time.monotonic())
        yield await self._begin()
        while not self._subscriber.hub.closed:
            now = time.monotonic()
            if self._check.due(now) and not await self._may_read():
                return
            parts = [await self._due_alerts(now), await self._due_stats(now), await self._due_readings(now)]
            parts += [b": beat\n\n"] if self._beat.due(now) else []
            if chunk := b"".join(parts):
                yield chunk
            if self._seq >= self._newest or self._alerts_from > now:
                await self._wait(time.monotonic())

    async def _wait(self, now: float) -> None:
        tickers = [self._stats, self._beat, self._check, *([self._reading] if self._watched else [])]
        until = min(ticker.next for ticker in tickers) - now
        if self._alerts_from > now:
            await asyncio.sleep(min(until, self._alerts_from - now))
        else:
            await self._subscriber.wait(until)

    async def _may_read(self) -> bool:
        ctx, who = self._ctx, self._who
        return await ctx.frames.valid(self._check.last, who.secret, lambda: who.still(ctx))

    async def _begin(self) -> bytes:
        oldest, newest = await to_thread.run_sync(self._ctx.collector.state.outbox_bounds)
        asked, self._known = self._asked, newest
        if asked is None:
            self._seq = newest
            return frame("hello", {"seq": newest}, newest)
        # Beyond the newest: the id is from a state.db that is no more.
        if asked < oldest - 1 or asked > newest:
            self._seq = newest
            return frame("reset", {"seq": newest}, newest)
        self._seq = asked
        return b": resumed\n\n"

    @property
    def _newest(self) -> int:
        """The newest row there is, as far as this client needs to know."""
        return max(self._known, self._subscriber.hub.last or 0)

    async def _due_alerts(self, now: float) -> bytes:
        """What the outbox has after this client's row; in a storm it goes out in a few pieces a second."""
        newest = self._newest
        if self._seq >= newest or now < self._alerts_from:
            return b""
        found = self._subscriber.hub.chunk(self._seq, _ROWS, frame_of)
        if found is None:
            found = await to_thread.run_sync(_from_outbox, self._ctx.collector.state, self._seq)
        reached, chunk = found
        self._seq = reached if chunk else newest
        pause = self._ctx.pace.gather * self._subscriber.hub.clients
        self._alerts_from = now if self._seq < newest else now + pause
        return chunk

    async def _due_stats(self, now: float) -> bytes:
        if not self._stats.due(now):
            return b""
        return await self._ctx.frames.stats(self._stats.last, lambda: stats_of(self._ctx))

    async def _due_readings(self, now: float) -> bytes:
        before = self._reading.last
        if self._watched is None or not self._reading.due(now):
            return b""
        return await self._ctx.frames.readings(self._watched, before, self._reading.last)


def _from_outbox(state: State, seq: int) -> tuple[int, bytes]:
    rows = state.outbox(seq, _ROWS)
    return (rows[-1].seq if rows else seq), b"".join(map(frame_of, rows))


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
