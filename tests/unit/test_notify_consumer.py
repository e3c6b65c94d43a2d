from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.alarms.model import Alert, Condition, Transition, TransitionKind
from collector.notify.channel import Note, NotSent
from collector.notify.consumer import FAILING, TOLD, ChannelConsumer
from collector.state import OutboxRow, State
from devices.backoff import Backoff

QUICK = Backoff(0.002, 0.01)


class Recorder:
    """A channel that keeps what it is given; fails as told, and for ever for the alerts in `refuses`."""

    name = "webhook:test"

    def __init__(self, *failures: Exception, refuses: dict[str, Exception] | None = None) -> None:
        self.got: list[Note] = []
        self.tried: list[str] = []
        self.at: list[float] = []
        self.closed = False
        self.refuses = refuses or {}
        self._failures = list(failures)

    async def send(self, note: Note) -> None:
        self.tried.append(note.key)
        self.at.append(time.monotonic())
        if self._failures:
            raise self._failures.pop(0)
        if error := self.refuses.get(note.alert_id):
            raise error
        self.got.append(note)

    def told(self) -> list[tuple[str, str]]:
        return [(note.alert_id, note.kind) for note in self.got]

    async def close(self) -> None:
        self.closed = True


class Flaky(Recorder):
    """Fails as the iterator says; then takes everything."""

    def __init__(self, got: list[Note], failing: Iterator[bool]) -> None:
        super().__init__()
        self.got = got
        self.tries = 0
        self._failing = failing

    async def send(self, note: Note) -> None:
        self.tries += 1
        if next(self._failing, False):
            raise NotSent("answered 500")
        self.got.append(note)


def enough(channel: Flaky, tries: int, notes: int) -> bool:
    return channel.tries >= tries or len(channel.got) >= notes


def done(field: Field) -> int:
    """How far the channel is with nothing owed."""
    return -1 if field.state.owed("webhook:test") else field.state.consumer("webhook:test").seq


class Field:
    """A real state.db that alerts are raised into."""

    def __init__(self, folder: Path) -> None:
        self.state = State(folder / "state.db")
        self.offset = self.state.cursor()

    def happens(
        self,
        kind: TransitionKind,
        alert: str = "a1",
        holds: tuple[str, ...] = (),
        condition: Condition = "active",
    ) -> None:
        at = self.offset + 10**9
        made = Alert(
            alert, "rule", "v1", "s", "d", "m", "major", condition, at, 1.0, 1, holds=holds, raised_at=at
        )
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


async def follow(consumer: ChannelConsumer, true: Callable[[], bool]) -> None:
    task = asyncio.create_task(consumer.run())
    try:
        await until(true)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def make(channel: Recorder, field: Field, **settings: Any) -> ChannelConsumer:
    return ChannelConsumer(channel, field.state, **{"retry": QUICK, "pause": QUICK, "poll": 0.05} | settings)


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


async def test_a_note_is_tried_again_for_as_long_as_it_takes_with_the_same_key(field: Field) -> None:
    field.happens("raised")
    channel = Recorder(*[NotSent("down")] * 12)
    consumer = make(channel, field)
    await follow(consumer, lambda: len(channel.got) == 1 and not consumer.stuck)
    assert len(set(channel.tried)) == 1
    assert (consumer.counts["failed"], consumer.counts["retries"], consumer.counts["sent"]) == (12, 12, 1)
    assert consumer.trouble == ""
    assert field.state.owed("webhook:test") == []


async def test_a_note_that_is_always_refused_blocks_no_other_alert(field: Field) -> None:
    field.happens("raised", "bad")
    for number in range(20):
        field.happens("raised", f"a{number}")
    channel = Recorder(refuses={"bad": NotSent("answered 500")})
    consumer = make(channel, field, pause=Backoff(60.0, 60.0))
    await follow(consumer, lambda: len(channel.got) == 20)
    assert consumer.stuck
    assert "answered 500; 1 notes wait" in consumer.trouble


async def test_what_happens_to_one_alert_arrives_in_order_also_after_a_failure(field: Field) -> None:
    for alert in ("a1", "a2"):
        for kind in ("raised", "acked", "cleared"):
            field.happens(kind, alert)
    channel = Recorder(NotSent("answered 503"))
    await follow(make(channel, field), lambda: len(channel.got) == 6)
    for alert in ("a1", "a2"):
        assert [kind for of, kind in channel.told() if of == alert] == ["raised", "acked", "cleared"]


async def test_a_receiver_that_is_down_is_not_asked_for_each_note(field: Field) -> None:
    for number in range(50):
        field.happens("raised", f"a{number}")
    channel = Recorder(*[NotSent("down")] * 1000)
    consumer = make(channel, field, pause=Backoff(60.0, 60.0))
    task = asyncio.create_task(consumer.run())
    await until(lambda: len(channel.tried) == FAILING)
    await asyncio.sleep(0.2)
    assert len(channel.tried) == FAILING
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_once_a_receiver_is_back_everything_that_waited_goes_at_once(field: Field) -> None:
    for number in range(5):
        field.happens("raised", f"a{number}")
    channel = Recorder(*[NotSent("down", retry_after=300.0)] * FAILING)
    await follow(make(channel, field), lambda: len(channel.got) == 5)
    assert {alert for alert, _ in channel.told()} == {f"a{number}" for number in range(5)}


async def test_retry_after_is_heeded(field: Field) -> None:
    field.happens("raised")
    channel = Recorder(NotSent("busy", retry_after=0.3))
    await follow(make(channel, field), lambda: len(channel.got) == 1)
    assert channel.at[1] - channel.at[0] >= 0.3


async def test_a_note_refused_for_good_is_given_up_counted_and_said(field: Field) -> None:
    field.happens("raised", "a1")
    field.happens("raised", "a2")
    channel = Recorder(NotSent("answered 400", permanent=True))
    consumer = make(channel, field)
    await follow(consumer, lambda: len(channel.got) == 1)
    assert channel.told() == [("a2", "raised")]
    assert (consumer.counts["skipped"], consumer.counts["failed"]) == (1, 1)
    assert consumer.losing
    assert consumer.trouble == "answered 400; 1 notes were given up"


async def test_a_note_is_given_up_after_very_many_tries(field: Field) -> None:
    field.happens("raised")
    channel = Recorder(refuses={"a1": NotSent("answered 500")})
    consumer = make(channel, field, most_tries=4)
    await follow(consumer, lambda: consumer.counts["skipped"] == 1 and not consumer.stuck)
    assert len(channel.tried) == 4
    assert field.state.owed("webhook:test") == []


async def test_of_too_many_that_wait_the_oldest_is_given_up(field: Field) -> None:
    for number in range(6):
        field.happens("raised", f"bad{number}")
    field.happens("raised", "good")
    channel = Recorder(refuses={f"bad{number}": NotSent("answered 500") for number in range(6)})
    consumer = make(channel, field, most_waiting=4)
    await follow(consumer, lambda: channel.told() == [("good", "raised")])
    assert consumer.counts["skipped"] == 2
    assert [owed.row.body["id"] for owed in field.state.owed("webhook:test")] == [
        "bad2", "bad3", "bad4", "bad5"
    ]  # fmt: skip


async def test_after_a_restart_it_goes_on_where_it_was(field: Field) -> None:
    field.happens("raised", "a1")
    first = Recorder()
    await follow(make(first, field), lambda: field.state.consumer("webhook:test").seq == 1)
    field.happens("raised", "a2")
    field.happens("cleared", "a2", condition="cleared")
    stuck = Recorder(*[NotSent("down")] * 100000)
    await follow(make(stuck, field), lambda: field.state.consumer("webhook:test").seq == 3)
    field.state.prune_outbox(now=10**18, keep=0, age=0)
    last = Recorder()
    await follow(make(last, field), lambda: len(last.got) == 2)
    assert first.told() + last.told() == [("a1", "raised"), ("a2", "raised"), ("a2", "cleared")]
    assert last.got[0].key == stuck.tried[0]


async def test_what_is_held_is_told_to_nobody(field: Field) -> None:
    field.happens("raised", "a1", holds=("shelved",))
    field.happens("raised", "a2", holds=("suppressed:maintenance",))
    field.happens("cleared", "a1", holds=("shelved",), condition="cleared")
    field.happens("raised", "a3")
    channel = Recorder()
    consumer = make(channel, field)
    await follow(consumer, lambda: len(channel.got) == 1)
    assert channel.told() == [("a3", "raised")]
    assert consumer.counts["untold"] == 3


async def test_an_alert_that_returns_from_the_shelf_is_told_as_it_is_by_then(field: Field) -> None:
    for alert, condition in (("a1", "active"), ("a2", "cleared"), ("a3", "pending")):
        field.happens("shelved", alert, holds=("shelved",))
        field.happens("unshelved", alert, condition=condition)
    field.happens("unshelved", "a4", holds=("suppressed:maintenance",))
    channel = Recorder()
    await follow(make(channel, field), lambda: field.state.consumer("webhook:test").seq == 7)
    assert channel.told() == [("a1", "raised"), ("a2", "cleared")]


async def test_a_commit_wakes_it_at_once(field: Field) -> None:
    channel = Recorder()
    consumer = ChannelConsumer(channel, field.state, poll=3600.0)
    task = asyncio.create_task(consumer.run())
    await asyncio.sleep(0.1)
    await asyncio.to_thread(field.happens, "raised")
    consumer.wake()
    await until(lambda: len(channel.got) == 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_rows_that_the_outbox_had_to_drop_are_counted_and_said(field: Field) -> None:
    for _ in range(5):
        field.happens("raised")
    field.state.prune_outbox(now=10**18, keep=0, age=0, cap=2)
    channel = Recorder()
    consumer = make(channel, field)
    await follow(consumer, lambda: len(channel.got) == 2)
    assert consumer.counts["missed"] == 3
    assert consumer.trouble == "3 notes left the outbox before they could be sent"


async def test_a_fault_of_the_channel_blocks_no_other_note(
    field: Field, caplog: pytest.LogCaptureFixture
) -> None:
    field.happens("raised", "a1")
    field.happens("raised", "a2")
    channel = Recorder(refuses={"a1": RuntimeError("a bug")})
    consumer = make(channel, field)
    await follow(consumer, lambda: channel.told() == [("a2", "raised")])
    assert consumer.counts["faults"] >= 1
    assert "a bug" in caplog.text


async def test_a_fault_of_the_outbox_is_logged_and_it_starts_again_from_its_cursor(
    field: Field, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    field.happens("raised")
    channel = Recorder()
    consumer = make(channel, field)
    real, faults = field.state.outbox, [RuntimeError("disk")]

    def outbox(after: int, limit: int) -> Sequence[OutboxRow]:
        if faults:
            raise faults.pop()
        return real(after, limit)

    monkeypatch.setattr(field.state, "outbox", outbox)
    await follow(consumer, lambda: len(channel.got) == 1)
    assert consumer.counts["faults"] == 1
    assert "starts again from its cursor" in caplog.text


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    happened=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(sorted(TOLD))), max_size=12),
    fails=st.lists(st.booleans(), max_size=30),
    restarts=st.lists(st.integers(1, 6), max_size=3),
)
async def test_whatever_fails_and_restarts_every_note_arrives_and_in_order_per_alert(
    tmp_path: Path,
    happened: list[tuple[str, Any]],
    fails: list[bool],
    restarts: list[int],
) -> None:
    field = Field(Path(tempfile.mkdtemp(dir=tmp_path)))
    field.state.consumer("webhook:test", 0)
    for alert, kind in happened:
        field.happens(kind, alert)
    got: list[Note] = []
    failing = iter(fails)
    for tries in [*restarts, None]:
        channel = Flaky(got, failing)
        consumer = make(channel, field)
        if tries is None:
            await follow(consumer, lambda: done(field) == len(happened))
        else:
            await follow(consumer, partial(enough, channel, tries, len(happened)))
    for alert in "abc":
        told = list(dict.fromkeys(note.seq for note in got if note.alert_id == alert))
        assert told == [seq for seq, (of, _) in enumerate(happened, 1) if of == alert]
