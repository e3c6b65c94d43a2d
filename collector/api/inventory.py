"""What there is and how it stands: stats, devices, links, and what was refused. The sites are in `places`."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query
from pydantic import BaseModel

from collector.api.access import Engineer, Viewer
from collector.api.collector import Last
from collector.api.context import Context, Ctx
from collector.api.errors import Refusal
from collector.api.paging import Cursor, Limit, page
from collector.core.readings import DEVICE, Quality
from collector.store.base import Reject
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


@router.get("/stats")
async def stats(ctx: Ctx, _: Viewer) -> dict[str, object]:
    """The accounts (received = stored + duplicate + quarantined + dropped + in_flight), rates, health."""
    return stats_of(ctx)


def stats_of(ctx: Context) -> dict[str, object]:
    """The collector's stats with its health and the hour, as the stream sends them too."""
    health = ctx.collector.health()
    now = ctx.clock() // _MS
    figures = {name: value if math.isfinite(value) else None for name, value in ctx.collector.stats().items()}
    return {**figures, "ready": health.ready, "health": dict(health.parts), "now": now}


@router.get("/devices")
async def devices(
    ctx: Ctx,
    _: Viewer,
    site: Annotated[str, Query(max_length=64)] = "",
    limit: Limit = 200,
    cursor: Cursor = "",
) -> DevicesOut:
    """The devices of the region or of one site, by id, with presence and the age of their newest values."""
    region = ctx.collector.region()
    known = region.devices.values() if not site else region.devices_at(known_site(region, site))
    rows, following = page(known, lambda device: device.id, limit, cursor)
    newest = _by_device(ctx.collector.lasts(region.site_id(site) if site else None))
    presence = ctx.collector.presence()
    now = ctx.clock()
    found = [_device(device, newest.get(device.id, {}), presence, now) for device in rows]
    return DevicesOut(devices=found, next=following)


def known_site(region: Region, site: str) -> str:
    """Today's id of the site. Raises Refusal 404 if the region does not know it."""
    today = region.site_id(site)
    if today not in region.sites:
        raise Refusal(404, f"there is no site {site[:64]}", "site", "the sites are listed at /api/v1/sites")
    return today


def _by_device(lasts: Iterable[Last]) -> Mapping[str, dict[str, Last]]:
    found: dict[str, dict[str, Last]] = defaultdict(dict)
    for last in lasts:
        if last.metric != DEVICE:
            found[last.device][last.metric] = last
    return found


def _device(
    device: Device, newest: Mapping[str, Last], presence: Mapping[str, Presence], now: int
) -> DeviceOut:
    kind = KINDS.get(device.kind)
    known = {name: metric for name, metric in kind.metrics.items() if name != CLOCK_WRONG} if kind else {}
    stale_after = kind.stale_after_s if kind else math.inf
    metrics = {**known, **{name: Metric(name, "") for name in newest if name not in known}}
    shown = [_metric(metric, newest.get(metric.name), stale_after, now) for metric in metrics.values()]
    heard = any(metric.value is not None and not metric.stale for metric in shown)
    return DeviceOut(
        id=device.id,
        site=device.site,
        kind=device.kind,
        via=device.via,
        presence=presence.get(device.id, "online" if heard else "unknown"),
        labels=dict(device.labels),
        metrics=shown,
    )


def _metric(metric: Metric, last: Last | None, stale_after: float, now: int) -> MetricOut:
    out = MetricOut(name=metric.name, unit=metric.unit, boolean=metric.boolean)
    if last is None:
        return out
    age = max(0, now - last.received)
    measured = min(last.time, last.received)  # a backlog, or the broker's memory, came just now and is old
    return out.model_copy(
        update={
            "value": last.value,
            "at": last.time // _MS,
            "received": last.received // _MS,
            "age_ms": age // _MS,
            "stale": now - measured > stale_after * 1e9 or bool(last.quality & Quality.RETAINED),
            "quality": quality(last.quality),
        }
    )


def quality(flags: int) -> list[str]:
    """The names of a reading's flags, in lower case; empty for a live reading."""
    return [str(flag.name).lower() for flag in Quality if flag & flags]


@router.get("/links")
async def links(ctx: Ctx, _: Viewer, limit: Limit = 500, cursor: Cursor = "") -> LinksOut:
    """The links, by id."""
    rows, following = page(ctx.collector.region().links.values(), lambda link: link.id, limit, cursor)
    found = [
        LinkOut(
            id=link.id,
            a=link.a,
            b=link.b,
            kind=link.kind,
            length_km=link.length_km,
            cable=link.cable,
            cores=link.cores,
            owner=link.owner,
            source=link.source,
            path=list(link.path),
        )
        for link in rows
    ]
    return LinksOut(links=found, next=following)


@router.get("/rejects")
async def rejects(
    ctx: Ctx, _: Engineer, limit: Limit = 100, cursor: Annotated[int | None, Query(ge=0)] = None
) -> RejectsOut:
    """The messages that were refused, the newest first, each with its reason."""
    found: Sequence[Reject] = await to_thread.run_sync(ctx.collector.store.rejects, limit + 1, cursor)
    rows = [_reject(row) for row in found[:limit]]
    return RejectsOut(rejects=rows, next=str(rows[-1].offset) if len(found) > limit else None)


def _reject(row: Reject) -> RejectOut:
    return RejectOut(
        offset=row.offset,
        received=row.received // _MS,
        topic=row.topic,
        reason=row.reason,
        head=row.head.decode("utf-8", "backslashreplace"),
        size=row.size,
    )
