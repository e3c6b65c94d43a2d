"""A live simulation from start to end: how its devices get in, and what a scenario may do around them."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from devices.client import ClientOptions
from devices.model import Device
from devices.problems import Problem, Problems
from devices.wire import broker
from simulators.live import Live, Surroundings
from simulators.proxy import Proxy
from simulators.scenario import Scenario
from simulators.simulation import Simulation

_KNOCK_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Access:
    """The broker at `url`. `secrets`: a folder of DEVICE.password and DEVICE.key files.

    `proxy`: the port of a link for the collector, which a scenario can cut, 0 for none; `broker_command`:
    what restarts the broker.
    """

    url: str
    ca: Path | None = None
    secrets: Path | None = None
    proxy: int = 0
    broker_command: str = ""

    def options(self, device: Device) -> ClientOptions:
        """How a publisher gets in."""
        password, key = self._secret(device, "password"), self._secret(device, "key")
        return ClientOptions(self.url, password_file=password, command_key_file=key, ca=self.ca)

    def _secret(self, device: Device, suffix: str) -> Path | None:
        file = self.secrets / f"{device.id}.{suffix}" if self.secrets else None
        return file if file is not None and file.exists() else None

    def check(self, scenario: Scenario) -> None:
        """Raise Problems if the scenario breaks something that is out of reach."""
        kinds = {fault.kind for fault in scenario.faults}
        problems = []
        if "collector_link_dead" in kinds and not self.proxy:
            mend = "give --proxy PORT, and that port in the collector's mqtt.url"
            problems.append(Problem(scenario.name, "cuts the collector's own link", mend))
        if "broker_restart" in kinds and not self.broker_command:
            mend = "give --broker-command, such as 'systemctl restart mosquitto'"
            problems.append(Problem(scenario.name, "restarts the broker", mend))
        if self.secrets is not None and not self.secrets.is_dir():
            problems.append(Problem(str(self.secrets), "is no folder", "name one with --secrets"))
        if problems:
            raise Problems(problems)

    async def restart_broker(self) -> None:
        """Run the command; its exit code is its own affair."""
        process = await asyncio.create_subprocess_shell(self.broker_command)
        await process.wait()


async def run_live(sim: Simulation, access: Access, duration: float | None) -> int:
    """Publish for `duration` seconds, or until SIGINT or SIGTERM; the messages published. Raises Problems."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await _knock(sim, access)
    async with AsyncExitStack() as stack:
        around = Surroundings(access.restart_broker)
        if access.proxy:
            link = await _opened(stack, access)
            around = Surroundings(access.restart_broker, link.cut, link.heal)
        live = Live(sim, access.options, around)
        await live.run(stop, duration)
    return live.messages


async def _knock(sim: Simulation, access: Access) -> None:
    """Whether everybody has what it takes to get in, and the broker is there: afterwards nobody would say."""
    ways = [broker(access.options(each.device), each.device) for each in sim.publishers.values()]
    for way in ways[:1]:
        try:
            async with asyncio.timeout(_KNOCK_S):
                _, writer = await asyncio.open_connection(way.host, way.port)
        except (OSError, TimeoutError) as error:
            why = str(error) or "no answer"
            raise Problems.one(access.url, f"the broker cannot be reached ({why})", "start it") from None
        writer.close()


async def _opened(stack: AsyncExitStack, access: Access) -> Proxy:
    try:
        return await stack.enter_async_context(_link(access))
    except OSError as error:
        where = f"--proxy {access.proxy}"
        raise Problems.one(where, f"cannot be opened ({error.strerror})", "name a free port") from None


def _link(access: Access) -> Proxy:
    parts = urlsplit(access.url)
    port = parts.port or (8883 if parts.scheme == "mqtts" else 1883)
    return Proxy(access.proxy, (parts.hostname or "127.0.0.1", port))
