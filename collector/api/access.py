"""Who asks, and whether they may: bearer tokens, session cookies, roles; no forged requests."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from anyio import to_thread
from fastapi import Depends, Request
from fastapi.routing import APIRoute

from collector.api.context import Context, context
from collector.api.errors import Refusal
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
    """Who asks. Raises Refusal 401 without a valid token or session, 429 after too many failures."""
    ctx = context(request)
    token = bearer(request)
    secret = token or request.cookies.get(COOKIE, "")
    if not secret:
        raise Refusal(401, "nobody is signed in", "Authorization", "send a bearer token, or sign in", _ASK)
    if token:
        check_lockout(ctx, request)
    by_cookie = not token
    if by_cookie:
        check_forgery(request)
    principal = await _look_up(ctx, secret, by_cookie=by_cookie)
    if principal is None:
        await denied(ctx, request, "session" if by_cookie else "token", count=not by_cookie)
        raise Refusal(401, "the token or session is not valid", "Authorization", "sign in again", _ASK)
    return Caller(principal, secret, by_cookie)


_ASK = {"WWW-Authenticate": "Bearer"}
CallerDep = Annotated[Caller, Depends(caller)]


class Needs:
    """A route's dependency: the caller's role must be at least this one."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def __call__(self, request: Request, who: CallerDep) -> Caller:
        """The caller. Raises Refusal 403 if the role is too low."""
        if not who.principal.may(self.role):
            asked = {"method": request.method, "path": request.url.path[:200], "role": who.principal.role}
            await audit(context(request), who.principal.name, "denied", **asked)
            raise Refusal(
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


def check_lockout(ctx: Context, request: Request) -> None:
    """Raises Refusal 429 if the address has failed too often."""
    wait = ctx.lockout.wait(address(request), time.monotonic())
    if wait > 0:
        raise Refusal(
            429,
            "too many failed attempts from this address",
            "Authorization",
            f"wait {int(wait) + 1} s and use a valid token",
            {"Retry-After": str(int(wait) + 1)},
        )


def check_forgery(request: Request) -> None:
    """Raises Refusal 403 if another site's page may have made the browser send this request."""
    if request.method in _SAFE:
        return
    check_origin(request)
    if CSRF_HEADER not in request.headers:
        raise Refusal(
            403, "the request may come from another site", CSRF_HEADER, f"send the header {CSRF_HEADER}: 1"
        )


def check_origin(request: Request) -> None:
    """Raises Refusal 403 if a browser says that another site's page sends this."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise Refusal(403, "the request comes from another site", "Origin", "use the collector's own page")


async def denied(ctx: Context, request: Request, what: str, *, count: bool = True) -> None:
    """Count a failed proof against its address, and put it in the audit."""
    if count:
        ctx.lockout.failed(address(request), time.monotonic())
        await audit(ctx, address(request), "denied", invalid=what)


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
