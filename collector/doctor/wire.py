"""A small MQTT 5 client for probing: it shows what the broker answers, which full clients hide."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field

import mqtt5

PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Account:
    """Where to connect, and as whom."""

    host: str
    port: int
    username: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None


@dataclass(slots=True)
class ProbeConnection:
    """An open connection. Every wait raises TimeoutError after PATIENCE_S, ConnectionError at its end."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    connack: mqtt5.ConnAckPacket = field(default_factory=mqtt5.ConnAckPacket)
    _rest: bytes = b""
    _early: list[mqtt5.Packet] = field(default_factory=list)

    def send(self, *packets: mqtt5.Packet) -> None:
        """Write packets; `drained` waits until they are out."""
        self.writer.write(b"".join(packet.write() for packet in packets))

    async def drained(self) -> None:
        """Wait until what was sent has left."""
        async with asyncio.timeout(PATIENCE_S):
            await self.writer.drain()

    async def receive(self, patience: float = PATIENCE_S) -> list[mqtt5.Packet]:
        """The packets that came next, at least one."""
        while True:
            packets, self._early = self._early + self._take(), []
            if packets:
                return packets
            async with asyncio.timeout(patience):
                came = await self.reader.read(1 << 18)
            if not came:
                raise ConnectionError("the broker closed the connection")
            self._rest += came

    async def close(self) -> None:
        """DISCONNECT in peace; the session lives as long as was asked."""
        try:
            self.send(mqtt5.DisconnectPacket())
            await self.drained()
            self.writer.close()
            await self.writer.wait_closed()
        except (OSError, TimeoutError):
            self.writer.close()

    def _take(self) -> list[mqtt5.Packet]:
        packets, view = [], memoryview(self._rest)
        while view:
            try:
                packet, size = mqtt5.read(view)
            except IndexError:  # the rest is still to come
                break
            packets.append(packet)
            view = view[size:]
        self._rest = bytes(view)
        return packets


async def connect(account: Account, hello: mqtt5.ConnectPacket) -> ProbeConnection:
    """Connect and wait for the CONNACK, whatever it says. Raises OSError, TimeoutError, ConnectionError."""
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(account.host, account.port, ssl=account.tls)
    connection = ProbeConnection(reader, writer)
    connection.send(hello)
    try:
        first, *connection._early = await connection.receive()
    except (OSError, TimeoutError, ValueError):
        writer.close()
        raise
    if not isinstance(first, mqtt5.ConnAckPacket):
        writer.close()
        raise ConnectionError(f"the broker answered {type(first).__name__}")
    connection.connack = first
    return connection
