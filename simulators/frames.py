"""PUBLISH packets of readings, laid out once and written over in columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import mqtt5
import numpy as np
import numpy.typing as npt

from devices.model import Address, Suffix
from devices.topics import build

METRICS: Final = ("latency_ms", "loss_pct", "jitter_ms", "rx_bps", "tx_bps", "cpu_pct", "on_lte")
"""A router's metrics, in the order in which a message takes them up."""

_CALM: Final = {
    "latency_ms": (3.0, 12.0),
    "loss_pct": (0.0, 0.4),
    "jitter_ms": (0.1, 2.0),
    "rx_bps": (1e5, 4e7),
    "tx_bps": (1e5, 1e7),
    "cpu_pct": (2.0, 40.0),
}
_WRITTEN: Final = {
    "latency_ms": b"%6.2f",
    "loss_pct": b"%5.2f",
    "jitter_ms": b"%6.2f",
    "rx_bps": b"%8d",
    "tx_bps": b"%8d",
    "cpu_pct": b"%5.2f",
}
_ALARMING: Final = {"latency_ms": (400.0, 900.0), "loss_pct": (20.0, 60.0), "jitter_ms": (80.0, 200.0)}
_POOL: Final = 4096
_TIME: Final = 13
_SEQ: Final = 10

Bytes = npt.NDArray[np.uint8]


class Frames:
    """The packets of one round: one message per device, its fields at known offsets.

    Fields have fixed widths (JSON allows numbers padded with blanks), so writing never moves a byte.
    """

    def __init__(
        self, devices: Sequence[tuple[str, str]], values: int, alarm_share: float, seed: int
    ) -> None:
        self._rng = np.random.default_rng(seed)
        self._share = alarm_share
        self._calm = _pool(METRICS[:values], _CALM, self._rng)
        self._alarming = _pool(METRICS[:values], _CALM | _ALARMING, self._rng)
        packets = [_packet(site, device, self._calm.shape[1]) for site, device in devices]
        self._bytes = np.frombuffer(b"".join(packets), np.uint8).copy()
        sizes = np.array([len(packet) for packet in packets], np.int64)
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        ends = self._starts[1:, None]
        seq_at = ends - 1 - _SEQ
        values_at = seq_at - len(',"seq":') - self._calm.shape[1]
        time_at = values_at - len(',"values":') - _TIME
        id_at = time_at - len('{"ts":') - 3  # two bytes of id, one that says "no properties"
        self._ids = id_at + np.arange(2)
        self._times = time_at + np.arange(_TIME)
        self._values = values_at + np.arange(self._calm.shape[1])
        self._seqs = seq_at + np.arange(_SEQ)

    def write(self, at: int, size: int, ids: npt.NDArray[np.int64], ts: int, seq: int) -> bytes:
        """The packets of devices `at` to `at + size` with these packet ids, time (epoch ms) and number."""
        rows = slice(at, at + size)
        data = self._bytes
        data[self._ids[rows]] = np.stack((ids >> 8, ids & 255), axis=1)
        data[self._times[rows]] = np.frombuffer(b"%13d" % ts, np.uint8)
        data[self._values[rows]] = self._draw(size)
        data[self._seqs[rows]] = np.frombuffer(b"%10d" % seq, np.uint8)
        return data[self._starts[at] : self._starts[at + size]].tobytes()

    def _draw(self, size: int) -> Bytes:
        picks = self._rng.integers(0, _POOL, size)
        found = self._calm[picks]
        if self._share:
            alarming = self._rng.random(size) < self._share
            found[alarming] = self._alarming[picks[alarming]]
        return found


def _pool(metrics: Sequence[str], spans: dict[str, tuple[float, float]], rng: np.random.Generator) -> Bytes:
    """Many ready `values` objects of one width, one a row."""
    columns = [
        [_WRITTEN[metric] % value for value in rng.uniform(*spans[metric], _POOL)]
        if metric in spans
        else [b"false"] * _POOL
        for metric in metrics
    ]
    rows = [
        b"{" + b",".join(b'"%s":%s' % (m.encode(), v) for m, v in zip(metrics, row, strict=True)) + b"}"
        for row in zip(*columns, strict=True)
    ]
    return np.frombuffer(b"".join(rows), np.uint8).reshape(_POOL, -1).copy()


def _packet(site: str, device: str, width: int) -> bytes:
    payload = b'{"ts":%s,"values":%s,"seq":%s}' % (b"1" * _TIME, b"v" * width, b"s" * _SEQ)
    topic = build(Address(site, device, Suffix.TELE))
    return mqtt5.PublishPacket(topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=1).write()
