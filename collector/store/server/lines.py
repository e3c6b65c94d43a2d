"""Readings as finished line protocol: integer nanoseconds, values always floats.

    rx_dbm,device=ont-1305012001,site=1305012001 value=-21.5,quality=1.0 1764000000123000000

The measurement is the metric; the tags are site and device; the quality flags go along where there are any.
Ids hold nothing that the protocol would read as its own (see devices.topics), so nothing is escaped: what is
no id is refused, since a backslash before a comma has forged a label in a real server.
"""

from __future__ import annotations

import re

from pydantic_core import to_json

from collector.core.readings import F64, I64, U8, SeriesKey

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_METRIC = re.compile(r"[a-z][a-z0-9_]{0,63}")
FIELD, QUALITY = "value", "quality"
PROBE = "nagari_probe"
"""The metric of a harmless line, which is no reading."""


def speakable(key: SeriesKey) -> bool:
    """Whether a series' ids are ids: only then its name may stand in a line or in a query."""
    return bool(_ID.fullmatch(key.site) and _ID.fullmatch(key.device) and _METRIC.fullmatch(key.metric))


def head(key: SeriesKey) -> str:
    """A series' lines up to the value. Raises ValueError for ids that are none."""
    if not speakable(key):
        raise ValueError(f"{key} is no series: ids are letters, digits, _ and -")
    return f"{key.metric},device={key.device},site={key.site} {FIELD}="


def lines(heads: list[str], time: I64, value: F64, quality: U8) -> list[str]:
    """A line for each reading; columns of equal length, time in epoch ns. Values by their shortest digits."""
    values, times = _written(value), _written(time)
    if not quality.any():
        return [f"{head}{v} {t}" for head, v, t in zip(heads, values, times, strict=True)]
    flags = quality.tolist()
    return [
        f"{head}{v},{QUALITY}={q}.0 {t}" if q else f"{head}{v} {t}"
        for head, v, t, q in zip(heads, values, times, flags, strict=True)
    ]


def _written(column: F64 | I64) -> list[str]:
    """Each number as text: a JSON writer does so three times as fast as repr."""
    return to_json(column.tolist()).decode()[1:-1].split(",") if len(column) else []
