"""Records are found again as they were written; damage costs the records it hits and forges none."""

from __future__ import annotations

from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core.records import RecordKind
from collector.ingest.log import RecordColumns
from collector.ingest.segment import (
    HEADER_SIZE,
    MAGIC,
    RECORD_SIZE,
    SYNC,
    VERSION,
    Header,
    Scan,
    VersionError,
    encode,
    scan,
)

SALT = 0xDEADBEEF
Record = tuple[int, int, str, bytes, int]
ONE = st.tuples(
    st.sampled_from([1, 1, 1, 2, 5, 6]),
    st.integers(0, 255),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=12),
    st.binary(max_size=40) | st.just(SYNC) | st.just(SYNC * 20),
    st.integers(0, 2**62),
)
RECORDS = st.lists(ONE, min_size=1, max_size=8)


def written(records: list[Record], salt: int = SALT, ordinal: int = 0) -> tuple[bytes, list[int]]:
    kinds, flags, topics, payloads, stamps = ([*column] for column in zip(*records, strict=True))
    data, begins, _ = encode(
        salt, RecordColumns(kinds, flags, topics, payloads, np.array(stamps, np.int64)), ordinal
    )
    return data, begins.tolist()


def found(of: Scan) -> list[Record]:
    return list(zip(of.kinds, of.flags, of.topics, of.payloads, of.stamps, strict=True))


@settings(deadline=None)
@given(records=RECORDS, ordinal=st.integers(0, 2**31), position=st.integers(0, 2**40))
def test_what_is_written_is_read(records: list[Record], ordinal: int, position: int) -> None:
    data, begins = written(records, ordinal=ordinal)
    got = scan(data, position, SALT, final=True)
    assert found(got) == records
    assert got.at == [position + begin for begin in begins]
    assert got.end == position + len(data)
    assert got.ordinal == ordinal + sum(kind == RecordKind.MESSAGE for kind, *_ in records)
    assert got.damaged == []


@settings(max_examples=30, deadline=None)
@given(records=RECORDS)
def test_truncated_at_every_byte_it_gives_the_whole_records_before(records: list[Record]) -> None:
    data, begins = written(records)
    ends = [*begins[1:], len(data)]
    for length in range(len(data) + 1):
        whole = sum(end <= length for end in ends)
        edge = ends[whole - 1] if whole else 0
        torn = scan(data[:length], 0, SALT, final=True)
        assert found(torn) == records[:whole]
        assert torn.end == edge
        assert torn.damaged == ([(edge, length)] if length > edge else [])
        growing = scan(data[:length], 0, SALT, final=False)
        assert found(growing) == records[:whole]
        assert growing.damaged == []  # more may come


@settings(max_examples=30, deadline=None)
@given(records=RECORDS, cut=st.data())
def test_read_in_two_pieces_it_is_the_same(records: list[Record], cut: st.DataObject) -> None:
    data, _ = written(records)
    at = cut.draw(st.integers(0, len(data)))
    first = scan(data[:at], 0, SALT, final=False)
    second = scan(data[first.end :], first.end, SALT, final=True)
    assert found(first) + found(second) == records


@settings(max_examples=20, deadline=None)
@given(records=st.lists(ONE, min_size=1, max_size=4))
def test_any_flipped_bit_costs_one_record_and_forges_none(records: list[Record]) -> None:
    data, begins = written(records)
    for bit in range(len(data) * 8):
        bad = bytearray(data)
        bad[bit // 8] ^= 1 << bit % 8
        hit = int(np.searchsorted(begins, bit // 8, side="right")) - 1
        got = scan(bytes(bad), 0, SALT, final=True)
        assert found(got) == records[:hit] + records[hit + 1 :]
        assert got.damaged
        scan(bytes(bad), 0, SALT, final=False)


@settings(deadline=None)
@given(junk=st.binary(max_size=200), records=RECORDS)
def test_junk_between_records_is_skipped(junk: bytes, records: list[Record]) -> None:
    data, begins = written(records)
    middle = begins[len(begins) // 2]
    got = scan(data[:middle] + junk + data[middle:], 0, SALT, final=True)
    assert found(got) == records
    assert got.damaged == ([(middle, middle + len(junk))] if junk else [])


@settings(deadline=None)
@given(junk=st.lists(st.binary(max_size=60) | st.just(SYNC), max_size=10).map(b"".join), final=st.booleans())
def test_no_bytes_make_it_raise_or_stand_still(junk: bytes, final: bool) -> None:
    got = scan(junk, 0, SALT, final=final)
    assert found(got) == []
    assert not final or got.damaged == ([(0, len(junk))] if junk else [])


def test_a_record_inside_a_payload_is_never_taken_for_one() -> None:
    forged, _ = written([(3, 0, "", b'{"name":"ack"}', 7)], salt=SALT ^ 1)
    records: list[Record] = [(1, 0, "a/b", b"one", 1), (1, 0, "t", b"x" + forged * 3, 2), (1, 0, "c", b"", 3)]
    data, begins = written(records)
    assert found(scan(data, 0, SALT, final=True)) == records
    bad = bytearray(data)
    bad[begins[1] + 5] ^= 1  # the record around it is damaged: what is inside must not come to light
    assert found(scan(bytes(bad), 0, SALT, final=True)) == [records[0], records[2]]


@settings(deadline=None)
@given(base=st.integers(0, 2**63), messages=st.integers(0, 2**63), stamp=st.integers(0, 2**63))
def test_a_header_comes_back_from_either_copy(base: int, messages: int, stamp: int) -> None:
    header = Header.new(base, messages, stamp)
    data = header.write()
    assert len(data) == HEADER_SIZE
    assert Header.read(data) == header
    for at in range(0, HEADER_SIZE, 5):
        bad = bytearray(data)
        bad[at] ^= 0x40
        assert Header.read(bytes(bad)) == header
    half = HEADER_SIZE // 2
    assert Header.read(data[:half]) == header
    assert Header.read(bytes(half) + data[half:]) == header


def test_a_header_damaged_in_both_copies_or_cut_is_none() -> None:
    data = Header.new(1, 2, 3).write()
    bad = bytearray(data)
    bad[10] ^= 1
    bad[HEADER_SIZE // 2 + 10] ^= 1
    assert Header.read(bytes(bad)) is None
    for length in range(HEADER_SIZE // 2):
        assert Header.read(data[:length]) is None


def test_a_segment_of_a_newer_version_is_refused() -> None:
    body = bytearray(Header.new(1, 2, 3).write()[: HEADER_SIZE // 2 - 4])
    body[len(MAGIC)] = VERSION + 1
    with pytest.raises(VersionError):
        Header.read(2 * (bytes(body) + crc32(body).to_bytes(4, "little")))


def test_a_record_with_the_longest_topic_of_mqtt_fits() -> None:
    record: Record = (1, 0, "t" * 65535, b"", 1)
    data, _ = written([record])
    assert len(data) == RECORD_SIZE + 65535
    assert found(scan(data, 0, SALT, final=True)) == [record]
