"""For whoever runs the collector: health, readiness, metrics."""

from __future__ import annotations

import ipaddress

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from collector.api.access import caller
from collector.api.context import Context, Ctx

router = APIRouter(tags=["operation"])


@router.get("/healthz")
async def alive() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def ready(ctx: Ctx) -> JSONResponse:
    """200 when subscribed and able to journal, else 503; `parts` says how each part is."""
    health = ctx.collector.health()
    return JSONResponse({"ready": health.ready, "parts": dict(health.parts)}, 200 if health.ready else 503)


@router.get("/metrics")
async def metrics(ctx: Ctx, request: Request) -> Response:
    """Prometheus' text exposition. Open where only this machine can ask, else for any valid token."""
    if not _loopback(ctx):
        await caller(request)
    return Response(ctx.collector.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _loopback(ctx: Context) -> bool:
    host = ctx.collector.config.http.host.strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
