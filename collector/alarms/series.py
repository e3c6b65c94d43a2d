"""The hot path: tests readings with two comparisons, and steps only through series whose alarms may move.

Of each series two columns hold the interval of values that change nothing in its alarms, as they stand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from collector.alarms.alarm import Alarm
from collector.alarms.fleet import Indices
from collector.alarms.kinds.criterion import EVERYTHING
from collector.alarms.life import Life
from collector.alarms.register import Register
from collector.alarms.rules.ruleset import Rule
from collector.alarms.timers import NEVER, TimerQueue
from collector.core.readings import F64, I32, I64, NOT_EVALUATED, Bools, Readings, SeriesTable, grown

_FILLS: dict[str, object] = {
    "low": -np.inf, "high": np.inf, "unit": 0, "plan": 0, "last": np.nan, "held": False, "touched": False,
}  # fmt: skip


class SeriesLimits:
    """Columns by series number: quiet interval `low`..`high`, device, plan, last live value.

    A plan is the rules on a series; there are few, for many series. Most series are in no alarm, and these
    columns are all that is kept of them.
    """

    def __init__(self, table: SeriesTable, timers: TimerQueue, register: Register, life: Life) -> None:
        self.table = table
        self._timers, self._register, self._life = timers, register, life
        self.low: F64 = np.empty(0, np.float64)
        self.high: F64 = np.empty(0, np.float64)
        self.unit: I32 = np.empty(0, np.int32)
        self.plan: I32 = np.empty(0, np.int32)
        self.last: F64 = np.empty(0, np.float64)  # NaN: none yet
        self.held: Bools = np.empty(0, np.bool_)  # it has alarms in the register
        self.touched: Bools = np.empty(0, np.bool_)  # scratch, all False between uses
        self._since = 0  # when the present rules came to hold
        self._forget()

    def _forget(self) -> None:
        self._known = 0
        self._plans: list[tuple[Rule, ...]] = [()]
        self._plan_numbers: dict[tuple[Rule, ...], int] = {(): 0}
        self._units: I32 = np.empty(0, np.int32)  # by the table's places

    def install(self, now: int) -> None:
        """Take in all series anew: rules or devices changed at `now`. Last values stay."""
        self.held[:] = False
        self._since = now
        self._forget()
        self.learn()

    def learn(self) -> None:
        """Take in the series that are new in the table."""
        place, metric = self.table.columns(self._known)
        if not len(place):
            return
        self._find_devices()
        new = slice(self._known, self._known + len(place))
        for name, fill in _FILLS.items():
            setattr(self, name, grown(getattr(self, name), new.stop, fill))
        self._life.grow(new.stop)
        self.unit[new] = self._units[place]
        self.plan[new] = self._choose(self._life.fleet.set_of[self.unit[new]], metric)
        for number in np.unique(self.plan[new]).tolist():
            rows = self._known + np.flatnonzero(self.plan[new] == number)
            rules = self._plans[number]
            self.low[rows], self.high[rows] = _new_quiet(rules, self.last[rows])
            if any(rule.criterion.silence for rule in rules):
                for row in rows.tolist():
                    self._life.watch_series(int(self.unit[row]), row)
        self._known = new.stop

    def _find_devices(self) -> None:
        fleet, places = self._life.fleet, self.table.names(len(self._units))[0]
        new = np.array([fleet.find(site, device) for site, device in places], np.int32)
        self._units = np.concatenate([self._units, new])

    def _choose(self, sets: I32, metric: I32) -> I32:
        """The plan of each new series, by its device's set of rules and its metric."""
        unique, which = np.unique(sets.astype(np.int64) << 32 | metric, return_inverse=True)
        metrics = self.table.names(len(self._units))[1]
        plans = []
        for pair in unique.tolist():
            rules, name = self._life.fleet.sets[pair >> 32], metrics[pair & 0xFFFFFFFF]
            chosen = tuple(rule for rule in rules if name and rule.metric == name)
            plans.append(self._plan_numbers.setdefault(chosen, len(self._plan_numbers)))
            if plans[-1] == len(self._plans):
                self._plans.append(chosen)
        return np.array(plans, np.int32)[which]

    def hold(self, number: int) -> tuple[Alarm, ...]:
        """The series' alarms, made if there are none: in the end call `settle`."""
        found = self._register.of_series.get(number)
        if found is None:
            key, unit = self.table.keys[number], int(self.unit[number])
            rules = self._plans[self.plan[number]]
            found = tuple([Alarm(rule, key, unit, number, since=self._since) for rule in rules])
            self._register.of_series[number], self.held[number] = found, True
        return found

    def settle(self, number: int) -> None:
        """After a change of a series' alarms: its quiet interval anew; let go of those as new ones."""
        alarms, value = self._register.of_series[number], float(self.last[number])
        present = None if math.isnan(value) else value
        low, high = EVERYTHING
        for alarm in alarms:
            at, to = alarm.quiet(present)
            low, high = max(low, at), min(high, to)
        self.low[number], self.high[number] = low, high
        if not any(alarm.busy or alarm.armed for alarm in alarms):
            del self._register.of_series[number]
            self.held[number] = False

    def test(self, rows: Readings, offsets: I64, stretch: slice) -> int:
        """Take a stretch of rows within which no deadline known by now falls; returns how many were taken.

        Fewer than all if a deadline came up on the way.
        """
        series, value = rows.series[stretch].astype(np.intp), rows.value[stretch]
        received, quality = rows.received[stretch], rows.quality[stretch] & NOT_EVALUATED
        live = quality == 0 if quality.any() else None  # which are evaluated; None: all
        hit = self._hits(series, value, live)
        units = self.unit.take(series)
        watched = self._life.watch.take(units)
        new = self._life.newcomers(units, watched, received)
        hit |= watched if new is None else watched & ~new
        end = len(series)
        if hit.any():
            end = self._walk(hit, series, value, live, received, offsets[stretch])
        if new is not None:
            self._life.welcome(units[:end][new[:end]])
        self._life.heard[units[:end]] = received[:end]
        self._remember(series[:end], value[:end], received[:end], None if live is None else live[:end])
        return end

    def _hits(self, series: Indices, value: F64, live: Bools | None) -> Bools:
        """Which rows are live and may move an alarm."""
        hit = value < self.low.take(series)
        hit |= value > self.high.take(series)
        if live is not None:
            hit &= live
        beyond = np.flatnonzero(hit)
        first = self._first_values(series[beyond], value[beyond])
        if first is not None:
            hit[beyond[first]] = False
        return hit

    def _first_values(self, series: Indices, value: F64) -> Bools | None:
        """Which rows, of series hit, bring nothing but a first value that is quiet; their series know it now.

        After a start that may be every switch and detector of a nation. None if there are none.
        """
        waiting = np.flatnonzero((self.low[series] == np.inf) & ~self.held[series])
        if not len(waiting):
            return None
        rows = waiting[np.unique(series[waiting], return_index=True)[1]]  # of each series the first one
        quiet = np.zeros(len(series), np.bool_)
        plans = self.plan[series[rows]]
        for plan in np.unique(plans).tolist():
            mine = rows[plans == plan]
            low, high = _new_quiet(self._plans[plan], value[mine])
            good = (low <= value[mine]) & (value[mine] <= high)
            of = series[mine[good]]
            self.low[of], self.high[of] = low[good], high[good]
            quiet[mine[good]] = True
        return quiet

    def _remember(self, series: Indices, value: F64, received: I64, live: Bools | None) -> None:
        """Keep each series' newest live value: where an index stands twice, the last one stays."""
        if live is not None:
            series, value, received = series[live], value[live], received[live]
        self.last[series] = value
        if self._life.watches_series:
            self._life.seen[series] = received

    def _walk(
        self, hit: Bools, series: Indices, value: F64, live: Bools | None, received: I64, offsets: I64
    ) -> int:
        """Step through the rows of each series that was hit, up to a deadline that comes up: to which row."""
        rows, timers = self._affected(hit, series), self._timers
        timers.earliest = NEVER
        steps = zip(
            series[rows].tolist(),
            value[rows].tolist(),
            [True] * len(rows) if live is None else live[rows].tolist(),
            received[rows].tolist(),
            offsets[rows].tolist(),
            strict=True,
        )
        for number, reading, is_live, now, offset in steps:
            if now >= timers.earliest:
                break
            self._step(number, reading, is_live, now, offset)
        return len(series) if timers.earliest == NEVER else int(np.searchsorted(received, timers.earliest))

    def _affected(self, hit: Bools, series: Indices) -> Indices:
        """Which rows to step through: once a series is hit, the test of its later rows no longer holds."""
        touched, first = self.touched, series[hit]
        touched[first] = True
        rows = np.flatnonzero(touched.take(series))
        touched[first] = False
        return rows

    def _step(self, number: int, value: float, live: bool, now: int, offset: int) -> None:
        """Take one reading, in full."""
        life, unit = self._life, int(self.unit[number])
        if life.watch[unit]:
            life.hear(unit, now, offset, reading=True)
        if not live or self.low[number] <= value <= self.high[number]:
            return
        self.last[number], life.seen[number] = value, now
        for alarm in self.hold(number):
            criterion = alarm.rule.criterion
            self._register.feed(alarm, criterion.judge(value), value, now, offset)
            if criterion.silence:
                alarm.armed = True
                life.arm(alarm)
        self.settle(number)


def _new_quiet(rules: Sequence[Rule], present: F64) -> tuple[F64, F64]:
    """The values that change nothing in new alarms of series under the same rules; NaN is no value yet."""
    low, high = (np.full(len(present), end) for end in EVERYTHING)
    for rule in rules:
        rule.criterion.narrow(present, low, high)
    return low, high
