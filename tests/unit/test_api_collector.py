"""An operator's action on its way through journal and alarming; and the rate of messages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from collector.alarms.model import Alert, Transition
from collector.api.collector import Collector
from collector.core.config import Config
from collector.core.records import Action
from collector.state import State
from devices.problems import Problems

ALERT = Alert("a1", "r", "v1", "s", "d", "m", "major", "active", 1, 2.0, 1, raised_at=1, acked=True)
ACK = Action("id-1", "ack", "a1", "Rina", "", None)
ACKED = Transition("acked", 5, 5, ALERT, by="Rina", action="id-1")


class Recorder:
    """A journal that takes in when the test says so."""

    def __init__(self) -> None:
        self.records: list[Future[tuple[int, int]]] = []

    def record(self, kind: Any, body: dict[str, object]) -> Future[tuple[int, int]]:
        self.records.append(Future())
        return self.records[-1]


class Alarming:
    """Alarming that answers when the test says so."""

    def __init__(self) -> None:
        self.answers: dict[str, Future[Transition]] = {}

    def expect(self, action: str) -> Future[Transition]:
        self.answers[action] = Future()
        self.answers[action].set_running_or_notify_cancel()
        return self.answers[action]

    def forget(self, action: str) -> None:
        self.answers.pop(action, None)


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr("collector.api.collector.PATIENCE", 0.2)
    state = State(tmp_path / "state.db")
    yield SimpleNamespace(
        config=Config(),
        state=state,
        store=None,
        table=None,
        recorder=Recorder(),
        alarming=Alarming(),
        journal=SimpleNamespace(messages=0),
    )
    state.close()


async def until_asked(parts: Any, count: int = 1) -> None:
    while len(parts.recorder.records) < count:
        await asyncio.sleep(0.01)


async def test_an_action_gives_the_transition_it_caused(parts: Any) -> None:
    asked = asyncio.create_task(Collector(parts).act(ACK))
    await until_asked(parts)
    parts.recorder.records[0].set_result((5, 5))
    parts.alarming.answers["id-1"].set_result(ACKED)
    assert await asked == ACKED


async def test_an_action_that_is_journaled_is_never_called_lost(parts: Any) -> None:
    collector = Collector(parts)
    asked = asyncio.create_task(collector.act(ACK))
    await until_asked(parts)
    parts.recorder.records[0].set_result((5, 5))
    assert await asked is None
    assert collector.acting("id-1")
    again = asyncio.create_task(collector.act(ACK))
    await asyncio.sleep(0.05)
    parts.alarming.answers["id-1"].set_result(ACKED)
    assert await again == ACKED
    assert len(parts.recorder.records) == 1, "asked again it is not journaled again"
    await asyncio.sleep(0)
    assert not collector.acting("id-1")
    assert parts.alarming.answers == {}


async def test_after_a_restart_an_action_that_took_effect_is_found_and_not_done_again(parts: Any) -> None:
    parts.state.commit(10, [ACKED], lambda alert: {"id": "", "en": ""})
    found = await Collector(parts).act(ACK)
    assert (found.change, found.action) == ("acked", "id-1")
    assert parts.recorder.records == []


async def test_what_the_journal_has_not_taken_in_is_not_called_journaled(parts: Any) -> None:
    collector = Collector(parts)
    with pytest.raises(Problems, match="not taken it in yet, and may still"):
        await collector.act(ACK)
    parts.recorder.records[0].set_exception(OSError("No space left on device"))
    with pytest.raises(Problems, match="No space left"):
        await collector.act(ACK)
    assert not collector.acting("id-1")


def test_the_rate_is_the_mean_of_a_minute(parts: Any) -> None:
    collector = Collector(parts)
    assert collector._rate() == 0.0
    for second in range(100):
        parts.journal.messages += 10 if second % 10 == 0 else 0
        collector.sample(float(second))
    assert collector._rate() == 1.0
    for second in range(100, 170):
        collector.sample(float(second))
    assert collector._rate() == 0.0
