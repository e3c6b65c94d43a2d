"""Fault 4: a journal cut at every byte, or with bits flipped: it opens, loses only what is hit, says so."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path

import pytest

from collector.core.config import JournalSettings as Caps
from collector.core.records import RecordKind
from collector.ingest.files import FileLog
from collector.ingest.journal import Journal
from collector.ingest.pack import Pack
from collector.ingest.reserve import Reserve
from collector.ingest.segment import HEADER_SIZE, RECORD_SIZE, SYNC
from tests.acceptance.faults.checks import records

STAMP = 1_764_000_000_000_000_000
MESSAGES = [
    ("nagari/v1/a/r1/tele", b'{"values":{"latency_ms":1.5}}'),
    ("nagari/v1/a/r2/tele", b""),
    ("nagari/v1/a/r3/tele", SYNC + b"no record, though it begins like one" + SYNC),
    ("nagari/v1/ab/r4/state", b"online"),
    ("nagari/v1/a/r5/tele", bytes(range(256))),
    ("nagari/v1/a/r6/tele", b'{"values":{"loss_pct":0}}'),
]


def journal(folder: Path) -> Journal:
    done = threading.Event()
    found = Journal(FileLog(folder, Caps()), Reserve(folder.parent / "reserve", 4096), lambda _: done.set())
    found.open()
    return found


def write(folder: Path, messages: list[tuple[str, bytes]] = MESSAGES) -> Path:
    """One segment of these messages and a control record behind the third; its file."""
    log = journal(folder)
    for at, (topic, payload) in enumerate(messages):
        log.append(Pack([RecordKind.MESSAGE], [0], [topic], [payload], STAMP + at))
        if at == 2:
            log.control(RecordKind.GAP, {"from": STAMP, "why": "a test"}, STAMP).result(5)
    log.control(RecordKind.WATERMARK, {}, STAMP).result(5)
    log.close()
    (segment,) = folder.glob("*.seg")
    return segment


def read(folder: Path) -> list[tuple[int, str, bytes]]:
    """(kind, topic, payload) of every record."""
    return [
        row
        for batch in records(folder)
        for row in zip(batch.kinds, batch.topics, batch.payloads, strict=True)
    ]


def edges(segment: Path) -> list[int]:
    """Where each record begins, and the end."""
    at, found = HEADER_SIZE, [HEADER_SIZE]
    for batch in records(segment.parent):
        for topic, payload in zip(batch.topics, batch.payloads, strict=True):
            at += RECORD_SIZE + len(topic.encode()) + len(payload)
            found.append(at)
    return found


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    return write(tmp_path / "journal")


def test_cut_at_every_byte_it_opens_with_all_records_that_are_whole(segment: Path) -> None:
    whole, data, bounds = read(segment.parent), segment.read_bytes(), edges(segment)
    assert len(whole) == len(MESSAGES) + 2
    for cut in range(len(data)):
        segment.write_bytes(data[:cut])
        expected = sum(edge <= cut for edge in bounds[1:])
        files = FileLog(segment.parent, Caps())
        files.look()
        files.close()
        assert read(segment.parent) == whole[:expected], f"cut at {cut}"
        said = files.damage
        torn = cut not in bounds and cut > 0
        assert bool(said) == torn or cut < HEADER_SIZE, f"cut at {cut}: {said}"
        assert all(segment.name in sentence for sentence in said)


def test_cut_at_every_byte_it_goes_on_writing_and_never_reuses_an_offset(segment: Path) -> None:
    data, bounds = segment.read_bytes(), edges(segment)
    for cut in (0, 1, HEADER_SIZE - 1, *bounds, *(edge + 5 for edge in bounds[:-1]), len(data) - 1):
        for other in segment.parent.glob("*.seg"):
            other.unlink()
        segment.write_bytes(data[:cut])
        before = read(segment.parent)
        log = journal(segment.parent)
        end = log.end
        stamp, offset = log.control(RecordKind.WATERMARK, {}, STAMP).result(5)
        log.close()
        assert offset >= end
        assert stamp > STAMP or not before
        assert read(segment.parent) == [*before, (RecordKind.WATERMARK, "", b"{}")], f"cut at {cut}"


def test_every_flipped_bit_costs_the_record_that_it_hits_and_no_other(segment: Path) -> None:
    whole, data, bounds = read(segment.parent), segment.read_bytes(), edges(segment)
    luck = random.Random(11)
    for at in range(HEADER_SIZE, len(data)):
        segment.write_bytes(data[:at] + bytes([data[at] ^ 1 << luck.randrange(8)]) + data[at + 1 :])
        hit = next(n for n, edge in enumerate(bounds[1:]) if at < edge)
        files = FileLog(segment.parent, Caps())
        files.look()
        found, cursor = [], files.first
        while cursor < files.end:
            batch = files.read(cursor, files.end)
            found += zip(batch.kinds, batch.topics, batch.payloads, strict=True)
            cursor = batch.end
        assert found == whole[:hit] + whole[hit + 1 :], f"byte {at}"
        assert files.damage, f"byte {at}: it must say so"
        start = int(files.damage[0].partition("bytes ")[2].split()[0])
        assert bounds[hit] <= start <= at
        files.close()
        segment.write_bytes(data)


def test_a_flipped_bit_in_either_header_costs_nothing_and_in_both_the_segment_alone(tmp_path: Path) -> None:
    segment = write(tmp_path / "journal")
    whole, data = read(segment.parent), segment.read_bytes()
    half = HEADER_SIZE // 2
    for at in range(HEADER_SIZE):
        segment.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        assert read(segment.parent) == whole, f"byte {at}"
    segment.write_bytes(bytes([data[0] ^ 4]) + data[1:half] + bytes([data[half] ^ 4]) + data[half + 1 :])
    log = journal(segment.parent)
    log.control(RecordKind.WATERMARK, {}, STAMP + 99).result(5)
    assert len(log.damage) == 1
    assert segment.name in log.damage[0]
    log.close()
    assert read(segment.parent) == [(RecordKind.WATERMARK, "", b"{}")]


def test_a_damaged_message_in_the_middle_is_counted_as_lost(tmp_path: Path) -> None:
    segment = write(tmp_path / "journal")
    data, bounds = segment.read_bytes(), edges(segment)
    middle = (bounds[1] + bounds[2]) // 2
    segment.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    found = records(segment.parent)
    there = sum(kind == RecordKind.MESSAGE for batch in found for kind in batch.kinds)
    assert there == len(MESSAGES) - 1
    assert found[-1].messages == len(MESSAGES)  # so that the accounts can say: one dropped


def test_a_forged_record_inside_a_payload_is_never_taken_for_one(tmp_path: Path) -> None:
    inner = write(tmp_path / "inner").read_bytes()[HEADER_SIZE:]  # whole records, of another segment's salt
    segment = write(tmp_path / "outer", [("nagari/v1/a/r1/tele", inner), ("nagari/v1/a/r2/tele", b"after")])
    data = bytearray(segment.read_bytes())
    data[HEADER_SIZE + 6] ^= 1  # so that reading must find its feet inside the payload
    segment.write_bytes(bytes(data))
    assert [row[1] for row in read(segment.parent)] == ["nagari/v1/a/r2/tele", ""]


def test_control_records_are_json_to_the_byte(segment: Path) -> None:
    gap = next(payload for kind, _, payload in read(segment.parent) if kind == RecordKind.GAP)
    assert json.loads(gap) == {"from": STAMP, "why": "a test"}
