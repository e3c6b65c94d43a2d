"""What files of history hold, looked through before anything is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from collector.moving.reading import Bad, Line, Reading

DAY_MS = 86_400_000
SHOWN = 20
"""So many bad lines are kept to be shown, and so many series that nobody knows."""

Series = tuple[str, str, str]
"""Site, device, metric."""


@dataclass
class Survey:
    """Sums over files. `days`: by series and day since 1970 the readings that certainly differ in time."""

    lines: int = 0
    readings: int = 0
    bad: int = 0
    young: int = 0  # younger than 24 h: judged by the rules in their own time, as late ones
    first: int | None = None  # epoch ms
    last: int | None = None
    faults: list[tuple[str, int, Bad]] = field(default_factory=list)  # file, line
    unknown: dict[Series, str] = field(default_factory=dict)  # why
    days: dict[Series, Counter[int]] = field(default_factory=dict)
    _lasts: dict[Series, int] = field(default_factory=dict)

    def take(self, file: str, lines: Iterable[Line], unknown: Callable[[Series], str], now: int) -> None:
        """Add a file's lines. `unknown` says why the region has no such series, or ""; `now` epoch ms."""
        for number, readings, bad in lines:
            self.lines += 1
            self.bad += len(bad)
            if bad and len(self.faults) < SHOWN:
                self.faults += [(file, number, each) for each in bad]
            for reading in readings:
                self._count(reading, unknown, now)

    def _count(self, reading: Reading, unknown: Callable[[Series], str], now: int) -> None:
        series, ms = (reading.site, reading.device, reading.metric), reading.ms
        self.readings += 1
        self.young += ms > now - DAY_MS
        self.first = ms if self.first is None else min(self.first, ms)
        self.last = ms if self.last is None else max(self.last, ms)
        if series not in self.days:
            self.days[series] = Counter()
            if why := unknown(series):
                self.unknown[series] = why
        if ms > self._lasts.get(series, -1):
            self._lasts[series] = ms
            self.days[series][ms // DAY_MS] += 1
