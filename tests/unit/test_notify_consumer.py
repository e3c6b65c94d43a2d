from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.alarms.model import Alert, Transition, TransitionKind
from collector.notify.channel import Note, NotSent
from collector.notify.consumer import Consumer
from collector.state import State


class Recorder:
    """A channel that keeps what it is given, and fails as it is told."""

    name = "webhook:test"

    def __init__(self, *failures: Exception) -> None:
        self.got: list[Note] = []
        self.tried: list[str] = []
        self.closed = False
        self._failures = list(failures)

    async def send(self, note: Note) -> None:
        self.tried.append(note.key)
        if self._failures:
            raise self._failures.pop(0)
        self.got.append(note)

    async def close(self) -> None:
        self.closed = True


class Field:
    """A real state.db that alerts are raised into."""

    def __init__(self, folder: Path) -> None:
        self.state = State(folder / "state.db")
        self.offset = self.state.cursor()

    def happens(self, kind: TransitionKind, alert: str = "a1") -> None:
        at = self.offset + 1
        made = Alert(alert, "rule", "v1", "s", "d", "m", "major", "active", at, 1.0, 1, raised_at=at)
        change = Transition(kind, at, self.offset, made)
        self.offset += 10
        self.state.commit(self.offset, [change], lambda _: {"id": "Daya", "en": "Power"})


@pytest.fixture
def field(tmp_path: Path) -> Field:
    field = Field(tmp_path)
    field.state.consumer("webhook:test", 0)
    return field


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)


async def follow(consumer: Consumer, true: Callable[[], bool]) -> None:
    task = asyncio.create_task(consumer.run())
    try:
        await until(true)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def make(channel: Recorder, field: Field, waits: list[float] | None = None) -> Consumer:
    async def sleep(seconds: float) -> None:
        if waits is not None:
            waits.append(seconds)
        await asyncio.sleep(0)

    return Consumer(channel, field.state, sleep=sleep, poll=0.05)


async def test_what_was_raised_cleared_and_acked_is_told_in_order_and_the_rest_is_not(field: Field) -> None:
    for kind in ("raised", "shelved", "commented", "acked", "cleared"):
        field.happens(kind)
    channel = Recorder()
    consumer = make(channel, field)
    await follow(consumer, lambda: field.state.consumer("webhook:test").seq == 5)
    assert [note.kind for note in channel.got] == ["raised", "acked", "cleared"]
    assert channel.got[0].summary == {"id": "Daya", "en": "Power"}
    assert (consumer.counts["sent"], consumer.counts["untold"]) == (3, 2)
    assert channel.closed


async def test_a_failing_channel_tries_the_same_note_again_for_as_long_as_it_takes(field: Field) -> None:
    field.happens("raised")
    field.happens("cleared")
    waits: list[float] = []
    channel = Recorder(*[NotSent("down")] * 12)
    consumer = make(channel, field, waits)
    await follow(consumer, lambda: len(channel.got) == 2)
    assert len(set(channel.tried[:13])) == 1, "always the same key"
    assert (consumer.counts["failed"], consumer.counts["retries"], consumer.counts["sent"]) == (12, 12, 2)
    assert all(0.5 <= wait <= 300 for wait in waits)
    assert waits[6] > waits[0]
    assert consumer.trouble == ""


async def test_retry_after_is_heeded(field: Field) -> None:
    field.happens("raised")
    waits: list[float] = []
    channel = Recorder(NotSent("busy", retry_after=42.0))
    await follow(make(channel, field, waits), lambda: len(channel.got) == 1)
    assert waits == [42.0]


async def test_a_note_refused_for_good_is_counted_and_the_next_one_is_sent(field: Field) -> None:
    field.happens("raised")
    field.happens("cleared")
    channel = Recorder(NotSent("answered 400", permanent=True))
    consumer = make(channel, field)
    await follow(consumer, lambda: len(channel.got) == 1)
    assert [note.kind for note in channel.got] == ["cleared"]
    assert (consumer.counts["skipped"], consumer.counts["failed"]) == (1, 1)


async def test_after_a_restart_it_goes_on_where_it_was(field: Field) -> None:
    field.happens("raised", "a1")
    first = Recorder()
    await follow(make(first, field), lambda: field.state.consumer("webhook:test").seq == 1)
    field.happens("raised", "a2")
    stuck = Recorder(*[NotSent("down")] * 100000)
    await follow(make(stuck, field), lambda: len(stuck.tried) > 3)
    last = Recorder()
    await follow(make(last, field), lambda: field.state.consumer("webhook:test").seq == 2)
    assert [note.alert["id"] for note in first.got + last.got] == ["a1", "a2"]
    assert last.got[0].key == stuck.tried[0]


async def test_a_commit_wakes_it_at_once(field: Field) -> None:
    channel = Recorder()
    consumer = Consumer(channel, field.state, poll=3600.0)
    task = asyncio.create_task(consumer.run())
    await asyncio.sleep(0.1)
    await asyncio.to_thread(field.happens, "raised")
    consumer.wake()
    await until(lambda: len(channel.got) == 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_rows_that_the_outbox_had_to_drop_are_counted(field: Field) -> None:
    for _ in range(5):
        field.happens("raised")
    field.state.prune_outbox(now=10**18, keep=0, age=0, cap=2)
    channel = Recorder()
    consumer = make(channel, field)
    await follow(consumer, lambda: len(channel.got) == 2)
    assert consumer.counts["missed"] == 3


async def test_a_fault_of_our_own_is_logged_and_it_starts_again_from_its_cursor(
    field: Field, caplog: pytest.LogCaptureFixture
) -> None:
    field.happens("raised")
    channel = Recorder(RuntimeError("a bug"))
    consumer = make(channel, field)
    await follow(consumer, lambda: len(channel.got) == 1)
    assert consumer.counts["faults"] == 1
    assert "starts again from its cursor" in caplog.text
