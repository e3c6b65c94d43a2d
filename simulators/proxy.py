"""A TCP link that can be cut: the collector's way to the broker, for the fault `collector_link_dead`."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self


class Proxy:
    """Listens on 127.0.0.1:`port` and forwards to `target`. Cut, it swallows all and answers nothing."""

    def __init__(self, port: int, target: tuple[str, int]) -> None:
        self._port = port
        self._target = target
        self._whole = asyncio.Event()
        self._whole.set()
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Listen; raises OSError if the port is taken."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        await self._close()

    async def cut(self) -> None:
        """From now on nothing passes, and nobody is told: the black hole of a dead link."""
        self._whole.clear()

    async def heal(self) -> None:
        """What hung is closed; new connections pass."""
        await self._close()
        self._whole.set()

    async def _close(self) -> None:
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        try:
            await self._whole.wait()
            inner_reader, inner_writer = await asyncio.open_connection(*self._target)
            both = asyncio.gather(self._pump(reader, inner_writer), self._pump(inner_reader, writer))
            with contextlib.closing(inner_writer):
                await both
        except OSError:
            pass  # the broker is away: whoever connected will see
        finally:
            self._links.discard(link)
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self._whole.is_set():
                writer.write(data)
                await writer.drain()
        writer.close()
