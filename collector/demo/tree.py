"""The demo's processes: this one is collector and page; broker and agent are its children."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import uvloop

from collector.broker import LocalBroker, start_broker
from collector.broker.child import spawn, stop
from collector.core.config import load
from collector.demo.plan import Plan

_LOOK_S = 1.0
Say = Callable[[str], None]


def run_demo(plan: Plan, ready: Callable[[LocalBroker], None], say: Say) -> None:
    """Run until SIGINT or SIGTERM. `ready` hears when the page is there, `say` when a child has ended.

    Raises Problems.
    """
    with _broker(plan) as broker, _Agent(plan) as agent:
        uvloop.run(_collect(plan, broker, agent, ready, say))


@contextmanager
def _broker(plan: Plan) -> Iterator[LocalBroker]:
    broker = start_broker(plan.folder / "broker", plan.mqtt)
    try:
        yield broker
    finally:
        broker.stop()


class _Agent:
    """The agent in a process of its own, as it would be in the field."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _Agent:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            stop(self._process)

    def start(self) -> None:
        plan = self._plan
        command = [
            sys.executable,
            "-m",
            "collector.cli",
            "agent",
            "--broker",
            f"mqtt://127.0.0.1:{plan.mqtt}",
        ]
        command += ["--region", str(plan.region), "--device", plan.publisher]
        self._process = spawn(command, plan.folder / "agent.log", _clean())

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None


def _clean() -> dict[str, str]:
    """One malloc arena keeps a small process small."""
    return {"MALLOC_ARENA_MAX": "1", "PYTHONUNBUFFERED": "1"}


async def _collect(
    plan: Plan, broker: LocalBroker, agent: _Agent, ready: Callable[[LocalBroker], None], say: Say
) -> None:
    from collector import app  # noqa: PLC0415 (the heaviest part: broker and agent start while it is loaded)

    up = asyncio.Event()
    watch = asyncio.create_task(_watch(broker, agent, say))
    told = asyncio.create_task(_tell(up, lambda: ready(broker)))
    try:
        await app.run(load(plan.config, {}), ready=up)
    finally:
        for task in (watch, told):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _tell(up: asyncio.Event, ready: Callable[[], None]) -> None:
    await up.wait()
    ready()


async def _watch(broker: LocalBroker, agent: _Agent, say: Say) -> None:
    """Start the agent again when it ended; a broker that is gone is only said, its data might be bad."""
    gone = False
    while True:
        await asyncio.sleep(_LOOK_S)
        if not agent.alive():
            say("the agent ended; starting it again (its log is agent.log in the demo's folder)")
            agent.start()
        if not broker.alive() and not gone:
            gone = True
            say("the broker ended; its log is in the demo's folder; start the demo anew")
