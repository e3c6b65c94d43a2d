"""Around every request: a limit to its body, security headers, and an access log that holds no secret."""

from __future__ import annotations

import asyncio
import logging
import time

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from collector.api.errors import answer

_log = logging.getLogger("nagari.access")
MOST_BODY = 64 * 1024
_BODY_S = 20.0
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

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with headers added to its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = 0, time.monotonic()

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _harden(MutableHeaders(scope=message), scope["path"])
            await send(message)

        try:
            await self._within_limits(scope, receive, guarded)
        finally:
            client = (scope.get("client") or ("-",))[0]
            took = (time.monotonic() - started) * 1000
            path = scope["path"].encode("unicode_escape").decode()
            _log.info("%s %s %s %d %.1f ms", client, scope["method"], path[:200], status, took)

    async def _within_limits(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in _WITHOUT_BODY:
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(_BODY_S):
                body = await _read(receive)
        except TimeoutError:
            body = None
        where = f"{scope['method']} {scope['path']}"
        if body is None:
            refusal: Response = answer(413, "the body is too large or too slow", where, "send at most 64 KiB")
            await refusal(scope, receive, send)
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
