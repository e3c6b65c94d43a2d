"""Starts the workers, starts again those that fail, and says when the process must end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping

from collector.supervision.policy import Policy, Standing
from devices.problems import Faults

log = logging.getLogger(__name__)
Work = Callable[[], Awaitable[object]]
Sleep = Callable[[float], Awaitable[object]]


class Supervisor:
    """Each worker is a task on the loop that it is added on. `clock` gives monotonic seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, sleep: Sleep = asyncio.sleep) -> None:
        self._clock, self._sleep = clock, sleep
        self._standings: dict[str, Standing] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ended: asyncio.Future[Faults] | None = None

    def add(self, name: str, work: Work, policy: Policy) -> None:
        """Begin. `work` runs until it is cancelled; if it returns or raises, it has failed."""
        standing = self._standings[name] = Standing(policy)
        self._tasks[name] = asyncio.create_task(self._attend(name, work, standing), name=name)

    async def ended(self) -> Faults:
        """Returns when going on would be wrong, with the reason."""
        return await asyncio.shield(self._end)

    async def stop(self, names: Collection[str], seconds: float) -> bool:
        """Cancel these workers and wait for them; whether all have ended in time."""
        tasks = {task for name in names if (task := self._tasks.pop(name, None))}
        for task in tasks:
            task.cancel()
        _, late = await asyncio.wait(tasks, timeout=seconds) if tasks else (tasks, tasks)
        for task in late:
            log.error("%s did not stop within %.0f s; it is left behind", task.get_name(), seconds)
        return not late

    @property
    def running(self) -> list[str]:
        """The workers that were not stopped."""
        return list(self._tasks)

    def up(self, name: str) -> bool:
        """Whether the worker runs now."""
        return name in self._standings and self._standings[name].up

    def restarts(self) -> Mapping[str, int]:
        """By worker how often it was started again."""
        return {name: standing.restarts for name, standing in self._standings.items()}

    def troubles(self) -> Mapping[str, str]:
        """What is wrong with workers, by name; of those that run and have run long enough nothing."""
        now = self._clock()
        said = ((name, standing.trouble(now)) for name, standing in self._standings.items())
        return {name: trouble for name, trouble in said if trouble}

    @property
    def _end(self) -> asyncio.Future[Faults]:
        if self._ended is None:
            self._ended = asyncio.get_running_loop().create_future()
        return self._ended

    async def _attend(self, name: str, work: Work, standing: Standing) -> None:
        while True:
            standing.begins(self._clock())
            error = await _outcome(name, work)
            why = _told(error)
            hopeless = error is not None and standing.policy.hopeless(error)
            wait = standing.fails(self._clock(), why, hopeless=hopeless)
            if wait is None:
                break
            log.error("%s stopped (%s); it is started again in %.1f s", name, why, wait)
            await self._sleep(wait)
        if not self._end.done():
            log.critical("%s stopped (%s); the process ends", name, why)
            times = f"{standing.restarts} restart{'s' if standing.restarts > 1 else ''}"
            what = f"{why}, after {times}" if standing.restarts else why
            self._end.set_result(Faults.one(name, what, standing.policy.mend))


async def _outcome(name: str, work: Work) -> Exception | None:
    """What the work ended of; None if it returned."""
    try:
        await work()
    except Faults as faults:  # they say it in a sentence
        return faults
    except Exception as error:
        log.exception("%s: a fault", name)
        return error
    return None


def _told(error: Exception | None) -> str:
    """Why a worker ended, in a sentence."""
    if error is None:
        return "it ended unasked"
    if isinstance(error, Faults):
        return "; ".join(problem.what for problem in error.problems)
    return f"{type(error).__name__}: {error}"
