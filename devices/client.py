"""DeviceClient: how a device, or a poller for many, speaks with the broker. MQTT 5, on aiomqtt.

    async with DeviceClient(options, device, handler=obey) as client:
        client.publish_tele({"rx_dbm": -21.4})
        client.publish_event(Event("dying_gasp"))

Publishing never waits: messages go through a bounded `Outbox`, in order, QoS 1, however long it takes.
Leaving the block waits a little for what is pending, then says offline.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import aiomqtt

from devices import topics
from devices.backoff import backoff
from devices.commanding import Gate
from devices.model import Address, Command, CommandAck, Device, Event, Suffix
from devices.outbox import Outbox, Outgoing
from devices.payload import PayloadError, native
from devices.secretfile import read_secret
from devices.wire import IN_FLIGHT, Answer, Broker, ClientOptions, Wire, broker

__all__ = ["DELAYS_S", "ClientOptions", "DeviceClient", "Handler", "Stats"]

log = logging.getLogger(__name__)

Handler = Callable[[Device, Command], Awaitable[str]]
"""Carries a command out and returns a detail for the answer; what it raises is answered as `failed`."""

_COMMANDS: Final = 100  # accepted and not yet run
DELAYS_S: Final = (0.5, 30.0)
"""The first and the longest wait before it connects again."""
_STEADY_S: Final = 10.0  # a connection that held so long begins with the first delay again
_GOODBYE_S: Final = 2.0
_UNHEARD_S: Final = 1.0  # between attempts while nobody has subscribed


@dataclass(frozen=True, slots=True)
class Stats:
    """How it goes. `connected`: commands are heard as well, if there is a handler.

    `acked` counts PUBACKs, those of resent messages too; `dropped` messages are lost; `forgotten` ones were
    acknowledged once, but not kept for as long as they should; `refused` ones the broker would not take.
    """

    connected: bool
    connections: int
    pending: int
    acked: int
    dropped: int
    forgotten: int
    refused: int
    commands: int
    bad_commands: int


class DeviceClient:
    """Publishes for `device` and for `others` that are `via` it; hears commands if there is a `handler`.

    `clock` gives epoch seconds. Entering connects in the background and for ever; it raises Problems if the
    options cannot be right, never because the broker is away.
    """

    def __init__(
        self,
        options: ClientOptions,
        device: Device,
        others: Iterable[Device] = (),
        handler: Handler | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._options = options
        self._device = device
        self._devices = {each.id: each for each in (device, *others)}
        self._handler = handler
        self._clock = clock
        self._outbox = Outbox(options.capacity, options.keep_s)
        self._numbers: dict[int, int] = {}  # packet id → number in the outbox, of this connection
        self._seqs: dict[str, int] = {}
        self._last_ts: dict[str, int] = {}
        self._gate = Gate(b"")
        self._commands: asyncio.Queue[tuple[Device, Command]] = asyncio.Queue(_COMMANDS)
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._idle = asyncio.Event()
        self._goodbye = 0  # the packet id of the farewell
        self._gone = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._wire: Wire | None = None
        self._connected = False
        self._connections = 0
        self._seen = 0
        self._bad = 0
        self._heard = 0.0
        self._resume = 0.0  # until then (monotonic) nothing is sent: nobody has subscribed

    async def __aenter__(self) -> Self:
        to = broker(self._options, self._device)
        if self._options.command_key_file is not None:
            self._gate = Gate(read_secret(self._options.command_key_file).encode())
        self._tasks = [asyncio.create_task(self._connect(to)), asyncio.create_task(self._obey())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.drain(self._options.drain_s)
            self._stop.set()
            if self._connected:
                await asyncio.wait(self._tasks[:1], timeout=2 * _GOODBYE_S)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def stats(self) -> Stats:
        """The sums since the start."""
        box = self._outbox
        return Stats(
            connected=self._connected,
            connections=self._connections,
            pending=box.pending,
            acked=box.acked,
            dropped=box.dropped,
            forgotten=box.forgotten,
            refused=box.refused,
            commands=self._seen,
            bad_commands=self._bad,
        )

    def publish_tele(
        self, values: Mapping[str, float | bool | None], *, device: str | None = None, ts: int | None = None
    ) -> None:
        """Publish readings of now, or of `ts` (epoch ms), of a device.

        Readings of now get rising times even within a millisecond: two of one time would count as one.
        Raises PayloadError, or KeyError if the device is not one that this client speaks for.
        """
        whose = self._devices[device or self._device.id]
        seq = self._seqs.get(whose.id, -1) + 1
        at = self._rising(whose.id) if ts is None else ts
        payload = native.encode_tele(values, at, seq % 2**32)
        self._seqs[whose.id] = seq % 2**32
        self._say(whose, Suffix.TELE, payload)

    def _rising(self, device: str) -> int:
        now, last = self._now(), self._last_ts.get(device, 0)
        if now <= last < now + 1000:  # beyond that the clock has stepped back: follow it
            now = last + 1
        self._last_ts[device] = now
        return now

    def publish_event(self, event: Event, *, device: str | None = None) -> None:
        """Publish an event, of now unless it has a time. Raises as `publish_tele` does."""
        whose = self._devices[device or self._device.id]
        dated = event if event.ts is not None else Event(event.event, self._now(), event.data)
        self._say(whose, Suffix.EVENT, native.encode_event(dated))

    def publish(self, message: Outgoing) -> None:
        """Publish a message made elsewhere, such as a simulator's, as it is."""
        self._put(message)

    async def abort(self) -> None:
        """Leave as a power cut does: no farewell, so the will is published. What is pending is lost."""
        self._stop.set()
        if self._wire is not None:
            self._wire.sever()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def drain(self, timeout: float) -> bool:  # noqa: ASYNC109 (a wait that ends is no error here)
        """Wait until the broker has everything for somebody, at most `timeout` seconds; whether it has."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._outbox.pending:
                    self._idle.clear()
                    await self._idle.wait()
        return self._outbox.pending == 0

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _say(self, device: Device, suffix: Suffix, payload: bytes) -> None:
        self._put(Outgoing(topics.build(Address(device.site, device.id, suffix)), payload))

    def _put(self, message: Outgoing) -> None:
        dropped = self._outbox.dropped
        self._outbox.put(message)
        if dropped == 0 and self._outbox.dropped:
            log.warning("%s: the buffer of %d messages is full; the oldest are dropped",
                        self._device.id, self._options.capacity)  # fmt: skip
        self._wake.set()

    async def _connect(self, to: Broker) -> None:
        attempt = 0
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                await self._session(to)
            except aiomqtt.MqttError as error:
                log.warning("%s: no connection to %s:%d (%s)", self._device.id, to.host, to.port, error)
            except Exception:  # whatever it was, a device in the field has nobody to restart it
                log.exception("%s: the connection to %s:%d failed", self._device.id, to.host, to.port)
            self._connected = False
            self._wire = None
            self._outbox.disconnected()
            self._numbers.clear()
            attempt = 0 if time.monotonic() - began > _STEADY_S else attempt + 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff(attempt - 1, *DELAYS_S)):
                    await self._stop.wait()

    async def _session(self, to: Broker) -> None:
        state = topics.build(Address(self._device.site, self._device.id, Suffix.STATE))
        async with Wire(to, state, self._acknowledged) as wire:
            self._wire = wire
            self._connections += 1
            self._heard = time.monotonic()
            wire.send(state, native.encode_state(online=True), retain=True)
            if self._handler is not None:
                await self._listen(wire)
            self._connected = True
            work = [asyncio.create_task(self._pump(wire)), asyncio.create_task(self._hear(wire))]
            stop = asyncio.create_task(self._stop.wait())
            try:
                await asyncio.wait([*work, stop], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (*work, stop):
                    task.cancel()
                results = await asyncio.gather(*work, stop, return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                    raise result
            await self._say_goodbye(wire, state)

    async def _say_goodbye(self, wire: Wire, state: str) -> None:
        """A will is not sent after a clean farewell, so say offline; wait for its PUBACK, but not long."""
        self._goodbye = wire.send(state, native.encode_state(online=False), retain=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await self._gone.wait()

    async def _listen(self, wire: Wire) -> None:
        refused = await wire.listen(
            [topics.build(Address(each.site, each.id, Suffix.CMD)) for each in self._devices.values()]
        )
        for topic in refused:
            log.error("%s: the broker refuses a subscription to %s; mend its ACL", self._device.id, topic)

    async def _pump(self, wire: Wire) -> None:
        patience = 2.0 * self._options.keepalive
        while True:
            self._wake.clear()
            pause = self._resume - time.monotonic()
            while pause <= 0 and len(self._numbers) < IN_FLIGHT and (item := self._outbox.take()) is not None:
                number, message = item
                self._numbers[wire.send(message.topic, message.payload)] = number
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause if pause > 0 else patience / 4):
                    await self._wake.wait()
            if not self._numbers:
                self._heard = time.monotonic()
            elif time.monotonic() - self._heard > patience:
                raise aiomqtt.MqttError("the broker acknowledges nothing")

    def _acknowledged(self, packet: int, answer: Answer) -> None:
        self._heard = time.monotonic()
        if packet == self._goodbye:
            self._gone.set()
        number = self._numbers.pop(packet, None)
        if number is not None and answer == "taken":
            self._outbox.settle(number, self._heard)
        elif number is not None and answer == "unheard":
            if not self._resume:
                log.warning("%s: nobody listens at the broker; what is published is kept", self._device.id)
            self._outbox.unheard(number)
            self._resume = self._heard + _UNHEARD_S
        elif number is not None:
            self._outbox.refuse(number)
            if self._outbox.refused == 1:
                log.error("%s: the broker refuses what we publish; mend its ACL", self._device.id)
        self._wake.set()
        if not self._outbox.pending:
            self._idle.set()

    async def _hear(self, wire: Wire) -> None:
        async for message in wire.messages:
            self._seen += 1
            payload = message.payload if isinstance(message.payload, bytes) else b""
            self._take(message.topic.value, payload, retained=bool(message.retain))

    def _take(self, topic: str, payload: bytes, *, retained: bool) -> None:
        try:
            address = topics.parse(topic)
            device = self._devices[address.device]
            command = native.parse_command(payload, address)
        except (topics.TopicError, KeyError, PayloadError) as error:
            self._bad += 1
            log.warning("%s: a command on %s is refused: %s", self._device.id, topic, error)
            return
        verdict = self._gate.judge(command, device, retained=retained, now=self._now())
        ack = verdict.ack
        if verdict.run:
            try:
                self._commands.put_nowait((device, command))
            except asyncio.QueueFull:
                ack = CommandAck(command.id, "rejected", "busy", self._now())
                self._gate.remember(command, ack)
        self._answer(device, ack)

    async def _obey(self) -> None:
        """Run commands one by one. It outlives connections: a command is never cut off by a lost one."""
        while self._handler is not None:
            device, command = await self._commands.get()
            try:
                detail = await self._handler(device, command)
                ack = CommandAck(command.id, "done", detail[:4096], self._now())
            except Exception as error:
                log.exception("%s: the command %s (%s) failed", device.id, command.name, command.id)
                ack = CommandAck(command.id, "failed", str(error)[:4096], self._now())
            self._gate.remember(command, ack)
            self._answer(device, ack)

    def _answer(self, device: Device, ack: CommandAck) -> None:
        self._say(device, Suffix.ACK, native.encode_ack(ack))
