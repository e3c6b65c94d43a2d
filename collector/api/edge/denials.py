"""Denials on their way into the audit: bounded, and those that are alike in one row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

WINDOW = 60.0
"""Seconds for which denials that are alike are counted before they are written down."""
MOST = 32
"""So many different ones are told apart within a window."""

Denial = tuple[str, dict[str, object]]
"""Who was denied, and what."""


@dataclass(slots=True)
class _Alike:
    detail: dict[str, object]
    more: int = 0


@dataclass(slots=True)
class Denials:
    """The first denial of each person and kind is written at once; the others of a minute in one row.

    Times are monotonic seconds. Whoever keeps it asks `over` when the window that `note` began has passed.
    """

    _began: float | None = None
    _alike: dict[tuple[str, str], _Alike] = field(default_factory=dict)
    _others: int = 0

    @property
    def counting(self) -> bool:
        """Whether a window is open."""
        return self._began is not None

    def note(self, who: str, kind: str, detail: Mapping[str, object], now: float) -> list[Denial]:
        """One more was denied; what is to be written down now."""
        due = self.over(now)
        if self._began is None:
            self._began = now
        if found := self._alike.get((who, kind)):
            found.more += 1
        elif len(self._alike) < MOST:
            self._alike[who, kind] = _Alike(dict(detail))
            due.append((who, dict(detail)))
        else:
            self._others += 1
        return due

    def over(self, now: float) -> list[Denial]:
        """What was counted and not yet written, if the window has passed."""
        if self._began is None or now - self._began < WINDOW:
            return []
        due: list[Denial] = [
            (who, {**alike.detail, "more": alike.more})
            for (who, _), alike in self._alike.items()
            if alike.more
        ]
        if self._others:
            due.append(("-", {"others": self._others}))
        self._began, self._others = None, 0
        self._alike.clear()
        return due
