"""Durations as people write them in settings, rules and scenarios: `30s`, `1h30m`, `30d`, `2y` (of 365 d)."""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import BeforeValidator, Field

_SPANS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "y": 31_536_000.0}
_NUMBER = r"\d+(?:\.\d+)?"
_PART = re.compile(rf"({_NUMBER})\s*(ms|s|m|h|d|y)")
_WHOLE = re.compile(rf"{_NUMBER}|{_NUMBER}\s*(?:ms|s|m|h|d|y)(?:\s*{_NUMBER}(?:ms|s|m|h|d|y))*")


def seconds(value: object) -> float:
    """Seconds from `"30d"`, `"1h30m"`, `"1.5s"`, `"250ms"` or a number of seconds. Raises ValueError."""
    text = str(value).strip()
    if not _WHOLE.fullmatch(text) or isinstance(value, bool):
        raise ValueError(f'{value!r} is no duration; write it like "30s", "10m", "1h30m" or "30d"')
    parts = _PART.findall(text)
    found = sum(float(number) * _SPANS[unit] for number, unit in parts) if parts else float(text)
    if math.isinf(found):
        raise ValueError(f'{text[:20]}… is too long a time; write it like "30s", "10m", "1h30m" or "30d"')
    return found


Seconds = Annotated[float, BeforeValidator(seconds), Field(gt=0)]
"""A pydantic field that takes a duration and holds seconds, more than none."""
