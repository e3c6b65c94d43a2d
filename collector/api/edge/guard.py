"""Around every request: a limit to its body, security headers, and an access log that holds no secret."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from collector.api.edge.door import Proxies, complaint
from collector.api.edge.errors import answer, shown

_log = logging.getLogger("nagari.access")
MOST_BODY = 64 * 1024
_BODY_S = 20.0
_CLOSE = {"Connection": "close"}  # where this request ends is not sure: no other one may come after it
_WITHOUT_BODY = {"GET", "HEAD", "OPTIONS"}

CSP = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """ASGI middleware. The log line has the path, never the query, headers or body: they may hold a token."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str], proxies: Proxies) -> None:
        self._app = app
        self._hosts = hosts
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with headers added to its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = 0, time.monotonic()
        client = self._proxies.client(scope)
        scope["client"] = (client, 0)

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _harden(MutableHeaders(scope=message), scope["path"])
            await send(message)

        try:
            await self._within_limits(scope, receive, guarded)
        finally:
            took = (time.monotonic() - started) * 1000
            _log.info("%s %s %s %d %.1f ms", client, scope["method"], shown(scope["path"]), status, took)

    async def _within_limits(self, scope: Scope, receive: Receive, send: Send) -> None:
        if found := complaint(scope, self._hosts):
            status, what, mend = found
            await answer(status, what, "headers", mend, _CLOSE)(scope, receive, send)
            return
        if scope["method"] in _WITHOUT_BODY:
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(_BODY_S):
                body = await _read(receive)
        except TimeoutError:
            body = None
        if body is None:
            where = f"{scope['method']} {shown(scope['path'])}"
            too_large = answer(413, "the body is too large or too slow", where, "send at most 64 KiB")
            await too_large(scope, receive, send)
            return
        await self._app(scope, _again(body, receive), send)


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None once it is longer than it may be."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MOST_BODY:
            return None
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body once, then goes on as before."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _harden(headers: MutableHeaders, path: str) -> None:
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    if path.startswith("/api/"):
        headers.setdefault("Cache-Control", "no-store")
