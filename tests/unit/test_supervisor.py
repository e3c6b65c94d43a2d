"""A worker that fails is started again, ever later, or ends the process: as its policy says."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from collector.operation.policies import POLICIES
from collector.store.base import StoreError
from collector.supervision.following import Following
from collector.supervision.policy import Policy, Standing
from collector.supervision.supervisor import Supervisor
from collector.supervision.threads import ending, in_thread, within
from devices.problems import Faults


def test_a_worker_that_may_fail_twice_is_given_up_at_the_third_failure_in_a_row() -> None:
    standing = Standing(Policy(tries=2))
    waits = []
    for now in range(3):
        standing.begins(now)
        waits.append(standing.fails(now, "x"))
    assert [wait is None for wait in waits] == [False, False, True]
    assert standing.restarts == 2


def test_what_ran_long_enough_in_between_is_forgiven() -> None:
    standing = Standing(Policy(tries=1, stable=60))
    for now in (0.0, 100.0, 200.0, 300.0):
        standing.begins(now)
        assert standing.fails(now + 60, "x") is not None
    standing.begins(400)
    assert standing.fails(401, "x") is None


def test_the_wait_grows_and_begins_small_again_after_a_stable_run() -> None:
    standing = Standing(Policy(first=1.0, most=16.0, stable=60))
    waits = []
    for now in range(8):
        standing.begins(now)
        waits.append(standing.fails(now, "x") or 0.0)
    assert waits[-1] >= 8.0
    assert max(waits) <= 16.0
    standing.begins(100)
    assert (standing.fails(160, "x") or 0.0) <= 1.0


def test_its_trouble_is_told_until_it_has_run_long_enough() -> None:
    standing = Standing(Policy(stable=60))
    standing.begins(0)
    assert standing.trouble(1) == ""
    standing.fails(2, "OSError: no")
    assert standing.trouble(3) == "stopped by a fault: OSError: no; it is started again"
    standing.begins(4)
    assert standing.trouble(5) == "restarted once: OSError: no"
    standing.fails(6, "OSError: again")
    standing.begins(7)
    assert standing.trouble(8) == "restarted 2 times: OSError: again"
    assert standing.trouble(67) == ""


def test_no_fault_of_the_store_and_of_no_chore_ends_the_process() -> None:
    may_end = {name for name, policy in POLICIES.items() if policy.tries is not None}
    assert may_end == {"journal", "ingest", "alarming"}


class Rehearsal:
    """A supervisor whose time passes only while it waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.supervisor = Supervisor(clock=lambda: self.now, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


async def _until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.001)


async def test_a_worker_that_raises_or_returns_is_started_again_and_its_neighbour_never() -> None:
    stage, turns, still = Rehearsal(), [], []

    async def failing() -> None:
        turns.append(1)
        if len(turns) == 1:
            raise ValueError("boom")
        if len(turns) > 2:
            await asyncio.Event().wait()

    async def fine() -> None:
        still.append(1)
        await asyncio.Event().wait()

    stage.supervisor.add("failing", failing, Policy())
    stage.supervisor.add("fine", fine, Policy())
    await _until(lambda: len(turns) == 3)
    assert stage.supervisor.restarts() == {"failing": 2, "fine": 0}
    assert stage.supervisor.troubles() == {"failing": "restarted 2 times: it ended unasked"}
    assert stage.supervisor.up("failing")
    assert still == [1]
    assert await stage.supervisor.stop(["failing", "fine"], 1)
    assert stage.supervisor.running == []


async def test_the_process_is_to_end_when_its_policy_says_so_and_the_sentence_says_why() -> None:
    stage = Rehearsal()

    async def failing() -> None:
        raise ValueError("boom")

    stage.supervisor.add("alarming", failing, Policy(tries=3, mend="look at the log"))
    faults = await asyncio.wait_for(stage.supervisor.ended(), 10)
    assert isinstance(faults, Faults)
    assert str(faults) == "alarming: ValueError: boom, after 3 restarts; look at the log"


async def test_an_error_that_no_other_try_in_this_process_mends_ends_it_at_once() -> None:
    stage = Rehearsal()
    errors = [StoreError("away", permanent=False), StoreError("the file is damaged", permanent=True)]

    async def failing() -> None:
        raise errors.pop(0)

    stage.supervisor.add("storing", failing, POLICIES["storing"])
    faults = await asyncio.wait_for(stage.supervisor.ended(), 10)
    assert str(faults).startswith("storing: StoreError: the file is damaged, after 1 restart; the damaged")


async def test_a_worker_that_does_not_end_is_left_behind() -> None:
    supervisor = Supervisor()

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if released.is_set():
                    raise

    released = asyncio.Event()
    supervisor.add("stubborn", stubborn, Policy())
    await asyncio.sleep(0)
    [task] = [task for task in asyncio.all_tasks() if task.get_name() == "stubborn"]
    assert not await supervisor.stop(["stubborn"], 0.05)
    released.set()
    task.cancel()


async def test_work_in_a_thread_is_stopped_by_a_cancellation_and_has_ended_then() -> None:
    stop, ended = threading.Event(), []

    def work() -> None:
        stop.wait(10)
        ended.append(1)

    task = asyncio.create_task(ending(in_thread("work", work), stop.set))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [1]


async def test_a_thread_that_hangs_holds_nothing_up() -> None:
    release = threading.Event()
    begun = time.monotonic()
    assert not await within("hanging", 0.05, release.wait)
    assert time.monotonic() - begun < 5
    release.set()
    assert not await within("failing", 5, lambda: 1 / 0)
    assert await within("fine", 5, lambda: None)


class Story:
    """A follower that recovers and runs as the test says."""

    def __init__(self, recovers: bool, runs: bool) -> None:
        self.recovers, self.runs = recovers, runs
        self.did: list[str] = []
        self._stop = threading.Event()

    def recover(self) -> None:
        self.did.append("recover")
        if not self.recovers:
            raise ValueError("no snapshot")

    def run(self) -> None:
        self.did.append("run")
        if not self.runs:
            raise ValueError("poison")
        self._stop.wait(10)
        self.did.append("commit")

    def stop(self) -> None:
        self._stop.set()


async def test_a_follower_that_fails_is_made_anew_and_takes_its_place_only_once_it_has_recovered() -> None:
    stage = Rehearsal()
    cast = [Story(True, False), Story(False, True), Story(True, True)]
    made, shown = iter(cast), []
    following = Following("follower", lambda: next(made), shown.append)
    stage.supervisor.add("follower", following.work, Policy())
    await _until(lambda: following.follows and following.current is cast[2])
    assert following.tried.is_set()
    assert shown == [cast[0], cast[2]]
    assert await stage.supervisor.stop(["follower"], 5)
    assert [story.did for story in cast] == [["recover", "run"], ["recover"], ["recover", "run", "commit"]]
    assert not following.follows
