"""Every message has one fate, every value one first; and what alarming could not commit it does not skip."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core.config import JournalSettings as Caps
from collector.core.decision import Decision
from collector.core.readings import F64, I32, I64, Bools, Readings, SeriesKey, SeriesTable
from collector.core.records import Batch, RecordKind
from collector.followers.alarming import Alarming
from collector.followers.fates import judge
from collector.followers.versions import Versions
from collector.ingest.dating import Dating
from collector.ingest.decode import Decoder
from collector.ingest.files import FileLog
from collector.ingest.journal import Journal
from collector.ingest.pack import Pack
from collector.ingest.reserve import Reserve
from collector.state import OutboxRow, State, StateError
from collector.state.snapshots import Snapshots
from collector.store.base import Ledger
from collector.store.duckdb import open_store
from devices.region import Region, read_folder
from simulators.regions import write_region

S = 10**9
NOW = 1_764_000_000 * S
AT = "nagari/v1/load-000000/router-000000-0/"
KEY = SeriesKey("load-000000", "router-000000-0", "latency_ms")


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Region:
    return write_region(tmp_path_factory.mktemp("region"), 1)


class Book:
    """A store of dictionaries: what `find` would answer."""

    def __init__(self) -> None:
        self.values: dict[tuple[int, int], float] = {}

    def find(self, series: I32, times: I64) -> tuple[Bools, F64]:
        found = [self.values.get(key) for key in zip(series.tolist(), times.tolist(), strict=True)]
        return np.array([v is not None for v in found], np.bool_), np.array(
            [np.nan if v is None else v for v in found], np.float64
        )

    def take(self, rows: Readings) -> None:
        for s, t, v in zip(rows.series.tolist(), rows.time.tolist(), rows.value.tolist(), strict=True):
            assert (s, t) not in self.values, "a value was taken for new twice"
            self.values[s, t] = v


def batch(start: int, messages: list[tuple[str, bytes]], ever: int) -> Batch:
    n = len(messages)
    return Batch(
        start, start + n, [1] * n, [0] * n, [topic for topic, _ in messages], [body for _, body in messages],
        NOW + (start + np.arange(n, dtype=np.int64)) * S, start + np.arange(n, dtype=np.int64), ever,
    )  # fmt: skip


def tele(second: int, value: float, **more: object) -> tuple[str, bytes]:
    body = {"ts": NOW // 10**6 + second * 1000, "values": {"latency_ms": value}, **more}
    return AT + "tele", json.dumps(body).encode()


MESSAGE = st.one_of(
    st.builds(tele, st.integers(-3, 8), st.integers(0, 2)),
    st.builds(tele, st.integers(-200, -90), st.integers(0, 2)),
    st.sampled_from([(AT + "tele", b"x"), (AT + "tele", b'{"values":{"latency_ms":null}}'), ("?", b"")]),
    st.sampled_from([(AT + "state", b"online"), (AT + "event", b'{"event":"dying_gasp","ts":1}')]),
    st.sampled_from([(AT + "tele", b'{"seq":1,"values":{"latency_ms":5}}')]),
)


@settings(deadline=None)
@given(parts=st.lists(st.tuples(st.lists(MESSAGE, max_size=8), st.integers(0, 3)), max_size=5))
def test_the_accounts_balance_and_the_first_journaled_wins(
    region: Region, parts: list[tuple[list[tuple[str, bytes]], int]]
) -> None:
    table, book, ledger = SeriesTable(), Book(), Ledger()
    decoder, dating = Decoder(table, {}.__getitem__), Dating(table)
    start, ever, first = 0, 0, dict[tuple[int, int], float]()
    for messages, lost in parts:
        ever += len(messages) + lost
        one = batch(start, messages, ever)
        found = decoder.decode(one, region)
        dated = dating.date(one, found)
        fates = judge(one, found, dated, book.find)
        fates.count(ledger, one, len(found))
        book.take(dated.readings.take(fates.new))
        rows = dated.readings
        for s, t, v in zip(rows.series.tolist(), rows.time.tolist(), rows.value.tolist(), strict=True):
            first.setdefault((s, t), v)
        start = one.end
    assert ledger.messages == ever
    assert ledger.stored + ledger.duplicate + ledger.quarantined + ledger.dropped == ever
    assert ledger.dropped == sum(lost for _, lost in parts)
    assert min(ledger.stored, ledger.duplicate, ledger.quarantined) >= 0
    assert book.values == first
    assert ledger.values == len(first)


def fates_of(region: Region, *messages: tuple[str, bytes]) -> Ledger:
    table, ledger = SeriesTable(), Ledger()
    one = batch(0, list(messages), len(messages))
    found = Decoder(table, {}.__getitem__).decode(one, region)
    judge(one, found, Dating(table).date(one, found), Book().find).count(ledger, one, len(found))
    return ledger


def test_a_value_that_differs_from_the_first_is_a_conflict(region: Region) -> None:
    ledger = fates_of(region, tele(0, 1), tele(0, 2), tele(0, 1, seq=3))
    assert (ledger.stored, ledger.duplicate, ledger.values, ledger.conflicts) == (1, 2, 1, 1)


def test_a_batch_that_knows_no_count_drops_nothing(region: Region) -> None:
    ledger = fates_of(region, tele(0, 1))
    found = Decoder(SeriesTable(), {}.__getitem__)
    gone = replace(Batch.empty(1, 5, -1), lock=threading.Lock())
    judge(
        gone,
        found.decode(gone, region),
        Dating(SeriesTable()).date(gone, found.decode(gone, region)),
        Book().find,
    ).count(ledger, gone, 0)
    assert (ledger.messages, ledger.dropped, ledger.cursor) == (1, 0, 5)


def test_a_refused_message_with_a_nul_in_its_topic_can_be_stored(region: Region, tmp_path: Path) -> None:
    table = SeriesTable()
    one = batch(0, [("a/\0b", b"\0\xff")], 1)
    found = Decoder(table, {}.__getitem__).decode(one, region)
    fates = judge(one, found, Dating(table).date(one, found), Book().find)
    store = open_store("duckdb:", tmp_path, table, 64_000_000)
    store.commit(Readings.concat([]), fates.rejects, Ledger(cursor=1, messages=1, quarantined=1))
    [kept] = store.rejects(5)
    store.close()
    assert kept.head == b"\0\xff"
    assert "b" in kept.topic


class RefusesOnce:
    """The real state.db, but that it refuses the first commit, as a locked one would."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.refused = threading.Event()

    def cursor(self) -> int:
        return self._state.cursor()

    def commit(self, cursor: int, decided: list[Decision], summarise: Any) -> list[OutboxRow]:
        if not self.refused.is_set():
            self.refused.set()
            raise StateError("database is locked")
        return self._state.commit(cursor, decided, summarise)


def test_alarming_stopped_while_its_database_refuses_does_not_skip_what_it_decided(tmp_path: Path) -> None:
    rule = (
        '[[rule]]\nname = "slow"\nselect = { kind = "router", metric = "latency_ms" }\nseverity = "minor"\n'
        'when = { above = 300.0 }\nsummary = { id = "{value}", en = "{value}" }\n'
    )
    write_region(tmp_path / "region", 1, rules={"rules/r.toml": rule.encode()})
    state, table = State(tmp_path / "state.db"), SeriesTable()
    versions = Versions(state, read_folder(tmp_path / "region"))
    decoder = Decoder(table, versions.region)
    journal = Journal(
        FileLog(tmp_path / "journal", Caps()), Reserve(tmp_path / "reserve", 4096), lambda packs: None
    )
    journal.open()
    journal.append(Pack([1], [0], [AT + "tele"], [b'{"values":{"latency_ms":400}}'], NOW))
    journal.control(RecordKind.REGION, {"hash": versions.current[0].hash}, NOW).result(5)

    def alarming(over: State) -> Alarming:
        return Alarming(journal, over, decoder, table, Snapshots(tmp_path / "s"), versions, lambda rows: None)

    refusing = RefusesOnce(state)
    first = alarming(refusing)  # type: ignore[arg-type]
    first.start()
    assert refusing.refused.wait(5)
    first.stop()
    assert (first.failed, state.cursor()) == (None, 0)
    second = alarming(state)
    second.start()
    until = time.monotonic() + 5
    while not state.decisions() and time.monotonic() < until:
        time.sleep(0.01)
    second.stop()
    journal.close()
    assert [row.decision.change for row in state.decisions()] == ["raised"]
    state.close()
