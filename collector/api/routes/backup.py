"""For `nagari backup`: lay out a state of the collector that is one whole."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from collector.api.context import Ctx
from collector.api.edge.access import Caller, Needs, audit

router = APIRouter(prefix="/api/v1", tags=["operation"])
Admin = Annotated[Caller, Depends(Needs("admin"))]


class Staged(BaseModel):
    """What was laid out: the folder, and the accounts as they stood at least."""

    folder: str
    accounts: dict[str, int]


@router.post("/backup")
async def stage(ctx: Ctx, who: Admin) -> Staged:
    """Lay out state, readings and journal for the backup; answers once they are there."""
    await audit(ctx, who.principal.name, "backup.stage")
    return Staged(**await ctx.collector.stage_backup())
