"""The HTTP server as a worker: on a port that was claimed before, and claimed anew after a fault."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI

from collector.api.app import server_settings
from collector.supervision.claims import claimed_port
from collector.supervision.threads import ending

log = logging.getLogger(__name__)


class Serving:
    """Serves the application that `make` gives. `port` listens already."""

    def __init__(self, make: Callable[[], FastAPI], port: socket.socket) -> None:
        self._make = make
        self._port: socket.socket | None = port
        self._address: tuple[str, int] = port.getsockname()

    async def work(self) -> None:
        """Serve, for the supervisor. Cancelled, it lets the clients finish."""
        port, self._port = self._port or claimed_port(*self._address), None
        server = _Server(server_settings(self._make()))
        log.info("http://%s:%d: page and API", *self._address)
        try:
            await ending(asyncio.ensure_future(server.serve([port])), server.leave)
        finally:
            server.let_go()
            port.close()


class _Server(uvicorn.Server):
    """uvicorn, without its own handling of signals: the collector stops it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def leave(self) -> None:
        """Have `serve` return, in a while."""
        self.should_exit = True

    def let_go(self) -> None:
        """The port is free from now on, also after a fault."""
        for server in getattr(self, "servers", ()):
            server.close()
