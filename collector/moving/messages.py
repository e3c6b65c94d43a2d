"""Readings of history as native messages: an array for each device, small enough for any collector."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from collector.moving.reading import Reading
from devices.model import Address, Suffix
from devices.payload.native import MAX_BYTES, MAX_VALUES
from devices.topics import build


class HistoryMessage(NamedTuple):
    """What is published: to where, what, and how many values it holds."""

    topic: str
    payload: bytes
    values: int


def messages(readings: Iterable[Reading]) -> list[HistoryMessage]:
    """All of them, each device's in order of time; of equal times the one that comes first goes first."""
    devices: dict[tuple[str, str], list[Reading]] = {}
    for reading in readings:
        devices.setdefault((reading.site, reading.device), []).append(reading)
    return [
        message
        for (site, device), mine in devices.items()
        for message in _packed(build(Address(site, device, Suffix.TELE)), mine)
    ]


def _packed(topic: str, readings: list[Reading]) -> Iterator[HistoryMessage]:
    held: list[str] = []
    size, count = 2, 0
    for text, values in _items(sorted(readings, key=lambda reading: reading.ms)):
        if held and (count + values > MAX_VALUES or size + len(text) + 1 > MAX_BYTES):
            yield HistoryMessage(topic, _array(held), count)
            held, size, count = [], 2, 0
        held.append(text)
        size += len(text) + 1
        count += values
    if held:
        yield HistoryMessage(topic, _array(held), count)


def _items(readings: list[Reading]) -> Iterator[tuple[str, int]]:
    """The array's items, JSON, with how many values each has: what was measured at a time is in one."""
    ms, values = -1, dict[str, float]()
    for reading in readings:
        if values and (reading.ms != ms or reading.metric in values or len(values) == MAX_VALUES):
            yield _item(ms, values), len(values)
            values = {}
        ms = reading.ms
        values[reading.metric] = reading.value
    if values:
        yield _item(ms, values), len(values)


def _item(ms: int, values: dict[str, float]) -> str:
    return json.dumps({"ts": ms, "values": values}, separators=(",", ":"), allow_nan=False)


def _array(items: list[str]) -> bytes:
    return f"[{','.join(items)}]".encode()
