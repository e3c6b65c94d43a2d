"""The demo's processes: this one is collector and page; broker, agent and regency are its children."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Self

from collector.broker import LocalBroker, start_broker
from collector.broker.child import spawn, stop
from collector.core.config import load
from collector.demo.plan import DemoPlan
from collector.supervision.threads import run_loop

_LOOK_S = 1.0
Announce = Callable[[str], None]


def run_demo(plan: DemoPlan, ready: Callable[[LocalBroker], None], say: Announce) -> None:
    """Run until SIGINT or SIGTERM. `ready` hears when the page is there, `say` when a child has ended.

    Raises Problems.
    """
    with _broker(plan) as broker, _agent(plan) as agent, _regency(plan) as regency:
        run_loop(_collect(plan, broker, (agent, regency), ready, say))


@contextmanager
def _broker(plan: DemoPlan) -> Iterator[LocalBroker]:
    broker = start_broker(plan.folder / "broker", plan.mqtt)
    if broker.kind == "embedded":  # it keeps no session from one start to the next: none is lost
        (plan.folder / "data" / "mqtt-session").unlink(missing_ok=True)
    try:
        yield broker
    finally:
        broker.stop()


class _Child:
    """A `nagari` command as a child process; its log is `name`.log in the demo's folder."""

    def __init__(self, plan: DemoPlan, name: str, arguments: Sequence[str], *, heard: bool = False) -> None:
        self.name = name
        self._command = [sys.executable, "-m", "collector.cli", *arguments]
        self._log = plan.folder / f"{name}.log"
        self._heard = heard
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            stop(self._process)

    def start(self) -> None:
        self._process = spawn(self._command, self._log, _clean(), heard=self._heard)

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None


def _agent(plan: DemoPlan) -> _Child:
    """The agent, which measures this machine: the demo's only real device."""
    broker = f"mqtt://127.0.0.1:{plan.mqtt}"
    return _Child(
        plan,
        "agent",
        ["agent", "--broker", broker, "--region", str(plan.region), "--device", plan.publisher],
    )


def _regency(plan: DemoPlan) -> _Child:
    """The simulator of all other devices, with the scenario's faults."""
    story = ["--scenario", plan.scenario] if plan.scenario else []
    command = ["simulate", "--config", str(plan.config), "--skip", plan.publisher, *story]
    return _Child(plan, "regency", command, heard=True)


def _clean() -> dict[str, str]:
    """Environment of the children: one malloc arena, to save memory; no buffering of output."""
    return {"MALLOC_ARENA_MAX": "1", "PYTHONUNBUFFERED": "1"}


async def _collect(
    plan: DemoPlan,
    broker: LocalBroker,
    children: Sequence[_Child],
    ready: Callable[[LocalBroker], None],
    say: Announce,
) -> None:
    from collector import app  # noqa: PLC0415 (the heaviest part: the others start while it is loaded)

    up = asyncio.Event()
    watch = asyncio.create_task(_watch(broker, children, say))
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


async def _watch(broker: LocalBroker, children: Sequence[_Child], say: Announce) -> None:
    """Restart a child that ended. A broker that ended is only reported: its data may be damaged."""
    gone = False
    while True:
        await asyncio.sleep(_LOOK_S)
        for child in children:
            if not child.alive():
                say(f"{child.name} ended; starting it again ({child.name}.log in the demo's folder says why)")
                child.start()
        if not broker.alive() and not gone:
            gone = True
            say("the broker ended; its log is in the demo's folder; start the demo anew")
