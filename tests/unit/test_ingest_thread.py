"""Ingest lives in a thread of its own; whoever has a record to write may come from any other."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.core.config import JournalSettings as Caps
from collector.core.config import Mqtt
from collector.core.records import RecordKind
from collector.ingest.files import FileLog
from collector.ingest.ingest import Ingest
from collector.ingest.journal import Journal
from collector.ingest.pack import Pack
from collector.ingest.reserve import Reserve
from collector.ingest.session import Session


class Desk:
    """A real journal, and ingest whose broker is away."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(
            FileLog(folder / "journal", Caps()), Reserve(folder / "reserve", 4096), self._durable
        )
        self.journal.open()
        self.ingest = Ingest(
            Mqtt(url="mqtt://127.0.0.1:1"), ["x"], self.journal, unacked_bytes=1000, mark=folder / "mark"
        )
        self.raised: list[Exception] = []

    def _durable(self, packs: list[Pack]) -> None:
        self.ingest.durable(packs)

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        try:
            self.ingest.run()
        except Exception as error:
            self.raised.append(error)

    def kinds(self) -> list[tuple[int, dict[str, object]]]:
        """All records so far: kind and body, in order."""
        found, cursor = [], self.journal.first
        while (batch := self.journal.read(cursor)) is not None:
            found += [
                (kind, json.loads(payload)) for kind, payload in zip(batch.kinds, batch.payloads, strict=True)
            ]
            cursor = batch.end
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.ingest.stop()
    desk.journal.close()


def record(desk: Desk, turn: int) -> tuple[int, int]:
    return desk.ingest.record(RecordKind.HEALTH, {"turn": turn}).result(10)


def test_a_record_is_written_before_while_and_after_its_thread_runs(desk: Desk) -> None:
    record(desk, 0)
    thread = desk.start()
    desk.ingest.tried.result(10)
    record(desk, 1)
    desk.ingest.stop()
    thread.join(10)
    assert not thread.is_alive()
    record(desk, 2)
    turns = [body["turn"] for kind, body in desk.kinds() if kind == RecordKind.HEALTH]
    assert turns == [0, 1, 2]
    assert desk.ingest.waiting == 0


def test_records_of_many_threads_are_all_written_with_rising_stamps(desk: Desk) -> None:
    thread = desk.start()
    stamps: list[list[int]] = [[] for _ in range(8)]

    def write(mine: list[int]) -> None:
        for turn in range(50):
            mine.append(record(desk, turn)[0])
            if turn == 25 and mine is stamps[0]:
                desk.ingest.stop()  # in the middle of it: what comes then is written all the same

    writers = [threading.Thread(target=write, args=(mine,)) for mine in stamps]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    thread.join(10)
    assert all(mine == sorted(mine) and len(mine) == 50 for mine in stamps)
    assert len({stamp for mine in stamps for stamp in mine}) == 400
    assert desk.ingest.waiting == 0


def test_before_every_record_the_gap_is_told_in_which_nobody_listened(desk: Desk) -> None:
    record(desk, 0)
    assert [kind for kind, _ in desk.kinds()] == [RecordKind.GAP, RecordKind.HEALTH]


def test_nothing_is_published_where_there_is_no_connection(desk: Desk) -> None:
    for run in (False, True):
        if run:
            desk.start()
            desk.ingest.tried.result(10)
        with pytest.raises(ConnectionError, match="not connected"):
            desk.ingest.publish("a", b"b", 5).result(10)


def test_a_stop_before_the_start_is_obeyed(desk: Desk) -> None:
    desk.ingest.stop()
    thread = desk.start()
    thread.join(10)
    assert not thread.is_alive()


def test_a_fault_of_the_session_is_raised_and_it_can_be_run_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: Session) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Session, "run", broken)
        desk.start().join(10)
    assert [type(error) for error in desk.raised] == [ZeroDivisionError]
    record(desk, 0)
    desk.start()
    desk.ingest.tried.result(10)
    record(desk, 1)
    beats = desk.ingest.beats
    deadline = time.monotonic() + 10
    while desk.ingest.beats == beats and time.monotonic() < deadline:
        time.sleep(0.05)
    assert desk.ingest.beats > beats


def test_a_record_that_fails_is_told_to_whoever_waits_and_to_nobody_else(desk: Desk) -> None:
    thread = desk.start()
    desk.ingest.tried.result(10)
    with pytest.raises(TypeError):
        desk.ingest.record(RecordKind.HEALTH, {"no": object()}).result(10)
    assert thread.is_alive()
    record(desk, 1)
