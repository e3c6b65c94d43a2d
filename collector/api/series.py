"""One series over a stretch of time, as a chart wants it."""

from __future__ import annotations

import json
import math
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from collector.api.access import Viewer
from collector.api.context import Context, Ctx
from collector.api.errors import Refusal
from collector.api.inventory import known_site
from collector.core.readings import SeriesKey
from collector.store.base import Aggregate, Points
from devices.catalogue import KINDS
from devices.region import Region

router = APIRouter(prefix="/api/v1", tags=["series"])

MOST_POINTS = 20_000
_MS = 1_000_000
_HOUR_MS = 3_600_000
_LAST_MS = 9_000_000_000_000  # well inside what epoch ns can say
_NAMES = Query(min_length=1, max_length=64)
_TIME = Query(ge=0, le=_LAST_MS, description="epoch ms")


class SeriesOut(BaseModel):
    """Points [epoch ms, value], oldest first; a step's point is stamped with the step's start."""

    points: list[tuple[int, float]]
    tier: str
    unit: str


@router.get("/series", response_model=SeriesOut)
async def series(
    ctx: Ctx,
    _: Viewer,
    site: Annotated[str, _NAMES],
    device: Annotated[str, _NAMES],
    metric: Annotated[str, _NAMES],
    start: Annotated[int | None, Query(alias="from", ge=0, le=_LAST_MS, description="epoch ms")] = None,
    to: Annotated[int | None, _TIME] = None,
    step: Annotated[int | None, Query(ge=1, le=_LAST_MS, description="ms; none = raw")] = None,
    agg: Aggregate = "mean",
) -> Response:
    """from <= t < to. Without `to` up to now; without `from` an hour. At most 20,000 points."""
    end = ctx.clock() // _MS + 1 if to is None else to
    begin = end - _HOUR_MS if start is None else start
    key = _known(ctx, site, device, metric)
    _check_span(begin, end, step)
    points = await to_thread.run_sync(_points, ctx, key, begin, end, step, agg)
    if len(points) > MOST_POINTS:
        raise _too_many(begin, end)
    unit = _unit(ctx.collector.region(), key)
    body = {"points": [(t // _MS, v) for t, v in points], "tier": points.tier, "unit": unit}
    # Straight to JSON: validating thousands of pairs that we made ourselves would double the answer's time.
    return Response(json.dumps(body, separators=(",", ":")), media_type="application/json")


def _points(ctx: Context, key: SeriesKey, begin: int, end: int, step: int | None, agg: Aggregate) -> Points:
    width = step * _MS if step else None
    return ctx.collector.store.points(key, begin * _MS, end * _MS, width, agg, MOST_POINTS + 1)


def _check_span(begin: int, end: int, step: int | None) -> None:
    if begin >= end:
        raise Refusal(400, f"from ({begin}) is not before to ({end})", "from", "let from be earlier than to")
    if step and (end - begin) / step > MOST_POINTS:
        raise _too_many(begin, end)


def _too_many(begin: int, end: int) -> Refusal:
    fitting = _round_up(math.ceil((end - begin) / 2_000))
    return Refusal(
        400,
        f"these are more than {MOST_POINTS} points",
        "step",
        f"ask for a shorter time, or for steps, such as step={fitting}",
    )


def _round_up(ms: int) -> int:
    steps = (1_000, 5_000, 10_000, 30_000, 60_000, 300_000, 900_000, 3_600_000, 21_600_000, 86_400_000)
    return next((step for step in steps if step >= ms), math.ceil(ms / 86_400_000) * 86_400_000)


def _known(ctx: Context, site: str, device: str, metric: str) -> SeriesKey:
    region = ctx.collector.region()
    asked = SeriesKey(region.site_id(site), device, metric)
    if ctx.collector.table.find(asked) is not None:
        return asked
    key = SeriesKey(known_site(region, site), device, metric)
    found = region.devices.get(device)
    if found is None:
        raise Refusal(404, f"there is no device {device}", "device", f"see /api/v1/devices?site={key.site}")
    if found.site != key.site:
        raise Refusal(
            404, f"{device} stands at {found.site}, not at {site}", "site", f"ask for site={found.site}"
        )
    kind = KINDS.get(found.kind)
    if kind is None or metric not in kind.metrics:
        known = ", ".join(kind.metrics) if kind else "none"
        raise Refusal(404, f"{device} ({found.kind}) has no metric {metric}", "metric", f"it has: {known}")
    return key


def _unit(region: Region, key: SeriesKey) -> str:
    found = region.devices.get(key.device)
    kind = KINDS.get(found.kind) if found else None
    metric = kind.metrics.get(key.metric) if kind else None
    return metric.unit if metric else ""
