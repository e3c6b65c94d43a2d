"""For whoever runs the collector: health, readiness, metrics."""

from __future__ import annotations

import hmac
import logging
from pathlib import Path

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from collector.api.context import Ctx
from collector.api.edge.access import COOKIE, bearer, caller

router = APIRouter(tags=["operation"])
_log = logging.getLogger(__name__)


@router.get("/healthz")
async def alive() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def ready(ctx: Ctx, request: Request) -> JSONResponse:
    """200 when subscribed and able to journal, else 503. With a token, `parts` says how each part is."""
    health = ctx.collector.health()
    said: dict[str, object] = {"ready": health.ready}
    if bearer(request) or COOKIE in request.cookies:
        await caller(request)
        said["parts"] = dict(health.parts)
    return JSONResponse(said, 200 if health.ready else 503)


@router.get("/metrics")
async def metrics(ctx: Ctx, request: Request) -> Response:
    """Prometheus' text exposition, for [http] metrics_token_file's token and any other valid one."""
    http = ctx.collector.config.http
    if not http.open_metrics and not await _scrapes(http.metrics_token_file, bearer(request)):
        await caller(request)
    body = await to_thread.run_sync(ctx.collector.metrics)
    return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")


async def _scrapes(file: Path | None, token: str) -> bool:
    """Whether it is the token of the file, which may be changed at any time."""
    if file is None or not token:
        return False
    try:
        known = (await to_thread.run_sync(file.read_bytes)).strip()
    except OSError as error:
        _log.warning("http.metrics_token_file: %s cannot be read (%s)", file, error.strerror)
        return False
    return bool(known) and hmac.compare_digest(known, token.encode())
