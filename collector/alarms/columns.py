"""What the engine knows of each series, in columns by series number, so that a batch is tested at once."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from collector.alarms.field import Field
from collector.alarms.lifecycle import Target
from collector.alarms.quiet import ALL, quiet
from collector.alarms.ruleset import Rule
from collector.core.readings import F64, I64, SeriesKey, SeriesTable

Adopt = Callable[[Rule, SeriesKey], Target]


class Columns:
    """Columns by series number: quiet interval, device, last live value and its stamp, targets."""

    def __init__(self, table: SeriesTable) -> None:
        self.table = table
        self.known = 0
        self.low: F64 = np.empty(0, np.float64)
        self.high: F64 = np.empty(0, np.float64)
        self.unit: npt.NDArray[np.intp] = np.empty(0, np.intp)
        self.last: F64 = np.empty(0, np.float64)  # NaN: none yet
        self.seen: I64 = np.empty(0, np.int64)
        self.touched: npt.NDArray[np.bool_] = np.empty(0, np.bool_)  # scratch, all False between uses
        self.targets: list[tuple[Target, ...]] = []

    def learn(self, field: Field, adopt: Adopt) -> None:
        """Take in the series that are new in the table; `adopt` makes a rule's target on a series."""
        size = len(self.table)
        if size <= self.known:
            return
        self._grow(size)
        for number in range(self.known, size):
            self._take(number, field, adopt)
        self.known = size

    def relearn(self, field: Field, adopt: Adopt) -> None:
        """Take in all series anew: rules or devices changed. Last values stay."""
        self.known = 0
        self.targets = []
        self.learn(field, adopt)

    def settle(self, number: int) -> None:
        """Work out the series' quiet interval from its targets' present state."""
        value = float(self.last[number])
        present = None if math.isnan(value) else value
        self.low[number], self.high[number] = quiet(self.targets[number], present)

    def _take(self, number: int, field: Field, adopt: Adopt) -> None:
        key = self.table.keys[number]
        unit = field.find(key.site, key.device)
        if unit is None or not key.metric:
            self.targets.append(())
            self.unit[number] = unit.number if unit else 0
            self.low[number], self.high[number] = ALL
            return
        targets = tuple(adopt(rule, key) for rule in unit.rules if rule.metric == key.metric)
        unit.series_absences += [target for target in targets if target.rule.test == "absent"]
        self.targets.append(targets)
        self.unit[number] = unit.number
        self.settle(number)

    def _grow(self, size: int) -> None:
        room = len(self.low)
        if size <= room:
            return
        more = max(size, 2 * room, 64) - room
        self.low = np.append(self.low, np.full(more, -np.inf))
        self.high = np.append(self.high, np.full(more, np.inf))
        self.unit = np.append(self.unit, np.zeros(more, np.intp))
        self.last = np.append(self.last, np.full(more, np.nan))
        self.seen = np.append(self.seen, np.zeros(more, np.int64))
        self.touched = np.append(self.touched, np.zeros(more, np.bool_))
