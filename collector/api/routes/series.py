"""One series over a stretch of time, or one metric of everywhere, as a chart wants it."""

from __future__ import annotations

import math
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from collector.api.context import Context, Ctx
from collector.api.edge.access import Viewer
from collector.api.edge.errors import ApiError
from collector.api.rendering import rendered
from collector.api.routes.inventory import known_site
from collector.core.readings import SeriesKey
from collector.store.base import Aggregate, Points
from collector.store.tiers import TIERS
from devices.catalogue import KINDS
from devices.region import Region

router = APIRouter(prefix="/api/v1", tags=["series"])

MOST_POINTS = 20_000
MOST_TOGETHER = 100_000
"""Points of several series in one answer."""
_MS = 1_000_000
_HOUR_MS = 3_600_000
_LAST_MS = 8_000_000_000_000  # the year 2223: with a step behind it still inside what epoch ns can say
_LONGEST_STEP_MS = 10 * 366 * 86_400_000
_METRICS = sorted({metric for kind in KINDS.values() for metric in kind.metrics})
_NAMES = Query(min_length=1, max_length=64)
_TIME = Query(ge=0, le=_LAST_MS, description="epoch ms")


class SeriesOut(BaseModel):
    """Points [epoch ms, value], oldest first; a step's point is stamped with the step's start."""

    points: list[tuple[int, float]]
    tier: str
    unit: str


class ChartOut(BaseModel):
    """One of several series: its points as in SeriesOut."""

    site: str
    device: str
    points: list[tuple[int, float]]


class ChartsOut(BaseModel):
    """One metric of many devices, by site and device; who sent nothing in that time is left out."""

    series: list[ChartOut]
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
    step: Annotated[int | None, Query(ge=1, le=_LONGEST_STEP_MS, description="ms; none = raw")] = None,
    agg: Aggregate = "mean",
) -> Response:
    """from <= t < to. Without `to` up to now; without `from` an hour. At most 20,000 points."""
    end = ctx.clock() // _MS + 1 if to is None else to
    begin = end - _HOUR_MS if start is None else start
    key = _known(ctx, site, device, metric)
    _check_span(begin, end, step)
    points = await to_thread.run_sync(_points, ctx, key, begin, end, step, agg)
    if len(points) > MOST_POINTS:
        raise _too_many(begin, end, MOST_POINTS)
    unit = _unit(ctx.collector.region, key)
    return await rendered(_one_chart, points, unit)


def _one_chart(points: Points, unit: str) -> dict[str, object]:
    return {"points": _in_ms(points), "tier": points.tier, "unit": unit}


@router.get("/charts", response_model=ChartsOut)
async def charts(
    ctx: Ctx,
    _: Viewer,
    metric: Annotated[str, _NAMES],
    site: Annotated[str | None, _NAMES] = None,
    start: Annotated[int | None, Query(alias="from", ge=0, le=_LAST_MS, description="epoch ms")] = None,
    to: Annotated[int | None, _TIME] = None,
    step: Annotated[int, Query(ge=1, le=_LONGEST_STEP_MS, description="ms")] = 60_000,
    agg: Aggregate = "mean",
) -> Response:
    """One metric of a site's devices, or of everybody's: the last hour if no time is given.

    from <= t < to. At most 100,000 points in all.
    """
    end = ctx.clock() // _MS + 1 if to is None else to
    begin = end - _HOUR_MS if start is None else start
    keys = await to_thread.run_sync(_all_of, ctx, metric, site)  # of a nation there are millions
    _check_span(begin, end, step)
    found = await to_thread.run_sync(_charts, ctx, keys, begin, end, step, agg)
    if sum(map(len, found.values())) > MOST_TOGETHER:
        raise _too_many(begin, end, MOST_TOGETHER)
    return await rendered(_all_charts, found, _unit_of(metric))


def _all_charts(found: dict[SeriesKey, Points], unit: str) -> dict[str, object]:
    return {
        "series": [
            {"site": key.site, "device": key.device, "points": _in_ms(points)}
            for key, points in sorted(found.items())
            if points
        ],
        "tier": max((points.tier for points in found.values()), key=TIERS.index, default="raw"),
        "unit": unit,
    }


def _in_ms(points: Points) -> list[tuple[int, float]]:
    return [(t // _MS, v) for t, v in points]


def _all_of(ctx: Context, metric: str, site: str | None) -> list[SeriesKey]:
    """The series of a metric that were ever heard of, at a site or everywhere."""
    region, table = ctx.collector.region, ctx.collector.table
    if metric not in _METRICS:
        raise ApiError(404, f"there is no metric {metric}", "metric", f"there are: {', '.join(_METRICS)}")
    if site is None:
        return [table.keys[number] for number in table.of_metric(metric).tolist()]
    numbers = table.at_site(known_site(region, site))
    return [key for number in numbers if (key := table.keys[number]).metric == metric]


def _charts(
    ctx: Context, keys: list[SeriesKey], begin: int, end: int, step: int, agg: Aggregate
) -> dict[SeriesKey, Points]:
    store = ctx.collector.store
    return store.charts(keys, begin * _MS, end * _MS, step * _MS, agg, MOST_TOGETHER + 1)


def _points(ctx: Context, key: SeriesKey, begin: int, end: int, step: int | None, agg: Aggregate) -> Points:
    width = step * _MS if step else None
    return ctx.collector.store.points(key, begin * _MS, end * _MS, width, agg, MOST_POINTS + 1)


def _check_span(begin: int, end: int, step: int | None) -> None:
    if begin >= end:
        raise ApiError(400, f"from ({begin}) is not before to ({end})", "from", "let from be earlier than to")
    if step and (end - begin) / step > MOST_POINTS:
        raise _too_many(begin, end, MOST_POINTS)


def _too_many(begin: int, end: int, most: int) -> ApiError:
    fitting = _round_up(math.ceil((end - begin) / 2_000))
    return ApiError(
        400,
        f"these are more than {most} points",
        "step",
        f"ask for a shorter time, or for steps, such as step={fitting}",
    )


def _round_up(ms: int) -> int:
    steps = (1_000, 5_000, 10_000, 30_000, 60_000, 300_000, 900_000, 3_600_000, 21_600_000, 86_400_000)
    return next((step for step in steps if step >= ms), math.ceil(ms / 86_400_000) * 86_400_000)


def _known(ctx: Context, site: str, device: str, metric: str) -> SeriesKey:
    region = ctx.collector.region
    asked = SeriesKey(region.site_id(site), device, metric)
    if ctx.collector.table.find(asked) is not None:
        return asked
    key = SeriesKey(known_site(region, site), device, metric)
    found = region.devices.get(device)
    if found is None:
        raise ApiError(404, f"there is no device {device}", "device", f"see /api/v1/devices?site={key.site}")
    if found.site != key.site:
        raise ApiError(
            404, f"{device} stands at {found.site}, not at {site}", "site", f"ask for site={found.site}"
        )
    kind = KINDS.get(found.kind)
    if kind is None or metric not in kind.metrics:
        known = ", ".join(kind.metrics) if kind else "none"
        raise ApiError(404, f"{device} ({found.kind}) has no metric {metric}", "metric", f"it has: {known}")
    return key


def _unit(region: Region, key: SeriesKey) -> str:
    found = region.devices.get(key.device)
    kind = KINDS.get(found.kind) if found else None
    metric = kind.metrics.get(key.metric) if kind else None
    return metric.unit if metric else ""


def _unit_of(metric: str) -> str:
    """Kinds that share a metric share its unit."""
    return next(kind.metrics[metric].unit for kind in KINDS.values() if metric in kind.metrics)
