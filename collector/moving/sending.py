"""History out over MQTT: QoS 1, a bounded window, until the broker has it for somebody."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

import aiomqtt

from collector.moving.messages import HistoryMessage
from devices.model import Device
from devices.problems import Problems
from devices.wire import IN_FLIGHT, ClientOptions, PubAckAnswer, Wire, broker

CLIENT_ID = "nagari-import"
_PAUSE = 1.0


class HistorySender:
    """One sender of messages. It waits for a broker that is away, or that has no collector, so many seconds.

    `rate`: values a second at most; 0 for as many as the broker takes.
    """

    def __init__(self, options: ClientOptions, rate: float, patience: float) -> None:
        self._to = broker(options, Device("import", CLIENT_ID, "import"))
        self._url, self._rate, self._patience = options.url, rate, patience
        self._flying: dict[int, HistoryMessage] = {}
        self._todo: deque[HistoryMessage] = deque()
        self._woken = asyncio.Event()
        self._unheard = 0
        self._denied = ""
        self._begun, self._sent = time.monotonic(), 0
        self._heard = self._begun

    async def deliver(self, messages: list[HistoryMessage], away: Callable[[str], None]) -> None:
        """Returns once all are acknowledged; what was in flight when a connection broke goes out again.

        Raises Problems: nobody there, or nobody who listens, for too long; an account that may not publish.
        """
        self._todo.extend(messages)
        self._heard = time.monotonic()
        while self._todo:
            why = "no collector has subscribed"
            try:
                async with Wire(self._to, None, self._acknowledged) as wire:
                    await self._through(wire)
            except (aiomqtt.MqttError, OSError) as error:
                why = str(error)
            self._todo.extendleft(reversed(self._flying.values()))
            self._flying.clear()
            if self._todo:
                self._give_up_if_due(why)
                away(why)
                await asyncio.sleep(_PAUSE)

    def _give_up_if_due(self, why: str) -> None:
        if self._denied:
            mend = "let its account write nagari/v1/+/+/tele, see docs/storage-moving.md"
            raise Problems.one(self._url, f"the broker refuses {self._denied}", mend)
        if time.monotonic() - self._heard > self._patience:
            mend = "when broker and collector are well, run the same command: it goes on where it stood"
            raise Problems.one(self._url, f"takes nothing ({why})", mend)

    async def _through(self, wire: Wire) -> None:
        """Until all is acknowledged, or one is not taken. Raises MqttError when the connection breaks."""
        self._unheard = 0
        listening = asyncio.create_task(_listen(wire))
        try:
            while (self._todo or self._flying) and not self._denied and not self._unheard:
                self._fill(wire)
                self._woken.clear()
                woken = asyncio.create_task(self._woken.wait())
                done, _ = await asyncio.wait(
                    {woken, listening}, timeout=_PAUSE, return_when=asyncio.FIRST_COMPLETED
                )
                woken.cancel()
                if listening in done:
                    listening.result()
                    return
                await self._keep_the_rate()
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    def _fill(self, wire: Wire) -> None:
        while self._todo and len(self._flying) < IN_FLIGHT:
            message = self._todo[0]
            number = wire.send(message.topic, message.payload)
            self._flying[number] = self._todo.popleft()

    async def _keep_the_rate(self) -> None:
        if self._rate:
            early = self._sent / self._rate - (time.monotonic() - self._begun)
            if early > 0.05:
                await asyncio.sleep(min(early, _PAUSE))

    def _acknowledged(self, number: int, answer: PubAckAnswer) -> None:
        message = self._flying.pop(number, None)
        if message is None:
            return
        if answer == "taken":
            self._sent += message.values
            self._heard = time.monotonic()
        else:
            self._todo.appendleft(message)
            self._unheard += answer == "unheard"
            self._denied = message.topic if answer == "refused" else self._denied
        self._woken.set()


async def _listen(wire: Wire) -> None:
    """Nothing is to be heard; but a connection that breaks is told here."""
    async for _ in wire.messages:
        pass
