"""Work in threads that never keep a process from ending: each its own, a daemon, waited for within bounds."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import uvloop

log = logging.getLogger(__name__)
T = TypeVar("T")


def in_thread(name: str, work: Callable[[], T]) -> asyncio.Future[T]:
    """Begin the work in a thread of that name; the future gets what it returns or raises.

    Cancelling the future does not end the thread: whoever began it must have a way to stop it.
    """
    outcome: Future[T] = Future()
    outcome.set_running_or_notify_cancel()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # whatever it is, the one who waits gets it
            outcome.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return asyncio.wrap_future(outcome)


async def ending(running: asyncio.Future[T], stop: Callable[[], object]) -> T:
    """Await what runs. Cancelled, call `stop` (which does not block), and wait for the end that follows."""
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop()
        await asyncio.wait({running})
        raise


async def within(name: str, seconds: float, work: Callable[[], object]) -> bool:
    """Do it in a thread; whether it returned in time. A fault or a hang is told, never raised."""
    try:
        async with asyncio.timeout(seconds):
            await in_thread(name, work)
    except TimeoutError:
        log.error("%s took more than %.0f s; it is left behind", name, seconds)  # noqa: TRY400 (no fault)
        return False
    except Exception:
        log.exception("%s: a fault", name)
        return False
    return True


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run it on a loop of its own, as `uvloop.run` does, but wait for no thread that hangs."""
    asyncio.Runner(loop_factory=uvloop.new_event_loop).run(main)
