"""Who asks, and whether they may: bearer tokens, session cookies, roles; no forged requests."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from anyio import to_thread
from fastapi import Depends, Request
from fastapi.routing import APIRoute

from collector.api.context import Context, context
from collector.api.edge.denials import WINDOW
from collector.api.edge.errors import ApiError, shown
from collector.state import ROLES, Principal, Role, StateError

_log = logging.getLogger(__name__)
COOKIE = "nagari_session"
CSRF_HEADER = "X-Nagari"
_SAFE = {"GET", "HEAD", "OPTIONS"}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and how they proved it: re-checked during a long answer with `still`."""

    principal: Principal
    secret: str
    by_cookie: bool

    async def still(self, ctx: Context) -> bool:
        """Whether the proof still holds: neither revoked, expired nor signed out."""
        return await _look_up(ctx, self.secret, by_cookie=self.by_cookie) is not None


async def caller(request: Request) -> Caller:
    """Who asks. Raises ApiError 401 without a valid token or session, 429 after too many that were wrong."""
    ctx = context(request)
    token = bearer(request)
    secret = token or request.cookies.get(COOKIE, "")
    if not secret:
        raise ApiError(401, "nobody is signed in", "Authorization", "send a bearer token, or sign in", _ASK)
    by_cookie = not token
    if by_cookie:
        check_forgery(request)
    principal = await _look_up(ctx, secret, by_cookie=by_cookie)
    if principal is None:
        if not by_cookie:
            await failed(ctx, request)
        raise ApiError(401, "the token or session is not valid", "Authorization", "sign in again", _ASK)
    return Caller(principal, secret, by_cookie)


_ASK = {"WWW-Authenticate": "Bearer"}
CallerDep = Annotated[Caller, Depends(caller)]


class Needs:
    """A route's dependency: the caller's role must be at least this one."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def __call__(self, request: Request, who: CallerDep) -> Caller:
        """The caller. Raises ApiError 403 if the role is too low."""
        if not who.principal.may(self.role):
            asked = {"method": request.method, "path": shown(request.url.path), "role": who.principal.role}
            await _deny(context(request), who.principal.name, "role", asked)
            raise ApiError(
                403,
                f"a {who.principal.role} may not do this",
                request.url.path,
                f"ask for the role {self.role}",
            )
        return who


Viewer = Annotated[Caller, Depends(Needs("viewer"))]
Operator = Annotated[Caller, Depends(Needs("operator"))]
Engineer = Annotated[Caller, Depends(Needs("engineer"))]


def role_of(route: APIRoute) -> Role | None:
    """The lowest role that may use the route; None if it is open."""
    found = [d.call.role for d in route.dependant.dependencies if isinstance(d.call, Needs)]
    return max(found, key=ROLES.index) if found else None


def bearer(request: Request) -> str:
    """The bearer token of the request; empty without one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def address(request: Request) -> str:
    """Where the request comes from."""
    return request.client.host if request.client else "-"


def check_forgery(request: Request) -> None:
    """Raises ApiError 403 if another site's page may have made the browser send this request."""
    if request.method in _SAFE:
        return
    check_origin(request)
    if CSRF_HEADER not in request.headers:
        raise ApiError(
            403, "the request may come from another site", CSRF_HEADER, f"send the header {CSRF_HEADER}: 1"
        )


def check_origin(request: Request) -> None:
    """Raises ApiError 403 if a browser says that another site's page sends this."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise ApiError(403, "the request comes from another site", "Origin", "use the collector's own page")


async def failed(ctx: Context, request: Request) -> None:
    """A wrong token is counted against its address. Raises ApiError 429 if too many were; valid ones pass."""
    now, who = time.monotonic(), address(request)
    wait = ctx.lockout.wait(who, now)
    if wait > 0:
        raise ApiError(
            429,
            "too many wrong tokens came from this address",
            "Authorization",
            f"use a valid token, or wait {int(wait) + 1} s",
            {"Retry-After": str(int(wait) + 1)},
        )
    ctx.lockout.failed(who, now)
    await _deny(ctx, who, "token", {"invalid": "token"})


async def _deny(ctx: Context, who: str, kind: str, detail: Mapping[str, object]) -> None:
    due = ctx.denials.note(who, kind, detail, time.monotonic())
    _write_later(ctx)
    for one, what in due:
        await audit(ctx, one, "denied", **what)


def _write_later(ctx: Context) -> None:
    if ctx.denials_timer is None and ctx.denials.counting:
        loop = asyncio.get_running_loop()
        ctx.denials_timer = loop.call_later(WINDOW, lambda: loop.create_task(_write_denials(ctx)))


async def _write_denials(ctx: Context) -> None:
    ctx.denials_timer = None
    due = ctx.denials.over(time.monotonic())
    _write_later(ctx)  # a window that began meanwhile
    for who, what in due:
        await audit(ctx, who, "denied", **what)


async def audit(ctx: Context, who: str, what: str, **detail: Any) -> None:
    """Write a line of the audit, in a thread.

    An audit that cannot be written (disk full) is logged instead and stops nobody: at such a time above all
    somebody must be able to look.
    """
    try:
        await to_thread.run_sync(ctx.collector.state.audit, ctx.clock(), who, what, detail)
    except StateError:
        _log.exception("the audit cannot be written: %s %s %s", who, what, detail)


async def _look_up(ctx: Context, secret: str, *, by_cookie: bool) -> Principal | None:
    look = ctx.collector.state.session if by_cookie else ctx.collector.state.principal
    return await to_thread.run_sync(look, secret, ctx.clock())
