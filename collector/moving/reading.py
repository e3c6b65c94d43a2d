"""A reading of history, as a file has it, and what is wrong with a line that holds none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

KINDS = ("column", "site", "device", "metric")


class Reading(NamedTuple):
    """One value. `ms`: epoch milliseconds, as the messages of devices have it."""

    site: str
    device: str
    metric: str
    ms: int
    value: float


class Bad(NamedTuple):
    """What cannot be taken, and the mend."""

    what: str
    mend: str


class Line(NamedTuple):
    """A line of a file (a row, counted from 1): its readings, and what of it is bad."""

    number: int
    readings: list[Reading]
    bad: list[Bad]


@dataclass(frozen=True)
class Names:
    """What things are called here, by kind and by what the file calls them. `fixed`: for lines without."""

    today: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)

    def of(self, kind: str, name: str) -> str:
        """Today's name."""
        return self.today.get(kind, {}).get(name, name)


def names(maps: list[str], site: str | None = None, device: str | None = None) -> Names:
    """From `KIND:OLD=NEW`. Raises ValueError, with the mend after a semicolon."""
    found: dict[str, dict[str, str]] = {}
    for text in maps:
        kind, colon, rest = text.partition(":")
        old, equals, new = rest.rpartition("=")
        if kind not in KINDS or not colon or not equals or not old or not new:
            raise ValueError(
                f"{text!r} maps nothing; write it like metric:usage_idle=cpu_pct ({', '.join(KINDS)})"
            )
        found.setdefault(kind, {})[old] = new
    fixed = {"site": site, "device": device}
    return Names(found, {kind: name for kind, name in fixed.items() if name})
