"""Signing in and out: a token is exchanged for a session cookie."""

from __future__ import annotations

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from collector.api.context import Ctx
from collector.api.edge.access import (
    COOKIE,
    CallerDep,
    Viewer,
    address,
    audit,
    check_origin,
    failed,
)
from collector.api.edge.errors import ApiError
from collector.state import Principal

router = APIRouter(prefix="/api/v1", tags=["session"])

_HOURS_12 = 12 * 3600


class SignIn(BaseModel):
    """What to sign in with."""

    model_config = ConfigDict(extra="forbid")
    token: str = Field(min_length=1, max_length=200)


class Who(BaseModel):
    """Who is signed in."""

    name: str
    role: str


@router.post("/session")
async def sign_in(ctx: Ctx, request: Request, response: Response, body: SignIn) -> Who:
    """Exchange a token for a session cookie (HttpOnly, SameSite=Strict)."""
    check_origin(request)
    state = ctx.collector.state
    principal = await to_thread.run_sync(state.principal, body.token.strip(), ctx.clock())
    if principal is None:
        await failed(ctx, request)
        raise ApiError(401, "this token is not valid", "token", "make one with `nagari token create`")
    ctx.lockout.succeeded(address(request))
    secret = await to_thread.run_sync(state.create_session, principal, ctx.clock())
    await audit(ctx, principal.name, "login", address=address(request))
    _set_cookie(ctx, response, secret)
    return _who(principal)


@router.get("/session")
async def who_am_i(who: Viewer) -> Who:
    """Who is signed in, and as what."""
    return _who(who.principal)


@router.delete("/session", status_code=204)
async def sign_out(ctx: Ctx, response: Response, _: Viewer, who: CallerDep) -> None:
    """End the session. A bearer token is left as it is: revoke it with `nagari token revoke`."""
    if who.by_cookie:
        await to_thread.run_sync(ctx.collector.state.end_session, who.secret)
        await audit(ctx, who.principal.name, "logout")
    response.delete_cookie(COOKIE, path="/")


def _set_cookie(ctx: Ctx, response: Response, secret: str) -> None:
    response.set_cookie(
        COOKIE,
        secret,
        max_age=_HOURS_12,
        path="/",
        httponly=True,
        samesite="strict",
        secure=ctx.collector.config.http.secure_cookie,
    )


def _who(principal: Principal) -> Who:
    return Who(name=principal.name, role=principal.role)
