"""Alerts: the list, one of them, its trail, and what operators do about them."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Path, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from collector.alarms.model import Condition, Severity, TransitionKind
from collector.api.context import Context, Ctx
from collector.api.edge.access import Operator, Viewer
from collector.api.edge.errors import ApiError
from collector.api.paging import Limit, PageCursor
from collector.api.rendering import rendered
from collector.api.routes.inventory import known_site
from collector.core.records import Action
from collector.state import AlertRow, State
from collector.state.alerts import Shown
from collector.state.decisions import DecisionRow

router = APIRouter(prefix="/api/v1/alerts", tags=["alerts"])
_MS = 1_000_000
_WEEK_S = 7 * 86400

AlertId = Annotated[str, Path(min_length=1, max_length=128)]
Remark = Annotated[str, Field(max_length=1000)]


class AlertOut(BaseModel):
    """An alert; times in epoch ms; `state` in the words of ISA-18.2; `summary` by language."""

    id: str
    rule: str
    rule_version: str
    site: str
    device: str
    metric: str
    severity: Severity
    condition: Condition
    acked: bool
    holds: list[str]
    state: str
    at: int
    raised_at: int | None
    cleared_at: int | None
    shelved_until: int | None
    assignee: str
    value: float | None
    count: int
    summary: dict[str, str]
    incident: str | None


class AlertsOut(BaseModel):
    """A page of alerts, newest first. `seq`: where the stream must go on so that nothing is missed."""

    alerts: list[AlertOut]
    next: str | None
    seq: int


class StepOut(BaseModel):
    """One transition, its named reason and what it rests on; `alert` is what the alert then was."""

    seq: int
    kind: TransitionKind
    at: int
    by: str
    comment: str
    reason: str
    evidence: dict[str, Any]
    alert: dict[str, Any] | None


class TrailOut(BaseModel):
    """A page of what happened to an alert, oldest first."""

    trail: list[StepOut]
    next: str | None


class ActedOut(BaseModel):
    """What an action led to: its id, the transition's kind, and the alert after it."""

    action: str
    kind: TransitionKind
    at: int
    alert: AlertOut


class PendingOut(BaseModel):
    """An action that is journaled and will be done; its effect is not known yet."""

    action: str
    journaled: bool
    mend: str


class OutcomeOut(BaseModel):
    """How an action stands: `pending`, or the kind of transition it led to (`refused`: see the comment)."""

    action: str
    state: str
    at: int | None
    comment: str


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Plain(_Body):
    """An action, with a comment if there is something to say."""

    comment: Remark = ""


class Remarked(_Body):
    """A comment."""

    comment: Annotated[str, Field(min_length=1, max_length=1000, pattern=r"\S")]


class Shelve(_Body):
    """Shelve for so many seconds: a minute to a week."""

    seconds: int = Field(ge=60, le=_WEEK_S)
    comment: Remark = ""


class Assign(_Body):
    """Assign to somebody; empty: to nobody."""

    to: str = Field(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")
    comment: Remark = ""


@router.get("", response_model=AlertsOut)
async def alerts(
    ctx: Ctx,
    _: Viewer,
    state: Shown = "active",
    site: Annotated[str, Query(max_length=64)] = "",
    severity: Severity | None = None,
    limit: Limit = 100,
    cursor: PageCursor = "",
) -> Response:
    """The alerts, newest first. active: the condition holds; open: it does, or nobody acknowledged it yet."""
    place = known_site(ctx.collector.region, site) if site else None
    try:
        return await rendered(_page, ctx.collector.state, state, place, severity, limit, cursor or None)
    except (ValueError, OverflowError):
        raise ApiError(
            400, "this cursor is none of ours", "cursor", "give `next` of the page before"
        ) from None


def _page(
    state: State, shown: Shown, site: str | None, severity: str | None, limit: int, cursor: str | None
) -> dict[str, object]:
    # Before the alerts: what changes between the two is told twice rather than never.
    _, seq = state.outbox_bounds()
    rows = state.alerts(shown, site, severity, limit + 1, cursor)
    following = rows[limit - 1].key if len(rows) > limit else None
    return {"alerts": [row.body() for row in rows[:limit]], "next": following, "seq": seq}


@router.get("/{id}")
async def alert(ctx: Ctx, _: Viewer, id: AlertId) -> AlertOut:  # noqa: A002 (the name in the address)
    """One alert."""
    return _alert(await _known(ctx, id))


@router.get("/{id}/trail", response_model=TrailOut)
async def trail(
    ctx: Ctx,
    _: Viewer,
    id: AlertId,  # noqa: A002
    limit: Limit = 1000,
    cursor: Annotated[int, Query(ge=0, lt=2**63, description="`next` of the page before")] = 0,
) -> Response:
    """What happened to the alert, oldest first."""
    rows = await to_thread.run_sync(ctx.collector.state.trail, id, cursor, limit + 1)
    if not rows:
        await _known(ctx, id)
    return await rendered(_trail, rows, limit)


def _trail(rows: Sequence[DecisionRow], limit: int) -> dict[str, object]:
    following = str(rows[limit - 1].seq) if len(rows) > limit else None
    return {"trail": [row.body() for row in rows[:limit]], "next": following}


_ACTED: dict[int | str, dict[str, Any]] = {
    202: {"model": PendingOut, "description": "Journaled; its effect is not known yet"}
}
IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=64,
        pattern=r"^[A-Za-z0-9_-]*$",
        description="asked again with the same key, the action is done once",
    ),
]


class Acting:
    """A dependency: who acts on which alert, and under which key."""

    def __init__(self, ctx: Ctx, who: Operator, id: AlertId, key: IdempotencyKey = "") -> None:  # noqa: A002
        self._ctx = ctx
        self._by = who.principal.name
        self._alert = id
        self._key = key

    async def do(self, name: str, remark: str, args: dict[str, object] | None = None) -> ActedOut | Response:
        """Do it. Raises ApiError 404 for an alert that is not, 409 if it makes no sense now."""
        await _known(self._ctx, self._alert)
        action = Action(self._id(name), name, self._alert, self._by, remark, args)
        done = await self._ctx.collector.act(action)
        if done is None:
            mend = f"it will be done: see /api/v1/alerts/{self._alert}/actions/{action.id}"
            return JSONResponse(PendingOut(action=action.id, journaled=True, mend=mend).model_dump(), 202)
        if done.change == "refused" or done.alert is None:
            why = done.comment or f"the alert takes no {name} now"
            raise ApiError(409, why, f"alerts/{self._alert}", "look at the alert's state and trail")
        row = await _known(self._ctx, self._alert)
        after = _alert(AlertRow(done.alert, row.summary))
        return ActedOut(action=action.id, kind=done.change, at=done.at // _MS, alert=after)

    def _id(self, name: str) -> str:
        """The same for the same key of the same person, alert and action; else a new one."""
        if not self._key:
            return uuid.uuid4().hex
        said = "\n".join((self._by, self._alert, name, self._key))
        return hashlib.sha256(said.encode()).hexdigest()[:32]


ActingDep = Annotated[Acting, Depends()]


@router.post("/{id}/ack", responses=_ACTED, response_model=ActedOut)
async def ack(act: ActingDep, _: Operator, body: Plain) -> ActedOut | Response:
    """Acknowledge: somebody has seen it and sees to it."""
    return await act.do("ack", body.comment)


@router.post("/{id}/unack", responses=_ACTED, response_model=ActedOut)
async def unack(act: ActingDep, _: Operator, body: Plain) -> ActedOut | Response:
    """Take the acknowledgement back."""
    return await act.do("unack", body.comment)


@router.post("/{id}/shelve", responses=_ACTED, response_model=ActedOut)
async def shelve(act: ActingDep, _: Operator, body: Shelve) -> ActedOut | Response:
    """Put it aside for a time; it comes back by itself."""
    return await act.do("shelve", body.comment, {"seconds": body.seconds})


@router.post("/{id}/unshelve", responses=_ACTED, response_model=ActedOut)
async def unshelve(act: ActingDep, _: Operator, body: Plain) -> ActedOut | Response:
    """Take it back from the shelf."""
    return await act.do("unshelve", body.comment)


@router.post("/{id}/comment", responses=_ACTED, response_model=ActedOut)
async def comment(act: ActingDep, _: Operator, body: Remarked) -> ActedOut | Response:
    """Leave a comment in its trail."""
    return await act.do("comment", body.comment)


@router.post("/{id}/assign", responses=_ACTED, response_model=ActedOut)
async def assign(act: ActingDep, _: Operator, body: Assign) -> ActedOut | Response:
    """Give it to somebody."""
    return await act.do("assign", body.comment, {"to": body.to})


@router.get("/{id}/actions/{action}")
async def outcome(
    ctx: Ctx,
    _: Viewer,
    id: AlertId,  # noqa: A002
    action: Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")],
) -> OutcomeOut:
    """How an operator's action stands."""
    row = await to_thread.run_sync(ctx.collector.state.of_action, action)
    if row is not None:
        done = row.decision
        return OutcomeOut(action=action, state=done.change, at=done.at // _MS, comment=done.comment)
    if ctx.collector.acting(action):
        return OutcomeOut(action=action, state="pending", at=None, comment="")
    where = f"alerts/{id}/actions/{action}"
    raise ApiError(404, "there is no such action", where, "look at the alert's trail")


async def _known(ctx: Context, alert_id: str) -> AlertRow:
    row = await to_thread.run_sync(ctx.collector.state.alert, alert_id)
    if row is None:
        raise ApiError(404, "there is no such alert", f"alerts/{alert_id}", "they are at /api/v1/alerts")
    return row


def _alert(row: AlertRow) -> AlertOut:
    return AlertOut.model_validate(row.body())
