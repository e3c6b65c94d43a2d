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
from collector.demo.plan import Plan
from collector.supervision.threads import run_loop

_LOOK_S = 1.0
Say = Callable[[str], None]


def run_demo(plan: Plan, ready: Callable[[LocalBroker], None], say: Say) -> None:
    """Run until SIGINT or SIGTERM. `ready` hears when the page is there, `say` when a child has ended.

    Raises Problems.
    """
    with _broker(plan) as broker, _agent(plan) as agent, _regency(plan) as regency:
        run_loop(_collect(plan, broker, (agent, regency), ready, say))


@contextmanager
def _broker(plan: Plan) -> Iterator[LocalBroker]:
    broker = start_broker(plan.folder / "broker", plan.mqtt)
    try:
        yield broker
    finally:
        broker.stop()


class _Child:
    """A command of ours in a process of its own, as it would be in the field. Its log is `name`.log."""

    def __init__(self, plan: Plan, name: str, arguments: Sequence[str], *, heard: bool = False) -> None:
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


def _agent(plan: Plan) -> _Child:
    """The one real device: this machine."""
    broker = f"mqtt://127.0.0.1:{plan.mqtt}"
    return _Child(
        plan,
        "agent",
        ["agent", "--broker", broker, "--region", str(plan.region), "--device", plan.publisher],
    )


def _regency(plan: Plan) -> _Child:
    """All other devices, with the story that the scenario tells."""
    story = ["--scenario", plan.scenario] if plan.scenario else []
    command = ["simulate", "--config", str(plan.config), "--skip", plan.publisher, *story]
    return _Child(plan, "regency", command, heard=True)


def _clean() -> dict[str, str]:
    """One malloc arena keeps a small process small."""
    return {"MALLOC_ARENA_MAX": "1", "PYTHONUNBUFFERED": "1"}


async def _collect(
    plan: Plan,
    broker: LocalBroker,
    children: Sequence[_Child],
    ready: Callable[[LocalBroker], None],
    say: Say,
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


async def _watch(broker: LocalBroker, children: Sequence[_Child], say: Say) -> None:
    """Start a child again when it ended; a broker that is gone is only said, its data might be bad."""
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
