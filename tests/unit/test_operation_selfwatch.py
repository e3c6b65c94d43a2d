"""What the collector says of its own channels, so that rules can raise it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from collector.alarms.model import Alert, Transition
from collector.core.config import Config
from collector.notify.channel import Note, NotSent
from collector.notify.consumer import ChannelConsumer
from collector.operation.selfwatch import SelfWatch
from collector.state import State
from devices.catalogue import KINDS


class Refusing:
    name = "webhook:test"

    def __init__(self, error: NotSent) -> None:
        self.error = error

    async def send(self, note: Note) -> None:
        raise self.error

    async def close(self) -> None:
        pass


def parts(consumer: ChannelConsumer) -> Any:
    """As much of the collector as the flags look at, all of it well but the channel."""
    return SimpleNamespace(
        config=Config(),
        storing=SimpleNamespace(ledger=SimpleNamespace(dropped=0), status="ok"),
        journal=SimpleNamespace(full=False, damage=[]),
        state=SimpleNamespace(damage=""),
        decoder=SimpleNamespace(directory=lambda _: SimpleNamespace(unclaimed=0)),
        alarming=SimpleNamespace(course=SimpleNamespace(region=None)),
        supervisor=SimpleNamespace(up=lambda _: True, troubles=dict),
        session=SimpleNamespace(lost_at=-1e9, lost_s=0.0, rivals=SimpleNamespace(at=-1e9)),
        consumers=[consumer],
    )


@pytest.mark.parametrize(
    ("error", "flag"),
    [
        (NotSent("answered 404"), "notify_stuck"),
        (NotSent("answered 400", permanent=True), "notify_skipped"),
    ],
)
async def test_a_note_that_does_not_arrive_is_flagged(tmp_path: Path, error: NotSent, flag: str) -> None:
    state = State(tmp_path / "state.db")
    state.consumer(Refusing.name, 0)
    alert = Alert("a1", "rule", "v1", "s", "d", "m", "critical", "active", 1, 1.0, 1)
    state.commit(10, [Transition("raised", 1, 0, alert)], lambda _: {"en": "Power"})
    consumer = ChannelConsumer(Refusing(error), state)
    watch = SelfWatch(parts(consumer), SimpleNamespace(flags=dict), None)  # type: ignore[arg-type]
    before = watch.flags(1000.0)
    task = asyncio.create_task(consumer.run())
    async with asyncio.timeout(10):
        while not consumer.trouble:
            await asyncio.sleep(0.005)
    after = watch.flags(1000.0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not before["notify_stuck"]
    assert not before["notify_skipped"]
    assert [name for name, up in after.items() if up] == [flag]


def test_the_flag_of_lost_notes_is_a_metric_of_the_collector() -> None:
    assert "notify_skipped" in KINDS["collector"].metrics
