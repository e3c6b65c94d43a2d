"""PUBLISH packets of readings, laid out once and written over in columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import mqtt5
import numpy as np
import numpy.typing as npt

from devices.model import Address, Suffix
from devices.topics import build
from simulators.figures import FIGURES, KINDS, Figure

_POOL: Final = 4096
_TIME: Final = 13
_SEQ: Final = 10

Bytes = npt.NDArray[np.uint8]


class Source(NamedTuple):
    """A device that load publishes for."""

    site: str
    device: str
    kind: str = "router"


class Frames:
    """The packets of one round: one message per device, its fields at known offsets.

    Fields have fixed widths (JSON allows numbers and objects padded with blanks), so writing never moves a
    byte, and places count from a packet's end alike in all. A kind with fewer than `values` metrics sends
    what it has. Raises KeyError for a kind that is not in FIGURES.
    """

    def __init__(self, sources: Sequence[Source], values: int, alarm_share: float, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._share = alarm_share
        there = [kind for kind in KINDS if kind in {source.kind for source in sources}]
        order = {kind: place for place, kind in enumerate(there)}
        self._kind = np.array([order[source.kind] for source in sources], np.intp)
        self._calm, self._bad = _pools([FIGURES[kind][:values] for kind in there], self._rng)
        width = self._calm.shape[1]
        packets = [_packet(source, width) for source in sources]
        self._bytes = np.frombuffer(b"".join(packets), np.uint8).copy()
        self._starts = np.concatenate([[0], np.cumsum([len(packet) for packet in packets])])
        seq = -1 - _SEQ
        written = seq - len(',"seq":') - width
        time = written - len(',"values":') - _TIME
        number = time - len('{"ts":') - 3  # two bytes of id, one that says "no properties"
        fields = ((number, 2), (time, _TIME), (written, width), (seq, _SEQ))
        self._places = np.concatenate([np.arange(at, at + size) for at, size in fields])

    def write(self, at: int, size: int, ids: npt.NDArray[np.int64], ts: int, seq: int) -> bytes:
        """The packets of devices `at` to `at + size` with these packet ids, time (epoch ms) and number."""
        starts = self._starts[at : at + size + 1]
        fields = np.empty((size, len(self._places)), np.uint8)
        fields[:, 0], fields[:, 1] = ids >> 8, ids & 255
        fields[:, 2 : 2 + _TIME] = np.frombuffer(b"%13d" % ts, np.uint8)
        fields[:, 2 + _TIME : -_SEQ] = self._draw(at, size)
        fields[:, -_SEQ:] = np.frombuffer(b"%10d" % seq, np.uint8)
        data = self._bytes[starts[0] : starts[-1]]
        data[(starts[1:] - starts[0])[:, None] + self._places] = fields
        return data.tobytes()

    def _draw(self, at: int, size: int) -> Bytes:
        picks = self._rng.integers(0, _POOL, size) + self._kind[at : at + size] * _POOL
        found: Bytes = self._calm[picks]
        if self._share:
            bad = self._rng.random(size) < self._share
            found[bad] = self._bad[picks[bad]]
        return found


def _pools(kinds: Sequence[Sequence[Figure]], rng: np.random.Generator) -> tuple[Bytes, Bytes]:
    """Many ready `values` objects of one width for each kind, a row each: the calm ones and the bad ones."""
    calm = [_objects(figures, rng, bad=False) for figures in kinds]
    bad = [_objects(figures, rng, bad=True) for figures in kinds]
    width = max(len(rows[0]) for rows in calm)
    return _table(calm, width), _table(bad, width)


def _table(kinds: Sequence[Sequence[bytes]], width: int) -> Bytes:
    padded = b"".join(row.ljust(width) for rows in kinds for row in rows)
    return np.frombuffer(padded, np.uint8).reshape(-1, width)


def _objects(figures: Sequence[Figure], rng: np.random.Generator, *, bad: bool) -> list[bytes]:
    columns = [_column(figure, rng, bad=bad) for figure in figures]
    return [b"{" + b",".join(cells) + b"}" for cells in zip(*columns, strict=True)]


def _column(figure: Figure, rng: np.random.Generator, *, bad: bool) -> list[bytes]:
    name, odd = figure.name.encode(), bad and figure.bad is not None
    if not figure.written:
        return [b'"%s":%s' % (name, b" true" if odd else b"false")] * _POOL
    span = figure.bad if odd and figure.bad else figure.calm
    drawn = [figure.written % value for value in rng.uniform(*span, _POOL)]
    return [b'"%s":%s' % (name, value) for value in drawn]


def _packet(source: Source, width: int) -> bytes:
    payload = b'{"ts":%s,"values":%s,"seq":%s}' % (b"1" * _TIME, b"v" * width, b"s" * _SEQ)
    topic = build(Address(source.site, source.device, Suffix.TELE))
    return mqtt5.PublishPacket(topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=1).write()
