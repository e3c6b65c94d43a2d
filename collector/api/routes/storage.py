"""How full the disk is: by share, the day it is full, what each device costs, what was shed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from collector.api.context import Ctx
from collector.api.edge.access import Viewer
from collector.storage.contract import Share
from collector.storage.holding import DeviceCost, KindCost
from collector.store.base import Tier

router = APIRouter(prefix="/api/v1", tags=["operation"])
_MS = 1_000_000


class ShareOut(BaseModel):
    """A share: bytes on disk, the bytes planned for it (0: none), rows and their times in epoch ms."""

    share: Share
    bytes: int
    planned: int
    rows: int
    oldest: int | None
    newest: int | None


class ShedOut(BaseModel):
    """What was deleted of a tier: since ever in bytes; up to which time, and when last (epoch ms)."""

    tier: Tier
    why: Literal["age", "room"]
    bytes: int
    before: int
    at: int


class KindCostOut(BaseModel):
    """What a kind's devices send and cost a day, and would send by plan; `over`: those that send more."""

    kind: str
    devices: int
    readings_per_day: float
    bytes_per_day: float
    planned_readings_per_day: float
    over: int


class DeviceCostOut(BaseModel):
    """What a device sends and costs a day, and would send by its kind's plan; `over`: it sends more."""

    site: str
    device: str
    kind: str
    readings_per_day: float
    bytes_per_day: float
    planned_readings_per_day: float
    over: bool


class StorageOut(BaseModel):
    """How full the disk is, as measured `at` (epoch ms; 0: not yet). Bytes; percent of the capacity.

    `held` is what is used and what the journal may yet take. `days_left`: until readings would have to go
    before their time; `full_at` that moment; null where it is not known yet or never comes. `breach`: in
    what the plan does not fit the capacity, `admitted` whether somebody took that on.
    """

    at: int
    capacity: int | None
    used: int
    held: int
    used_pct: float | None
    growth_per_day: float | None
    days_left: float | None
    full_at: int | None
    alarm: bool
    shedding: bool
    breach: str | None
    admitted: bool
    shares: list[ShareOut]
    shed: list[ShedOut]
    kinds: list[KindCostOut]
    devices: list[DeviceCostOut]
    over_rate: int


@router.get("/storage")
async def storage(
    ctx: Ctx, _: Viewer, top: Annotated[int, Query(ge=0, le=50, description="So many devices.")] = 20
) -> StorageOut:
    """How full the disk is: by share, the day it is full, the dearest devices, what was shed so far."""
    found = ctx.collector.holding
    return StorageOut(
        at=found.at // _MS,
        capacity=found.capacity,
        used=found.used,
        held=found.held,
        used_pct=found.used_pct,
        growth_per_day=found.growth,
        days_left=found.days_left,
        full_at=_ms(found.full_at),
        alarm=found.alarm,
        shedding=found.shedding,
        breach=found.breach,
        admitted=found.admitted,
        shares=[
            ShareOut(**(asdict(each) | {"oldest": _ms(each.oldest), "newest": _ms(each.newest)}))
            for each in found.shares
        ],
        shed=[
            ShedOut(**(asdict(each) | {"before": each.before // _MS, "at": each.at // _MS}))
            for each in found.shed
        ],
        kinds=[KindCostOut(**row) for row in _a_day(found.kinds)],
        devices=[DeviceCostOut(**row) for row in _a_day(found.devices[:top])],
        over_rate=found.over,
    )


def _a_day(costs: Iterable[KindCost | DeviceCost]) -> Iterable[Mapping[str, object]]:
    names = {
        "readings": "readings_per_day",
        "bytes": "bytes_per_day",
        "planned": "planned_readings_per_day",
    }
    for each in costs:
        yield {
            names.get(name, name): round(value, 1) if name in names else value
            for name, value in asdict(each).items()
        }


def _ms(ns: int | None) -> int | None:
    return None if ns is None else ns // _MS
