"""Service hours: `Mo-Fr 08:00-16:00`, several parted by `;`, or `24/7`. Local time, without holidays."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

DAY: Final = 86_400
WEEK: Final = 7 * DAY
_DAYS: Final = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")
_SPAN: Final = re.compile(r"(\S+) (\d\d):(\d\d)-(\d\d):(\d\d)")


@dataclass(frozen=True, slots=True)
class Hours:
    """When a place is open: `spans` are (from, to) in seconds of the local week, from Monday 00:00.

    A span whose end lies before its beginning goes past midnight, and may go past the week's end.
    """

    spans: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, text: str) -> Hours:
        """From the words of sites.csv, which `regiontables.hours` has checked; empty means always."""
        spans = [span for part in text.split(";") if part.strip() for span in _spans(part.strip())]
        return cls(tuple(sorted(spans)) if text.strip() else ((0, WEEK),))

    def open(self, second: float) -> bool:
        """Whether it is open at this second of the local week."""
        at = second % WEEK
        return any(start <= at < end or start <= at + WEEK < end for start, end in self.spans)

    @property
    def always(self) -> bool:
        """Whether it never closes."""
        return any(end - start >= WEEK for start, end in self.spans)


def _spans(part: str) -> list[tuple[int, int]]:
    if part == "24/7":
        return [(0, WEEK)]
    found = _SPAN.fullmatch(part)
    if found is None:
        raise ValueError(f'{part!r} are no hours; write them like "Mo-Fr 08:00-16:00" or "24/7"')
    start = int(found[2]) * 3600 + int(found[3]) * 60
    end = int(found[4]) * 3600 + int(found[5]) * 60
    length = end - start if end > start else end - start + DAY
    return [(day * DAY + start, day * DAY + start + length) for day in _days(found[1])]


def _days(text: str) -> list[int]:
    days: list[int] = []
    for piece in text.split(","):
        first, _, last = piece.partition("-")
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
        days += [day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)]
    return days
