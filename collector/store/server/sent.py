"""The rows of one commit, as they go to a server."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from collector.core.readings import F64, I32, I64, U8, Bools, Readings


@dataclass(frozen=True, slots=True)
class Sent:
    """Columns of equal length. `series` are the accounts' numbers, `message` tells whose row it is."""

    series: I32
    time: I64  # epoch ns
    value: F64
    quality: U8
    message: I64  # its receive stamp: no two messages have the same

    def __len__(self) -> int:
        return len(self.series)

    @staticmethod
    def of(rows: Readings, ids: I32) -> Sent:
        """Readings, their series by the accounts' numbers."""
        return Sent(ids, rows.time, rows.value, rows.quality, rows.received)

    def take(self, rows: Bools | npt.NDArray[np.intp]) -> Sent:
        """Those rows only."""
        return Sent(
            self.series[rows], self.time[rows], self.value[rows], self.quality[rows], self.message[rows]
        )
