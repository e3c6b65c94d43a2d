"""Times as files write them: ISO 8601, or a number since 1970 whose unit its size tells. Never guessed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo

DAWN_MS = 1_577_836_800_000
"""2020-01-01: what is older is refused, since the collector would date it by its receipt."""
DUSK_MS = 4_102_444_800_000
"""2100-01-01. Between the two a number says by its size what it counts."""
UNITS = ("s", "ms", "us", "ns")
_PER_S = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_ISO = re.compile(
    r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}:\d{2})(?:[.,](\d{1,9}))?\s*(Z|z|[+-]\d{2}(?::?\d{2})?)?"
)


class Moments:
    """Reads the times of one file to epoch ms. Numbers all have the unit of the first one, or the one given.

    `zone`: where the clocks stood that wrote times without an offset; None: such times are refused.
    """

    def __init__(self, unit: str | None = None, zone: tzinfo | None = None) -> None:
        self.unit, self._zone = unit, zone

    def ms(self, text: str) -> int:
        """Epoch ms, what is finer cut off. Raises ValueError, with the mend after a semicolon."""
        text = text.strip()
        if _NUMBER.fullmatch(text):
            return self._number(text)
        found = _ISO.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no time; write it like 2026-11-24T10:00:00+07:00, or since 1970")
        return self._iso(text, found)

    def at(self, when: datetime) -> int:
        """Epoch ms of a time that a typed file has. Raises ValueError."""
        if when.tzinfo is None:
            when = when.replace(tzinfo=self._known_zone(str(when)))
        since = when - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000

    def _iso(self, text: str, found: re.Match[str]) -> int:
        day, clock, fraction, offset = found.groups()
        offset = "+00:00" if offset in {"Z", "z"} else offset or ""
        if re.fullmatch(r"[+-]\d{2}", offset):
            offset += ":00"
        try:
            when = datetime.fromisoformat(f"{day}T{clock}{offset}")
        except ValueError as error:
            raise ValueError(f"{text!r} is no time ({error}); mend it") from None
        return self.at(when) + int((fraction or "0").ljust(9, "0")[:3])

    def _known_zone(self, text: str) -> tzinfo:
        if self._zone is None:
            raise ValueError(f"{text!r} does not say in which zone; give it an offset, or name --timezone")
        return self._zone

    def _number(self, text: str) -> int:
        unit = self.unit or self._unit_of(text)
        self.unit = unit
        whole, _, fraction = text.partition(".")
        scaled: int = int(whole + fraction) * 1_000 // (_PER_S[unit] * 10 ** len(fraction))
        if not DAWN_MS <= scaled < DUSK_MS:
            raise ValueError(
                f"{text} in {unit}, as the file began, is not from 2020 to 2100; name --time-unit"
            )
        return scaled

    def _unit_of(self, text: str) -> str:
        for unit, per_s in _PER_S.items():
            if DAWN_MS * per_s <= abs(float(text)) * 1_000 < DUSK_MS * per_s:
                return unit
        raise ValueError(f"{text} is not from 2020 to 2100 in s, ms, us or ns; name --time-unit, or mend it")
