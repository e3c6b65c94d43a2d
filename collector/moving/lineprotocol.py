"""InfluxDB's line protocol as readings.

    rx_dbm,site=1305012001,device=ont-1305012001 value=-21.5 1764000000123000000
    cpu,host=rtr-1305012001 usage_idle=93.5,usage_user=2i 1764000000

A field `value` is the measurement itself (a `quality` beside it is left out: the collector says that anew);
any other field is the metric MEASUREMENT_FIELD. Tags are columns: --map column:host=device.
"""

from __future__ import annotations

import re

from collector.moving.reading import Bad, Reading
from collector.moving.rows import Checker, Taken, refusal

_TRUE, _FALSE = {"t", "T", "true", "True", "TRUE"}, {"f", "F", "false", "False", "FALSE"}
_INTEGER = re.compile(r"[+-]?\d+[iu]")
_ESCAPED = re.compile(r"\\([,= \\\"])")


def parse(line: str, check: Checker) -> Taken:
    """The readings of a line; none for an empty one or a comment."""
    text = line.strip()
    if not text or text.startswith("#"):
        return [], []
    try:
        return _parsed(text, check)
    except ValueError as error:
        return [], [refusal(error)]


def _parsed(text: str, check: Checker) -> Taken:
    parts = split(text, " ")
    if len(parts) not in {2, 3} or not all(parts):
        raise ValueError(
            "this is no line protocol; write it like rx_dbm,site=S,device=D value=-21.5 1764000000"
        )
    if len(parts) == 2:
        raise ValueError("there is no time at the line's end; history needs one")
    measurement, *tags = split(parts[0], ",")
    places = {}
    for tag in tags:
        key, value = _pair(tag)
        places[check.names.of("column", key)] = value
    ms = check.when(parts[2])
    found: list[Reading] = []
    bad: list[Bad] = []
    fields = [_pair(field) for field in split(parts[1], ",")]
    ours = any(key == "value" for key, _ in fields)
    for key, value in fields:
        if ours and key == "quality":
            continue
        plain = _plain(measurement)
        metric = plain if key == "value" else f"{plain}_{key}"
        try:
            given = _value(value)
            reading = check.reading(places.get("site", ""), places.get("device", ""), metric, ms, given)
        except ValueError as error:
            bad.append(refusal(error))
        else:
            if reading is not None:
                found.append(reading)
    return found, bad


def split(text: str, at: str) -> list[str]:
    """Cut at a character, but neither where it is escaped nor within quotes."""
    parts, begin, quoted, n = [], 0, False, 0
    while n < len(text):
        char = text[n]
        if char == "\\":
            n += 1
        elif char == '"' and at != "=":
            quoted = not quoted
        elif char == at and not quoted:
            parts.append(text[begin:n])
            begin = n + 1
        n += 1
    return [*parts, text[begin:]]


def _pair(text: str) -> tuple[str, str]:
    key, *rest = split(text, "=")
    if not key or not rest:
        raise ValueError(f"{text!r} is no key=value; mend it")
    return _plain(key), "=".join(rest) if rest[0].startswith('"') else _plain("=".join(rest))


def _plain(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)


def _value(text: str) -> object:
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INTEGER.fullmatch(text):
        return int(text[:-1])
    if text.startswith('"'):
        raise ValueError(f"{text} is text, no number; leave that field out")
    return text
