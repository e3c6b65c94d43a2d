"""The FastAPI application: the routes, the errors, the guard and the page."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import uvicorn
from fastapi import Depends, FastAPI
from fastapi.requests import Request
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from collector.api.collector import Collector
from collector.api.context import Context, Pace
from collector.api.edge import errors
from collector.api.edge.door import Door, settings_of
from collector.api.edge.guard import Guard
from collector.api.edge.query import known_query
from collector.api.hub import Hub, StreamCaps
from collector.api.routes import alerts, backup, inventory, ops, places, series, session, storage, stream

ROUTERS = (
    session.router,
    places.router,
    inventory.router,
    series.router,
    alerts.router,
    stream.router,
    storage.router,
    ops.router,
    backup.router,
)
STATIC = Path(__file__).parent / "static"


def create_app(
    collector: Collector, hub: Hub, *, clock: Callable[[], int] = time.time_ns, pace: Pace | None = None
) -> FastAPI:
    """The API and the page over a running collector. `clock` gives epoch ns."""
    app = FastAPI(
        title="nagari",
        summary="Collector and command-centre backend for a regency on fibre",
        version="1",
        openapi_url="/api/openapi.json",
        docs_url=None,  # its page loads from a CDN
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(known_query)],
    )
    http = collector.config.http
    caps = StreamCaps(http.streams, http.streams_per_token, http.streams_per_address)
    ctx = app.state.context = Context(collector, hub, clock, Door(http), caps, pace or Pace())
    errors.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.add_route("/", _page)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(Guard, hosts=(*http.hosts, http.host), proxies=ctx.door.proxies)
    return app


def server_settings(app: FastAPI) -> uvicorn.Config:
    """How uvicorn is to serve the app that `create_app` made."""
    ctx = app.state.context
    return settings_of(app, ctx.collector.config.http, ctx.door)


async def _page(_: Request) -> FileResponse:
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})
