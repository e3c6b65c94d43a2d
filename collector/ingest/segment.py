"""The journal's format on disk: how records lie in a segment, and how they are found again after damage.

A segment is a header, twice, then records. Each header has a CRC and each record two (its header's, its
body's), all seeded with the segment's random salt: nobody can forge a record inside a payload. A record's
header begins with a sync mark, so that reading finds its feet after damaged bytes; its ordinal counts the
segment's messages, so that it is known how many were lost on the way.
"""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass, field
from zlib import crc32

import numpy as np

from collector.core.readings import I64
from collector.core.records import RecordKind
from collector.ingest.log import RecordColumns

VERSION = 1
MAGIC = b"NAGARIJ"
SYNC = b"\xf5NJ\xa7"
_HEADER = struct.Struct("<7sBQQQI")  # magic, version, base, messages, stamp, salt
_CRC = struct.Struct("<I")
HEADER_SIZE = 2 * (_HEADER.size + _CRC.size)
_RECORD = struct.Struct("<4sIIIQIBBH")
RECORD_SIZE = _RECORD.size
_DTYPE = np.dtype(
    [
        ("sync", "S4"),
        ("head_crc", "<u4"),
        ("body_crc", "<u4"),
        ("size", "<u4"),
        ("stamp", "<u8"),
        ("ordinal", "<u4"),
        ("kind", "u1"),
        ("flags", "u1"),
        ("topic", "<u2"),
    ]
)
_COVERED = 8  # the header's CRC covers what comes after it


class VersionError(Exception):
    """A segment was written by a newer version than this one."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a segment says of itself. `base`: its offset; `messages` and `stamp`: the journal's before it."""

    base: int
    messages: int
    stamp: int
    salt: int

    @classmethod
    def new(cls, base: int, messages: int, stamp: int) -> Header:
        """The header of a segment that begins now."""
        return cls(base, messages, stamp, secrets.randbits(32))

    def write(self) -> bytes:
        """Its bytes, in two copies: one may be damaged."""
        body = _HEADER.pack(MAGIC, VERSION, self.base, self.messages, self.stamp, self.salt)
        return 2 * (body + _CRC.pack(crc32(body)))

    @classmethod
    def read(cls, data: bytes) -> Header | None:
        """The header, from whichever copy is whole; None if neither is. Raises VersionError."""
        return next(filter(None, cls.copies(data)), None)

    @classmethod
    def copies(cls, data: bytes) -> list[Header | None]:
        """Both copies; None for one that is not whole. Raises VersionError."""
        half = HEADER_SIZE // 2
        return [cls._one(data[:half]), cls._one(data[half:HEADER_SIZE])]

    @classmethod
    def _one(cls, copy: bytes) -> Header | None:
        short = len(copy) < _HEADER.size + _CRC.size
        if short or _CRC.unpack_from(copy, _HEADER.size)[0] != crc32(copy[: _HEADER.size]):
            return None
        magic, version, *rest = _HEADER.unpack_from(copy)
        if magic != MAGIC:
            return None
        if version > VERSION:
            raise VersionError(version)
        return cls(*rest)


def encode(salt: int, columns: RecordColumns, ordinal: int) -> tuple[bytes, I64, int]:
    """The records' bytes, where each begins in them, and the ordinal after the last.

    `ordinal` counts the segment's messages before these.
    """
    kinds, flags, topics, payloads, stamps = columns
    names = [topic.encode() for topic in topics]
    bodies = list(map(bytes.__add__, names, payloads))
    head = np.zeros(len(bodies), _DTYPE)
    head["sync"] = SYNC
    head["body_crc"] = [crc32(body, salt) for body in bodies]
    head["size"] = sizes = np.fromiter(map(len, bodies), np.int64, len(bodies))
    head["stamp"] = stamps
    head["kind"] = kinds
    ordinals = ordinal + np.cumsum(head["kind"] == RecordKind.MESSAGE)
    head["ordinal"] = ordinals
    head["flags"] = flags
    head["topic"] = list(map(len, names))
    plain = memoryview(head.tobytes())
    head["head_crc"] = [
        crc32(plain[at + _COVERED : at + RECORD_SIZE], salt) for at in range(0, len(plain), RECORD_SIZE)
    ]
    raw = head.tobytes()
    parts = [b""] * (2 * len(bodies))
    parts[0::2] = [raw[at : at + RECORD_SIZE] for at in range(0, len(raw), RECORD_SIZE)]
    parts[1::2] = bodies
    begins = np.zeros(len(bodies), np.int64)
    np.cumsum(sizes[:-1] + RECORD_SIZE, out=begins[1:])
    return b"".join(parts), begins, int(ordinals[-1]) if bodies else ordinal


@dataclass(slots=True)
class Scan:
    """What was read from a stretch of a segment, in columns; and what was found damaged."""

    kinds: list[int] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    topics: list[str] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    stamps: list[int] = field(default_factory=list)
    at: list[int] = field(default_factory=list)  # position in the segment's file
    end: int = 0  # position after the last whole record
    ordinal: int | None = None  # of the last whole record
    damaged: list[tuple[int, int]] = field(
        default_factory=list
    )  # (from, to) positions that held no whole record


def scan(data: bytes, position: int, salt: int, *, final: bool) -> Scan:
    """Read the records in `data`, which begins at `position` of a segment's file.

    Stops before a record that goes on past the end of `data`, unless nothing more will come (`final`): then
    what is left is torn. Damaged bytes are skipped to the next whole record. Never raises.
    """
    out = Scan(end=position)
    at, size = 0, len(data)
    while at < size:
        length = _whole(data, at, salt)
        if length is None and not final and _may_be_whole(data, at, salt):
            break
        if length is None:
            found = _resync(data, at + 1, salt, final=final)
            if found is None:
                if final:
                    out.damaged.append((position + at, position + size))
                break
            out.damaged.append((position + at, position + found))
            at = found
            continue
        _take(out, data, at, length, position)
        at += length
        out.end = position + at
    return out


def _whole(data: bytes, at: int, salt: int) -> int | None:
    """The length of the record that begins here, if all of it is here and sound."""
    if data[at : at + 4] != SYNC or at + RECORD_SIZE > len(data):
        return None
    _, head_crc, body_crc, size, *_ = _RECORD.unpack_from(data, at)
    body = at + RECORD_SIZE
    if crc32(data[at + _COVERED : body], salt) != head_crc or body + size > len(data):
        return None
    if crc32(data[body : body + size], salt) != body_crc:
        return None
    return RECORD_SIZE + int(size)


def _may_be_whole(data: bytes, at: int, salt: int) -> bool:
    """Whether more bytes could still make a record of what begins here."""
    if at + RECORD_SIZE > len(data):
        return SYNC.startswith(data[at : at + 4]) or data[at : at + 4] == SYNC
    _, head_crc, _, size, *_ = _RECORD.unpack_from(data, at)
    sound = data[at : at + 4] == SYNC and crc32(data[at + _COVERED : at + RECORD_SIZE], salt) == head_crc
    return bool(sound and at + RECORD_SIZE + size > len(data))


def _resync(data: bytes, at: int, salt: int, *, final: bool) -> int | None:
    """Where the next whole record begins (or, unless `final`, one that may become whole)."""
    while (found := data.find(SYNC, at)) >= 0:
        if _whole(data, found, salt) is not None or (not final and _may_be_whole(data, found, salt)):
            return found
        at = found + 1
    tails = range(max(at, len(data) - len(SYNC) + 1), len(data))
    return next((tail for tail in tails if not final and SYNC.startswith(data[tail:])), None)


def _take(out: Scan, data: bytes, at: int, length: int, position: int) -> None:
    _, _, _, _, stamp, ordinal, kind, flags, topic = _RECORD.unpack_from(data, at)
    body = at + RECORD_SIZE
    out.kinds.append(kind)
    out.flags.append(flags)
    out.topics.append(data[body : body + topic].decode("utf-8", "replace"))
    out.payloads.append(data[body + topic : at + length])
    out.stamps.append(stamp)
    out.at.append(position + at)
    out.ordinal = ordinal
