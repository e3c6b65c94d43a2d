"""Rows of a table as readings: long (site, device, metric, time, value) or wide (time, a column a metric)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime

from collector.moving.moments import DAWN_MS, DUSK_MS, Moments
from collector.moving.reading import Bad, Names, Reading
from devices.payload.native import PayloadError, check_names
from devices.topics import is_id

_TRUTH = {"true": 1.0, "false": 0.0}

Taken = tuple[list[Reading], list[Bad]]
Take = Callable[[Sequence[object]], Taken]


class Checker:
    """Makes readings of what a file says, and refuses what the collector would refuse, or date by receipt.

    `now`: epoch ms; a reading from later than that is no history.
    """

    def __init__(self, names: Names, moments: Moments, now: int) -> None:
        self.names, self.moments, self._now = names, moments, now

    def when(self, given: object) -> int:
        """Epoch ms. Raises ValueError."""
        ms = self.moments.at(given) if isinstance(given, datetime) else self.moments.ms(_text(given))
        if ms < DAWN_MS or ms >= DUSK_MS:
            raise ValueError(f"{given} is before 2020, or after 2100; mend the time")
        if ms > self._now:
            raise ValueError(f"{given} is yet to come; mend the time, or this machine's clock")
        return ms

    def reading(self, site: str, device: str, metric: str, ms: int, given: object) -> Reading | None:
        """The reading; None where there is no value. Raises ValueError."""
        value = number(given)
        if value is None:
            return None
        site, device = self.name("site", site), self.name("device", device)
        metric = self.names.of("metric", metric)
        try:
            check_names((metric,))
        except PayloadError as error:
            raise ValueError(f"{error}; rename it by --map metric:OLD=NEW") from None
        return Reading(site, device, metric, ms, value)

    def name(self, kind: str, given: str) -> str:
        """Today's id. Raises ValueError."""
        name = self.names.of(kind, given) or self.names.fixed.get(kind, "")
        if not is_id(name):
            what = f"{name!r} is no {kind}'s id" if name else f"there is no {kind}"
            raise ValueError(f"{what}; rename it by --map {kind}:OLD=NEW, or name --{kind}")
        return name


def number(given: object) -> float | None:
    """A value; None for an empty one. Raises ValueError."""
    if given is None:
        return None
    if isinstance(given, str):
        text = given.strip()
        if not text:
            return None
        if text.lower() in _TRUTH:
            return _TRUTH[text.lower()]
        try:
            given = float(text) if "_" not in text else math.nan
        except ValueError:
            raise ValueError(f"{text!r} is no number; mend it, or leave it empty") from None
    value = float(given)  # type: ignore[arg-type]
    if not math.isfinite(value):
        raise ValueError(f"{given} is no number; mend it, or leave it empty")
    return value


def table(header: Sequence[str], check: Checker) -> Take:
    """How rows under that header are taken. Raises ValueError where it names no readings."""
    names = [check.names.of("column", name.strip()) for name in header]
    if len(set(names)) != len(names):
        raise ValueError(f"a column stands twice in {', '.join(names)}; rename one by --map column:OLD=NEW")
    place = {name: at for at, name in enumerate(names)}
    if "time" not in place:
        raise ValueError(f"there is no column time in {', '.join(names)}; name it by --map column:OLD=time")
    for kind in ("site", "device"):
        if kind not in place and kind not in check.names.fixed:
            raise ValueError(
                f"there is no column {kind}; name one by --map column:OLD={kind}, or give --{kind}"
            )
    if {"metric", "value"} <= place.keys():
        return _long(place, check)
    wide = [(name, at) for name, at in place.items() if name not in {"site", "device", "time"}]
    if not wide:
        raise ValueError("there is no column but the time's; a column for each metric is needed")
    return _wide(place, wide, check)


def _long(place: dict[str, int], check: Checker) -> Take:
    def take(row: Sequence[object]) -> Taken:
        return _taken(place, row, [(_text(row[place["metric"]]), place["value"])], check)

    return take


def _wide(place: dict[str, int], wide: list[tuple[str, int]], check: Checker) -> Take:
    def take(row: Sequence[object]) -> Taken:
        return _taken(place, row, wide, check)

    return take


def _taken(
    place: dict[str, int], row: Sequence[object], values: list[tuple[str, int]], check: Checker
) -> Taken:
    found: list[Reading] = []
    bad: list[Bad] = []
    site, device = (_text(row[place[kind]]) if kind in place else "" for kind in ("site", "device"))
    try:
        ms = check.when(row[place["time"]])
    except ValueError as error:
        return [], [refusal(error)]
    for metric, at in values:
        try:
            reading = check.reading(site, device, metric, ms, row[at])
        except ValueError as error:
            bad.append(refusal(error))
        else:
            if reading is not None:
                found.append(reading)
    return found, bad


def refusal(error: ValueError) -> Bad:
    """What an error says, parted."""
    what, _, mend = str(error).partition("; ")
    return Bad(what, mend or "mend it")


def _text(given: object) -> str:
    return "" if given is None else str(given).strip()
