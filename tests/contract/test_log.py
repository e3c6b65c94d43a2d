"""What every log does, whatever its positions are: records in order, durable, trimmed, never renumbered."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core.config import JournalSettings as Caps
from collector.core.records import Batch
from collector.ingest.files import FileLog
from collector.ingest.log import CROWDED, FULL, Log, RecordColumns, Retention
from tests.memorylog import Medium, MemoryLog

KINDS = ("files", "memory")
S = 10**9


class Shelf:
    """A place where a log lies; `new` opens it as another process would."""

    def __init__(self, kind: str, folder: Path, **caps: float) -> None:
        self._kind, self._folder, self._medium = kind, folder, Medium()
        self._caps = Caps(**{"segment_bytes": 400, "max_bytes": 1 << 30, "max_age": 1e9} | caps)  # type: ignore[arg-type]
        self.refuse: int | None = None
        self._medium.durable = self._durable
        self.log = self._made()
        self.stamp = 0

    def _durable(self, fd: int | None = None) -> None:
        if self.refuse:
            raise OSError(self.refuse, os.strerror(self.refuse))

    def _made(self) -> Log:
        if self._kind == "memory":
            return MemoryLog(self._medium, self._caps)
        return FileLog(self._folder, self._caps, fsync=self._durable)

    def open(self, at_least: int = 0, messages: int = 0) -> Log:
        self.log.close()
        self.log = self._made()
        self.log.open(at_least, messages)
        return self.log

    def write(self, *bodies: bytes, kind: int = 1) -> Batch:
        n = len(bodies)
        stamps = self.stamp + 1 + np.arange(n, dtype=np.int64)
        self.stamp = int(stamps[-1])
        return self.log.write(RecordColumns([kind] * n, [0] * n, ["t"] * n, [*bodies], stamps))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def shelf(kind: str, tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(kind, tmp_path / "log")
    shelf.open()
    yield shelf
    shelf.log.close()


def batches(log: Log, cursor: int = 0, stop: int | None = None) -> Iterator[Batch]:
    stop = log.end if stop is None else stop
    while cursor < stop:
        batch = log.read(cursor, stop)
        assert batch.start == cursor < batch.end <= stop
        yield batch
        cursor = batch.end


def bodies(log: Log, cursor: int = 0, stop: int | None = None) -> list[bytes]:
    return [body for batch in batches(log, cursor, stop) for body in batch.payloads]


def offsets(log: Log) -> list[int]:
    return [offset for batch in batches(log) for offset in batch.offsets.tolist()]


def test_an_empty_log_has_nothing_to_read_however_often_it_is_opened(shelf: Shelf) -> None:
    for _ in range(3):
        log = shelf.open()
        assert (log.first, log.end, log.stamp, log.messages) == (0, 0, 0, 0)
        assert log.damage == []


def test_what_is_written_is_read_in_order_and_again_after_opening(shelf: Shelf) -> None:
    want = [b"%d" % n * 30 for n in range(20)]
    for body in want:
        shelf.write(body)
    before = offsets(shelf.log)
    assert bodies(shelf.log) == want
    log = shelf.open()
    assert bodies(log) == want
    assert offsets(log) == before
    assert (log.stamp, log.messages, log.damage) == (20, 20, [])


def test_offsets_rise_and_the_end_of_a_batch_is_the_cursor_of_the_next(shelf: Shelf) -> None:
    written, end = [], shelf.log.end
    for n in range(12):
        if n % 5 == 4:
            shelf.open()
        batch = shelf.write(*[b"x" * 40] * (n % 3 + 1))
        assert batch.start == end
        assert batch.end == shelf.log.end
        assert end <= int(batch.offsets[0]) <= int(batch.offsets[-1]) < batch.end
        written += batch.offsets.tolist()
        end = batch.end
    assert all(a < b for a, b in itertools.pairwise(written))
    assert offsets(shelf.log) == written


def test_it_reads_from_any_record_up_to_any_other(shelf: Shelf) -> None:
    want = [b"%d" % n * 25 for n in range(12)]
    for at in range(0, 12, 3):
        shelf.write(*want[at : at + 3])
    edges = [*offsets(shelf.log), shelf.log.end]
    for one, other in itertools.combinations(range(13), 2):
        found = list(batches(shelf.log, edges[one], edges[other]))
        assert [body for batch in found for body in batch.payloads] == want[one:other]
        assert found[-1].messages in (-1, other)


def test_messages_are_counted_and_other_records_are_not(shelf: Shelf) -> None:
    shelf.write(b"one", b"two")
    assert shelf.write(b"{}", kind=5).messages == 2
    assert shelf.write(b"three").messages == shelf.log.messages == 3
    assert shelf.open().messages == 3
    assert list(batches(shelf.log))[-1].messages == 3


def test_what_others_committed_is_never_written_again_though_the_log_lost_it(shelf: Shelf) -> None:
    shelf.write(b"old")
    at_least = shelf.log.end + 12_345
    log = shelf.open(at_least, messages=9)
    batch = shelf.write(b"new")
    assert int(batch.offsets[0]) >= at_least
    assert batch.messages == log.messages == 10
    assert bodies(log) == [b"old", b"new"]


@pytest.mark.parametrize("why", sorted(FULL | CROWDED))
def test_of_a_write_that_was_refused_nothing_stays_and_it_may_be_given_again(shelf: Shelf, why: int) -> None:
    shelf.write(b"first")
    end, shelf.refuse = shelf.log.end, why
    with pytest.raises(OSError, match=os.strerror(why)):
        shelf.write(b"refused" * 9, b"both")
    assert (shelf.log.end, bodies(shelf.log)) == (end, [b"first"])
    shelf.refuse = None
    shelf.write(b"again")
    assert bodies(shelf.log) == [b"first", b"again"]
    log = shelf.open()
    assert (bodies(log), log.messages, log.damage) == ([b"first", b"again"], 2, [])


def test_any_other_refusal_is_raised_as_it_is(shelf: Shelf) -> None:
    shelf.refuse = errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        shelf.write(b"x")


def trimmed(shelf: Shelf, needed: int | None, read: int | None) -> int:
    keep = Retention(lambda: needed, lambda: read)
    lost = 0
    for n in range(40):
        shelf.write(b"%02d" % n + bytes(98))
        shelf.stamp += S
        lost += shelf.log.trim(keep)
    return lost


FAR = 2**62


@pytest.mark.parametrize(("needed", "read", "kept"), [(None, FAR, True), (0, FAR, True), (FAR, 0, False)])
def test_at_the_size_cap_the_oldest_goes_but_never_what_is_needed(
    kind: str, tmp_path: Path, needed: int | None, read: int, kept: bool
) -> None:
    shelf = Shelf(kind, tmp_path / "log", max_bytes=2000)
    log = shelf.open()
    lost = trimmed(shelf, needed, read)
    assert (lost == 0) is kept
    assert (log.first == 0) is kept
    assert (len(bodies(log)) == 40) is kept
    found = list(batches(log))
    assert found[-1].messages == 40
    if not kept:
        assert log.size < 4000
        assert len(found[0]) == 0
        assert found[0].end == log.first
        assert found[0].messages == 40 - len(bodies(log))
    log.close()


@pytest.mark.parametrize(("read", "kept"), [(FAR, False), (0, True), (None, True)])
def test_by_age_goes_only_what_was_read(kind: str, tmp_path: Path, read: int | None, kept: bool) -> None:
    shelf = Shelf(kind, tmp_path / "log", max_age=10)
    log = shelf.open()
    assert trimmed(shelf, FAR, read) == 0
    assert (log.first == 0) is kept
    assert bodies(log)[-1][:2] == b"39"
    log.close()


STEP = st.one_of(st.lists(st.binary(max_size=90), min_size=1, max_size=5), st.just("open"), st.just("refuse"))


@settings(max_examples=40, deadline=None)
@given(kind=st.sampled_from(KINDS), steps=st.lists(STEP, max_size=15))
def test_it_is_a_list_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, kind: str, steps: list[list[bytes] | str]
) -> None:
    shelf, model = Shelf(kind, tmp_path_factory.mktemp("log")), list[bytes]()
    shelf.open()
    for step in steps:
        if isinstance(step, list):
            shelf.write(*step)
            model += step
        elif step == "open":
            shelf.open()
        else:
            shelf.refuse = errno.ENOSPC
            with pytest.raises(OSError, match="space"):
                shelf.write(b"refused")
            shelf.refuse = None
        assert bodies(shelf.log) == model
    assert shelf.log.messages == len(model)
    shelf.log.close()
