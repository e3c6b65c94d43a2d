"""Where everything is: the sites with how they stand, and the boundaries of the map."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel

from collector.api.context import Ctx
from collector.api.edge.access import Viewer
from collector.api.paging import Limit, PageCursor
from collector.api.rendering import rendered
from collector.api.standing import PRESENCES, Overview
from devices.region import Region

router = APIRouter(prefix="/api/v1", tags=["inventory"])


class RegionOut(BaseModel):
    """The region's head; `hash` changes when anything in its folder does."""

    name: str
    timezone: str
    languages: list[str]
    centre: str
    hash: str


class PresenceOut(BaseModel):
    """How many devices are online, offline or unknown (never heard of, or their publisher is gone)."""

    online: int
    offline: int
    unknown: int


class SiteOut(BaseModel):
    """A site; `devices` is how many stand there.

    `heard`: how many of them have a fresh reading; `silent`: how many had one once and have none now.
    """

    id: str
    name: str
    kind: str
    parent: str
    agency: str
    lon: float | None
    lat: float | None
    priority: int
    hours: str
    devices: int
    presence: PresenceOut
    heard: int
    silent: int


class SitesOut(BaseModel):
    """A page of sites, by id. `version`: give it as `since`, and only what changed after it comes."""

    region: RegionOut
    sites: list[SiteOut]
    next: str | None
    version: int


@router.get("/sites", response_model=SitesOut)
async def sites(
    ctx: Ctx,
    _: Viewer,
    limit: Limit = 500,
    cursor: PageCursor = "",
    since: Annotated[int, Query(ge=0, le=2**62, description="`version` of an earlier answer")] = 0,
) -> Response:
    """The sites, by id, with how their devices stand.

    To follow them, ask again with `since`: sites whose counts are as they were do not come. When the region's
    hash has changed, read all anew.
    """
    overview = await ctx.standings.look(ctx.collector, ctx.clock())
    return await rendered(_sites, overview, limit, cursor, since)


def _sites(overview: Overview, limit: int, cursor: str, since: int) -> dict[str, object]:
    rows, following = overview.page(limit, cursor, since)
    return {
        "region": _head(overview.region),
        "sites": [_site(overview, number) for number in rows],
        "next": following,
        "version": overview.version,
    }


def _head(region: Region) -> dict[str, object]:
    return {
        "name": region.name,
        "timezone": region.timezone,
        "languages": list(region.languages),
        "centre": region.centre,
        "hash": region.hash,
    }


def _site(overview: Overview, number: int) -> dict[str, object]:
    site = overview.region.sites[overview.ids[number]]
    counts = overview.at(number)
    return {
        "id": site.id,
        "name": site.name,
        "kind": site.kind,
        "parent": site.parent,
        "agency": site.agency,
        "lon": site.lon,
        "lat": site.lat,
        "priority": site.priority,
        "hours": site.hours,
        "devices": len(overview.region.devices_at(site.id)),
        "presence": {said: counts[said] for said in PRESENCES},
        "heard": counts["heard"],
        "silent": counts["silent"],
    }


_GEOJSON = "application/geo+json"
_MAP = {
    200: {
        "description": "A GeoJSON FeatureCollection, WGS 84",
        "content": {_GEOJSON: {"schema": {"type": "object"}}},
    },
    304: {"description": "The map is the one the caller has"},
}


@router.get("/boundaries", response_class=Response, responses=_MAP)  # type: ignore[arg-type]
async def boundaries(
    ctx: Ctx, _: Viewer, known: Annotated[str, Header(alias="If-None-Match", max_length=1024)] = ""
) -> Response:
    """The region's boundaries.geojson as it is, with its areas' `code`, `name`, `level` and `parent`.

    The ETag is the region's hash: with If-None-Match it is sent once.
    """
    region = ctx.collector.region
    tag = f'"{region.hash}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if tag in [one.strip().removeprefix("W/") for one in known.split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(region.boundaries, media_type=_GEOJSON, headers=headers)
