"""A simulation in real time against a real broker: one DeviceClient per publisher."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from devices.client import ClientOptions, DeviceClient
from devices.model import Command, Device
from devices.outbox import Outgoing
from simulators.publisher import Item
from simulators.simulation import Simulation

log = logging.getLogger(__name__)

_LONGEST_S: Final = 1.0  # between looks at the clock
_DRAIN_S: Final = 2.0


async def _ignore() -> None:
    """Nobody can do this here."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a scenario may do to things that are not devices: restart the broker, cut the collector's link."""

    restart_broker: Callable[[], Awaitable[None]] = _ignore
    cut_collector: Callable[[], Awaitable[None]] = _ignore
    heal_collector: Callable[[], Awaitable[None]] = _ignore


class Live:
    """Drives a simulation by the clock. `options` says how a publisher gets into the broker."""

    def __init__(
        self,
        sim: Simulation,
        options: Callable[[Device], ClientOptions],
        surroundings: Surroundings | None = None,
    ) -> None:
        self.messages = 0
        self._sim = sim
        self._options = options
        self._around = surroundings or Surroundings()
        self._clients: dict[str, DeviceClient] = {}
        self._moves: dict[str, asyncio.Task[None]] = {}  # of each publisher, the last coming or going
        self._jobs: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()

    async def run(self, stop: asyncio.Event, duration: float | None = None) -> None:
        """Publish until `stop` or for `duration` seconds, then leave with a farewell."""
        began = time.monotonic()
        stopped = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                passed = time.monotonic() - began
                due = passed if duration is None else min(passed, duration)
                for item in self._sim.until(round(due * 1000)):
                    self._take(item)
                if duration is not None and passed >= duration:
                    return
                await self._rest(began, stopped)
        finally:
            stopped.cancel()
            await self._leave()

    async def _rest(self, began: float, stopped: asyncio.Task[bool]) -> None:
        due = began + self._sim.next_at() / 1000 - time.monotonic()
        self._wake.clear()
        woken = asyncio.create_task(self._wake.wait())
        await asyncio.wait(
            {woken, stopped}, timeout=max(0.0, min(due, _LONGEST_S)), return_when=asyncio.FIRST_COMPLETED
        )
        woken.cancel()

    def _take(self, item: Item) -> None:
        if item.what == "publish":
            self.messages += 1
            self._clients[item.publisher].publish(Outgoing(item.topic, item.payload))
        elif item.what == "connect":
            self._come(item.publisher)
        elif item.what == "drop":
            self._go(item.publisher)
        else:
            self._change_surroundings(item)

    def _come(self, publisher: str) -> None:
        units = self._sim.publishers[publisher].units
        first, others = units[0].device, [unit.device for unit in units[1:]]
        obeys = any(unit.kind.commands for unit in units)
        client = DeviceClient(self._options(first), first, others, self._obey if obeys else None)
        self._clients[publisher] = client
        before = self._moves.get(publisher)

        async def join() -> None:
            if before is not None:
                await before
            await client.__aenter__()

        self._moves[publisher] = asyncio.create_task(join())

    def _go(self, publisher: str) -> None:
        client = self._clients.pop(publisher)
        before = self._moves[publisher]

        async def part() -> None:
            await before
            await client.drain(_DRAIN_S)
            await client.abort()

        self._moves[publisher] = asyncio.create_task(part())

    def _change_surroundings(self, item: Item) -> None:
        around = self._around
        do = {
            "broker_restart": around.restart_broker,
            "collector_cut": around.cut_collector,
            "collector_whole": around.heal_collector,
        }[item.what]
        job = asyncio.create_task(_logged(item.what, do))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def _obey(self, device: Device, command: Command) -> str:
        try:
            return self._sim.obey(device.id, command)
        finally:
            self._wake.set()

    async def _leave(self) -> None:
        await asyncio.gather(*self._moves.values(), *self._jobs, return_exceptions=True)
        await asyncio.gather(
            *(client.__aexit__(None, None, None) for client in self._clients.values()), return_exceptions=True
        )


async def _logged(what: str, do: Callable[[], Awaitable[None]]) -> None:
    try:
        await do()
    except OSError as error:
        log.warning("%s: %s", what, error)
