"""What there is and how it stands: stats, devices, links, and what was refused. The sites are in `places`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from collector.api.collector import Collector
from collector.api.context import Context, Ctx
from collector.api.edge.access import Engineer, Viewer
from collector.api.edge.errors import ApiError
from collector.api.paging import Limit, PageCursor, page
from collector.api.rendering import quality, rendered
from collector.core.readings import DEVICE, Quality
from collector.store.base import Reject, Store
from devices.catalogue import CLOCK_WRONG, KINDS
from devices.model import Device, Metric, Presence
from devices.region import Region

router = APIRouter(prefix="/api/v1", tags=["inventory"])
_MS = 1_000_000


class MetricOut(BaseModel):
    """A device's metric and its newest value; `at`, `received` in epoch ms, `age_ms` since received.

    `stale`: measured too long ago for its device's kind, or a retained message's, which may be of any age.
    """

    name: str
    unit: str
    boolean: bool
    value: float | None = None
    at: int | None = None
    received: int | None = None
    age_ms: int | None = None
    stale: bool = False
    quality: list[str] = []


class DeviceOut(BaseModel):
    """A device, its presence (unknown: never heard of, or its publisher is gone) and newest values."""

    id: str
    site: str
    kind: str
    via: str
    presence: Presence
    labels: dict[str, str]
    metrics: list[MetricOut]


class DevicesOut(BaseModel):
    """A page of devices, by id."""

    devices: list[DeviceOut]
    next: str | None


class LinkOut(BaseModel):
    """A link between two sites; `path` is a list of [lon, lat]."""

    id: str
    a: str
    b: str
    kind: str
    length_km: float
    cable: str
    cores: int
    owner: str
    source: str
    path: list[tuple[float, float]]


class LinksOut(BaseModel):
    """A page of links, by id."""

    links: list[LinkOut]
    next: str | None


class RejectOut(BaseModel):
    """A refused message; `head` is its first bytes as text, what is not text escaped."""

    offset: int
    received: int
    topic: str
    reason: str
    head: str
    size: int


class RejectsOut(BaseModel):
    """A page of rejects, the newest first."""

    rejects: list[RejectOut]
    next: str | None


@router.get("/stats", response_model=dict[str, object])
async def stats(ctx: Ctx, _: Viewer) -> Response:
    """The accounts (received = stored + duplicate + quarantined + dropped + in_flight), rates, health."""
    return await rendered(stats_of, ctx)


def stats_of(ctx: Context) -> dict[str, object]:
    """The collector's stats with its health and the hour, as the stream sends them too."""
    health = ctx.collector.health()
    now = ctx.clock() // _MS
    figures = {name: value if math.isfinite(value) else None for name, value in ctx.collector.stats().items()}
    figures["http_refused"] = ctx.door.refused
    return {**figures, "ready": health.ready, "health": dict(health.parts), "now": now}


@router.get("/devices", response_model=DevicesOut)
async def devices(
    ctx: Ctx,
    _: Viewer,
    site: Annotated[str, Query(max_length=64)] = "",
    limit: Limit = 200,
    cursor: PageCursor = "",
) -> Response:
    """The devices of the region or of one site, by id, with presence and the age of their newest values."""
    region = ctx.collector.region
    place = known_site(region, site) if site else ""
    return await rendered(_devices, ctx, region, place, limit, cursor)


def known_site(region: Region, site: str) -> str:
    """Today's id of the site. Raises ApiError 404 if the region does not know it."""
    today = region.site_id(site)
    if today not in region.sites:
        raise ApiError(404, f"there is no site {site[:64]}", "site", "the sites are listed at /api/v1/sites")
    return today


def _devices(ctx: Context, region: Region, site: str, limit: int, cursor: str) -> dict[str, object]:
    ids = sorted(device.id for device in region.devices_at(site)) if site else ctx.listings.of(region).devices
    shown, following = page(ids, limit, cursor)
    devices, collector, now = [region.devices[each] for each in shown], ctx.collector, ctx.clock()
    newest = _newest(collector, devices)
    found = [_device(each, newest[each.id], collector.presence_of(each), now) for each in devices]
    return {"devices": found, "next": following}


class LastValue(NamedTuple):
    """A series' newest reading; times in epoch ns, `quality` Quality flags."""

    time: int
    value: float
    quality: int
    received: int


def _newest(collector: Collector, devices: Sequence[Device]) -> dict[str, dict[str, LastValue]]:
    """By device and metric: of these devices only, however many others there are."""
    table = collector.table
    numbers = [number for device in devices for number in table.at_device(device.site, device.id)]
    rows = collector.lasts.of(np.array(numbers, np.int32))
    _, names, metrics = table.names_of(rows.series)
    columns = (rows.time.tolist(), rows.value.tolist(), rows.quality.tolist(), rows.received.tolist())
    found: dict[str, dict[str, LastValue]] = {device.id: {} for device in devices}
    for device, metric, *reading in zip(names, metrics, *columns, strict=True):
        if metric != DEVICE:
            found[device][metric] = LastValue(*reading)
    return found


def _device(
    device: Device, newest: Mapping[str, LastValue], said: Presence | None, now: int
) -> dict[str, object]:
    kind = KINDS.get(device.kind)
    known = {name: metric for name, metric in kind.metrics.items() if name != CLOCK_WRONG} if kind else {}
    stale_after = kind.stale_after_s if kind else math.inf
    metrics = {**known, **{name: Metric(name, "") for name in newest if name not in known}}
    shown = [_metric(metric, newest.get(metric.name), stale_after, now) for metric in metrics.values()]
    heard = any(metric["value"] is not None and not metric["stale"] for metric in shown)
    return {
        "id": device.id,
        "site": device.site,
        "kind": device.kind,
        "via": device.via,
        "presence": said or ("online" if heard else "unknown"),
        "labels": dict(device.labels),
        "metrics": shown,
    }


_UNHEARD: Mapping[str, object] = {
    "value": None,
    "at": None,
    "received": None,
    "age_ms": None,
    "stale": False,
    "quality": [],
}


def _metric(metric: Metric, last: LastValue | None, stale_after: float, now: int) -> dict[str, object]:
    head = {"name": metric.name, "unit": metric.unit, "boolean": metric.boolean}
    if last is None:
        return {**head, **_UNHEARD}
    measured = min(last.time, last.received)  # a backlog, or the broker's memory, came just now and is old
    return {
        **head,
        "value": last.value,
        "at": last.time // _MS,
        "received": last.received // _MS,
        "age_ms": max(0, now - last.received) // _MS,
        "stale": now - measured > stale_after * 1e9 or bool(last.quality & Quality.RETAINED),
        "quality": quality(last.quality),
    }


@router.get("/links", response_model=LinksOut)
async def links(ctx: Ctx, _: Viewer, limit: Limit = 500, cursor: PageCursor = "") -> Response:
    """The links, by id."""
    return await rendered(_links, ctx, ctx.collector.region, limit, cursor)


def _links(ctx: Context, region: Region, limit: int, cursor: str) -> dict[str, object]:
    shown, following = page(ctx.listings.of(region).links, limit, cursor)
    names = LinkOut.model_fields
    return {
        "links": [{name: getattr(region.links[link], name) for name in names} for link in shown],
        "next": following,
    }


@router.get("/rejects", response_model=RejectsOut)
async def rejects(
    ctx: Ctx, _: Engineer, limit: Limit = 100, cursor: Annotated[int | None, Query(ge=0, lt=2**63)] = None
) -> Response:
    """The messages that were refused, the newest first, each with its reason."""
    return await rendered(_rejects, ctx.collector.store, limit, cursor)


def _rejects(store: Store, limit: int, cursor: int | None) -> dict[str, object]:
    found = store.rejects(limit + 1, cursor)
    following = str(found[limit - 1].offset) if len(found) > limit else None
    return {"rejects": [_reject(row) for row in found[:limit]], "next": following}


def _reject(row: Reject) -> dict[str, object]:
    return {
        "offset": row.offset,
        "received": row.received // _MS,
        "topic": row.topic,
        "reason": row.reason,
        "head": row.head.decode("utf-8", "backslashreplace"),
        "size": row.size,
    }
