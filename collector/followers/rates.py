"""How many readings of each series came live, counted while they are stored."""

from __future__ import annotations

import threading

import numpy as np

from collector.core.readings import I64, Quality, Readings, grown

_NOT_LIVE = int(Quality.LATE | Quality.OLD | Quality.RETAINED)


class Rates:
    """Counts by series' number since the last `cut`. What an outage held back does not make a device fast."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: I64 = np.zeros(0, np.int64)

    def take(self, rows: Readings) -> None:
        """Count these readings."""
        live = rows.series[(rows.quality & _NOT_LIVE) == 0]
        if not len(live):
            return
        with self._lock:
            self._counts = grown(self._counts, int(live.max()) + 1, 0)  # type: ignore[assignment]
            np.add.at(self._counts, live, 1)

    def cut(self) -> I64:
        """The counts, which begin anew."""
        with self._lock:
            counts, self._counts = self._counts, np.zeros(len(self._counts), np.int64)
        return counts
