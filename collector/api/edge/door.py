"""The HTTP server's door: how many connections, how long each may dawdle, and who is behind it."""

from __future__ import annotations

import asyncio
import ipaddress
import resource
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, cast

import uvicorn
from fastapi import FastAPI
from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

from collector.core.config import Http

HEAD_S = 10.0
"""Seconds for a request's head, from the connection or the last answer on; half of it to take some answer."""
MOST_HEAD = 16 * 1024
"""Bytes of a request's line and headers."""
_BACKLOG = 64
"""Connections that the system holds until we take them: as many may come in one turn of the loop."""
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 10\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)


class Proxies:
    """Whose X-Forwarded-For is believed."""

    def __init__(self, trusted: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(each) for each in trusted]

    def trusts(self, address: str) -> bool:
        """Whether the address is a proxy of ours."""
        if not self._networks:
            return False
        found = _ip(address)
        return found is not None and any(found in network for network in self._networks)

    def client(self, scope: Scope) -> str:
        """Who asks: the last address on the way that is no proxy of ours; never anything but an address."""
        client: str = (scope.get("client") or ("-",))[0]
        hops = [
            hop.strip()
            for name, value in scope["headers"]
            if name == b"x-forwarded-for"
            for hop in value.decode("latin-1").split(",")
        ]
        while hops and self.trusts(client):
            hop = _ip(hops.pop())
            if hop is None:
                break
            client = str(hop)
        return client


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


class Door:
    """The connections that are open. Whoever comes when it is full takes the place of who idles longest."""

    def __init__(self, http: Http) -> None:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = http.connections if limit == resource.RLIM_INFINITY else min(http.connections, limit // 2)
        self.most = most  # half of the descriptors at least are for journal, store and broker
        self.proxies = Proxies(http.trusted_proxies)
        self.refused = 0
        self._per_address = min(http.connections_per_address, most)
        self._open: dict[HttpConnection, str] = {}  # the oldest first
        self._count: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, connection: HttpConnection, address: str) -> bool:
        """Whether the connection may stay."""
        fits = True
        if self._count[address] >= self._per_address and not self.proxies.trusts(address):
            fits = self._make_room(address)
        elif len(self._open) >= self.most:
            fits = self._make_room(None)
        if fits:
            self._open[connection] = address
            self._count[address] += 1
        else:
            self.refused += 1
        return fits

    def leave(self, connection: HttpConnection) -> None:
        """The connection is closed, or soon will be."""
        address = self._open.pop(connection, None)
        if address is not None:
            self._count[address] -= 1
            if not self._count[address]:
                del self._count[address]

    def _make_room(self, address: str | None) -> bool:
        for connection, its in self._open.items():
            if connection.idle and address in {None, its}:
                self.refused += 1
                self.leave(connection)
                connection.transport.abort()
                return True
        return False


class _Settings(uvicorn.Config):
    """uvicorn's settings, and the door that all connections come through."""

    door: Door


class HttpConnection(H11Protocol):
    """uvicorn's connection with a place at the door, and with deadlines."""

    config: _Settings
    head_s = HEAD_S

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Enter, or be sent away."""
        super().connection_made(transport)
        self.access_log = False  # uvicorn's would have the query, and so perhaps a token
        self._idle_since = self.loop.time()
        self._unsent = 0
        self._timer = self.loop.call_later(self.head_s / 2, self._look)
        if not self.config.door.enter(self, self.client[0] if self.client else "-"):
            transport.write(_FULL)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._timer.cancel()
        self.config.door.leave(self)
        super().connection_lost(exc)

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        return self.cycle is None or self.cycle.response_complete

    def on_response_complete(self) -> None:
        """From here on it idles, unless the next request is there already."""
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def _look(self) -> None:
        """Cut it if it asks nothing for too long, or takes nothing of what it asked for."""
        unsent = self.transport.get_write_buffer_size()
        stuck = 0 < unsent == self._unsent
        late = self.idle and not unsent and self.loop.time() - self._idle_since >= self.head_s
        if stuck or late:
            self.transport.abort()
            return
        self._unsent = unsent
        self._timer = self.loop.call_later(self.head_s / 2, self._look)


def settings_of(app: FastAPI, http: Http, door: Door) -> uvicorn.Config:
    """How uvicorn serves the app. It logs nothing itself, and believes no header about who asks."""
    settings = _Settings(
        app,
        host=http.host,
        port=http.port,
        http=cast(Any, HttpConnection),
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        lifespan="off",
        loop="none",
        backlog=_BACKLOG,
        h11_max_incomplete_event_size=MOST_HEAD,
        timeout_graceful_shutdown=2,
    )
    settings.door = door
    return settings


def complaint(scope: Scope, hosts: Sequence[str]) -> tuple[int, str, str] | None:
    """What is wrong with a request's head, if anything: status, what, mend. Headers are in lower case."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    if sum(len(name) + len(value) for name, value in headers) + len(scope["query_string"]) > MOST_HEAD:
        return 431, "the request's head is too large", f"send at most {MOST_HEAD // 1024} KiB"
    names = {name for name, _ in headers}
    if {b"content-length", b"transfer-encoding"} <= names:
        return 400, "the body's length is given twice", "send Content-Length or Transfer-Encoding"
    host = _host(next((value for name, value in headers if name == b"host"), b""))
    here = (scope.get("server") or ("",))[0]
    if host not in {"localhost", here, f"[{here}]", *hosts}:
        shown = host.encode("unicode_escape").decode()[:100]
        return 421, f'nobody answers to the name "{shown}" here', "name it in the setting [http] hosts"
    return None


def _host(header: bytes) -> str:
    """The Host header's name, without its port."""
    text = header.decode("latin-1").strip().lower()
    name, separator, port = text.rpartition(":")
    return name if separator and port.isdecimal() else text
