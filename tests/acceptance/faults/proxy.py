"""A link that fails: a TCP proxy before the broker that goes silent or half open, and sees what passes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import mqtt5

HOST = "127.0.0.1"


@dataclass(slots=True)
class _Link:
    """One connection through the proxy. `passed`: (from the broker, bytes), in the order of passing."""

    client: asyncio.StreamWriter
    broker: asyncio.StreamWriter
    passed: list[tuple[bool, bytes]] = field(default_factory=list)
    dead: bool = False  # half open: nothing passes any more, and the client's side stays open


class Proxy:
    """Passes bytes to a broker on this machine, from a thread of its own, until it is told to fail."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._links: list[_Link] = []
        self._loop = asyncio.new_event_loop()
        self._open: asyncio.Event
        self._losing = False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = 0
        self._thread.start()
        assert self._ready.wait(5)

    @property
    def url(self) -> str:
        """Where the collector finds the broker behind it."""
        return f"mqtt://{HOST}:{self.port}"

    def black_hole(self) -> None:
        """From now on nothing passes, in no direction; connections are accepted and stay silent."""
        self._call(self._open.clear)

    def lose_acks(self) -> None:
        """From now on our PUBACKs are lost on the way; all else passes."""
        self._losing = True

    def heal(self) -> None:
        """Everything passes again, also what waited."""
        self._losing = False
        self._call(self._open.set)

    def half_open(self) -> None:
        """The broker's side of all connections is gone; ours hear nothing of it. New connections are well."""

        def cut() -> None:
            for link in self._links:
                link.dead = True
                _reset(link.broker)

        self._call(cut)

    def reset(self) -> None:
        """Both sides of all connections get a reset."""

        def cut() -> None:
            for link in self._links:
                _reset(link.broker)
                _reset(link.client)

        self._call(cut)

    def conversations(self) -> list[list[tuple[bool, bytes]]]:
        """What has passed over each connection."""
        return [list(link.passed) for link in self._links]

    def close(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _call(self, do: Callable[[], object]) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (do(), done.set()))
        assert done.wait(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._open = asyncio.Event()
        self._open.set()
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, HOST, 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            answers, broker = await asyncio.open_connection(HOST, self._to)
        except OSError:
            _reset(client)
            return
        link = _Link(client, broker)
        self._links.append(link)
        await asyncio.gather(self._pass(link, answers, True), self._pass(link, reader, False))

    async def _pass(self, link: _Link, source: asyncio.StreamReader, from_broker: bool) -> None:
        to = link.client if from_broker else link.broker
        rest = b""
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                await self._open.wait()
                if link.dead:
                    return
                if not from_broker:
                    data, rest = _whole(rest + data, without_acks=self._losing)
                link.passed.append((from_broker, data))
                to.write(data)
                await to.drain()
        if not link.dead:
            _reset(to) if source.exception() else to.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    plain = writer.get_extra_info("socket")
    if plain is not None and plain.fileno() >= 0:
        with contextlib.suppress(OSError):
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _whole(data: bytes, *, without_acks: bool) -> tuple[bytes, bytes]:
    """The whole packets in it, perhaps without PUBACKs, and the rest."""
    out, at = b"", 0
    while True:
        end, length, shift = at + 1, 0, 0
        while end < len(data):
            length |= (data[end] & 0x7F) << shift
            shift += 7
            end += 1
            if not data[end - 1] & 0x80:
                break
        else:
            return out, data[at:]
        if end + length > len(data):
            return out, data[at:]
        if not (without_acks and data[at] == 0x40):
            out += data[at : end + length]
        at = end + length


def wrong_acks(conversation: list[tuple[bool, bytes]]) -> list[int]:
    """Packet ids acknowledged over a connection that did not bring them, or not in the order they came."""
    return _acks(conversation)[0]


def unacknowledged(conversation: list[tuple[bool, bytes]]) -> list[int]:
    """Packet ids that the connection brought and that were never acknowledged over it."""
    return _acks(conversation)[1]


def _acks(conversation: list[tuple[bool, bytes]]) -> tuple[list[int], list[int]]:
    waiting: list[int] = []
    wrong: list[int] = []
    streams = {True: b"", False: b""}
    for from_broker, data in conversation:
        packets, streams[from_broker] = _packets(streams[from_broker] + data)
        for packet in packets:
            if isinstance(packet, mqtt5.PublishPacket) and from_broker and packet.packet_id:
                waiting.append(packet.packet_id)
            elif isinstance(packet, mqtt5.PubAckPacket) and (
                not waiting or waiting.pop(0) != packet.packet_id
            ):
                wrong.append(packet.packet_id)
    return wrong, waiting


def _packets(data: bytes) -> tuple[list[mqtt5.Packet], bytes]:
    view, at, found = memoryview(data), 0, []
    while at < len(data):
        try:
            packet, length = mqtt5.read(view[at:])
        except IndexError:
            break
        found.append(packet)
        at += length
    return found, data[at:]


@contextlib.contextmanager
def proxy(to: int) -> Iterator[Proxy]:
    """A proxy, while it lasts."""
    found = Proxy(to)
    try:
        yield found
    finally:
        found.close()
