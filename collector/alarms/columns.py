"""What the engine knows of each series, in columns by series number, so that a batch is tested at once."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from collector.alarms.field import Field
from collector.alarms.lifecycle import Target
from collector.alarms.quiet import calm, quiet
from collector.alarms.rules.ruleset import Rule
from collector.core.readings import F64, I32, I64, Bools, SeriesTable, grown

Numbers = npt.NDArray[np.intp]
Plan = tuple[Rule, ...]
"""The rules on a series; there are few, for many series."""

_FILLS = {
    "low": -np.inf,
    "high": np.inf,
    "unit": 0,
    "plan": 0,
    "last": np.nan,
    "seen": 0,
    "held": False,
    "touched": False,
}


class Columns:
    """Columns by series number: quiet interval, device, plan, last live value and its stamp.

    Most series are in no alarm, and these columns are all that is kept of the rules on them. Of the others
    `targets` holds the targets, one for each rule of the series' plan.
    """

    def __init__(self, table: SeriesTable) -> None:
        self.table = table
        self.known = 0
        self.low: F64 = np.empty(0, np.float64)
        self.high: F64 = np.empty(0, np.float64)
        self.unit: I32 = np.empty(0, np.int32)
        self.plan: I32 = np.empty(0, np.int32)
        self.last: F64 = np.empty(0, np.float64)  # NaN: none yet
        self.seen: I64 = np.empty(0, np.int64)
        self.held: Bools = np.empty(0, np.bool_)  # it is among `targets`
        self.touched: Bools = np.empty(0, np.bool_)  # scratch, all False between uses
        self.targets: dict[int, tuple[Target, ...]] = {}
        self._forget()

    def _forget(self) -> None:
        self.known = 0
        self._plans: list[Plan] = [()]
        self._plan_numbers: dict[Plan, int] = {(): 0}
        self._units: I32 = np.empty(0, np.int32)  # by the table's places

    def learn(self, field: Field) -> None:
        """Take in the series that are new in the table."""
        place, metric = self.table.columns(self.known)
        if not len(place):
            return
        self._meet(field)
        new = slice(self.known, self.known + len(place))
        self._grow(new.stop)
        unit = self._units[place]
        plan = self._choose(field, field.set_of[unit], metric)
        self.unit[new], self.plan[new] = unit, plan
        for number in np.unique(plan).tolist():
            rows = self.known + np.flatnonzero(plan == number)
            rules = self._plans[number]
            self.low[rows], self.high[rows] = calm(rules, self.last[rows])
            if any(rule.criterion.silence for rule in rules):
                for row in rows.tolist():
                    field.series_absences.setdefault(int(self.unit[row]), []).append(row)
        self.known = new.stop

    def relearn(self, field: Field) -> None:
        """Take in all series anew: rules or devices changed. Last values stay, targets go."""
        self.targets = {}
        self.held[:] = False
        self._forget()
        self.learn(field)

    def hold(self, number: int, since: int) -> tuple[Target, ...]:
        """The series' targets, made now if it has none: they then must be given to `settle`."""
        found = self.targets.get(number)
        if found is None:
            key = self.table.keys[number]
            found = tuple([Target(rule, key, since=since) for rule in self._plans[self.plan[number]]])
            self.targets[number], self.held[number] = found, True
        return found

    def settle(self, number: int) -> None:
        """Work out the series' quiet interval from its targets; let go of them if they are as new ones."""
        targets = self.targets[number]
        value = float(self.last[number])
        present = None if math.isnan(value) else value
        self.low[number], self.high[number] = quiet(targets, present)
        if not any(target.busy or target.armed for target in targets):
            del self.targets[number]
            self.held[number] = False

    def meet(self, series: Numbers, value: F64) -> Bools | None:
        """Which rows, of series hit, bring nothing but a first value that is calm; their series know it now.

        After a start that may be every switch and detector of a nation. None if there are none.
        """
        waiting = np.flatnonzero((self.low[series] == np.inf) & ~self.held[series])
        if not len(waiting):
            return None
        rows = waiting[np.unique(series[waiting], return_index=True)[1]]  # of each series the first one
        met = np.zeros(len(series), np.bool_)
        plans = self.plan[series[rows]]
        for plan in np.unique(plans).tolist():
            mine = rows[plans == plan]
            low, high = calm(self._plans[plan], value[mine])
            good = (low <= value[mine]) & (value[mine] <= high)
            of = series[mine[good]]
            self.low[of], self.high[of] = low[good], high[good]
            met[mine[good]] = True
        return met

    def _meet(self, field: Field) -> None:
        """Learn which devices the table's new places are."""
        new = [field.find(site, device) for site, device in self.table.names(len(self._units))[0]]
        self._units = np.concatenate([self._units, np.array(new, np.int32)])

    def _choose(self, field: Field, sets: I32, metric: I32) -> I32:
        """The plan of each new series, by its device's set of rules and its metric."""
        pairs = sets.astype(np.int64) << 32 | metric
        unique, which = np.unique(pairs, return_inverse=True)
        metrics = self.table.names(len(self._units))[1]
        plans = []
        for pair in unique.tolist():
            rules, name = field.sets[pair >> 32], metrics[pair & 0xFFFFFFFF]
            chosen = tuple(rule for rule in rules if name and rule.metric == name)
            plans.append(self._plan_numbers.setdefault(chosen, len(self._plan_numbers)))
            if plans[-1] == len(self._plans):
                self._plans.append(chosen)
        return np.array(plans, np.int32)[which]

    def _grow(self, size: int) -> None:
        for name, fill in _FILLS.items():
            setattr(self, name, grown(getattr(self, name), size, fill))
