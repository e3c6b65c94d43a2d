"""Life: when each device and series was last heard, and whose silence is too long.

Most devices are in no alarm: they are columns only, and have no timer. A deadline only ever moves away as its
device is heard, so a look through the columns finds all that can fall within the next seconds.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from collector.alarms.alarm import Alarm
from collector.alarms.fleet import Fleet
from collector.alarms.kinds.criterion import Judgement, Phase
from collector.alarms.register import Register
from collector.alarms.timers import NEVER, TimerQueue
from collector.core.decision import PresenceChange
from collector.core.readings import DEVICE, I32, I64, U8, Bools, SeriesKey, grown
from devices.model import Presence

SPAN = 5 * 10**9
"""How far ahead a look through the columns reaches, ns."""
ONLINE, OFFLINE = 1, 2
ABSENCE = "absence"
"""The owner of timers for a silence that is too long."""
KEPT = ("armed", "said", "gone", "returned", "heard")
"""The columns that outlast a region's version and a restart."""

_ANSWERED = frozenset({Phase.NORMAL, Phase.CLEARING})
_COLUMNS: dict[str, npt.DTypeLike] = {
    "heard": np.int64, "returned": np.int64, "said": np.uint8,
    "armed": np.bool_, "gone": np.bool_, "watch": np.bool_, "held": np.bool_,
}  # fmt: skip


class _Near(NamedTuple):
    """A silence that may be too long at a time: of a device, by its rule in a row of the fleet."""

    deadline: int
    unit: int
    row: int


class Life:
    """Columns by device, and `seen` by series; times in epoch ns, 0 = never.

    A publisher that is gone makes those behind it unknown: their silence says nothing until it speaks again.
    Presence is here and nowhere else: what a device last said of itself, and `online` once it is heard again.
    """

    def __init__(self, timers: TimerQueue, register: Register) -> None:
        self._timers, self._register = timers, register
        self.floor = 0
        """The newest gap's end: no silence is counted from before it."""
        self.seen: I64 = np.empty(0, np.int64)
        """Each series' newest evaluated reading, where a rule watches for its silence."""
        self.watches_series = False
        self.heard: I64 = np.zeros(1, np.int64)
        self.armed: Bools = np.zeros(1, np.bool_)  # a first reading came: silence means something
        self.said: U8 = np.zeros(1, np.uint8)  # of itself, newest: 0 nothing, ONLINE or OFFLINE
        self.gone: Bools = np.zeros(1, np.bool_)  # as a publisher: it said offline, or its silence is raised
        self.returned: I64 = np.zeros(1, np.int64)  # as a publisher: when it last came back
        self.watch: Bools = np.zeros(1, np.bool_)  # the next sign of life changes something
        self.held: Bools = np.zeros(1, np.bool_)  # its own silence has alarms in the register
        self.fleet = Fleet((), lambda _: ())
        self.since: I64 = self.fleet.stale.copy()  # by row and device: the rule holds since then
        self._series_of: dict[int, list[int]] = {}  # of each device, the series whose silence a rule watches
        self._near: list[_Near] = []  # a heap; each may have moved away since
        self._horizon = 0  # all that fall before it are in the heap

    def install(self, fleet: Fleet, now: int) -> None:
        """Let a fleet take the place of another. What is known of the devices that stay is kept.

        Of a rule that decides as before, too, since when it holds.
        """
        old, self.fleet = self.fleet, fleet
        before, here = fleet.stays(old)
        for name, dtype in _COLUMNS.items():
            column = np.zeros(len(fleet) + 1, dtype)
            if name in KEPT:
                column[here] = getattr(self, name)[before]
            setattr(self, name, column)
        since = np.full(fleet.stale.shape, now, np.int64)
        for was, row, places in fleet.same_silences(old, before, here):
            since[row, here[places]] = self.since[was, before[places]]
        self.since = since
        self._series_of = {}
        self.watches_series |= any(
            rule.metric != DEVICE and rule.criterion.silence for rules in fleet.sets for rule in rules
        )
        self.restart()

    def restart(self) -> None:
        """Work out anew what each device's next sign of life changes, and which silences end soon."""
        self._near, self._horizon = [], 0
        np.logical_or(~self.armed, self.gone[self.fleet.voice] | (self.said == OFFLINE), out=self.watch)
        self.watch[0] = False
        for unit in self._register.of_device:
            self._rewatch(unit)

    def grow(self, size: int) -> None:
        """Make room for so many series."""
        self.seen = grown(self.seen, size, 0)  # type: ignore[assignment]

    def watch_series(self, unit: int, number: int) -> None:
        """A rule watches for the silence of a device's series."""
        self._series_of.setdefault(unit, []).append(number)

    def hold(self, unit: int) -> tuple[Alarm, ...]:
        """The alarms on a device's own silence, made if there are none: in the end call `settle`."""
        found = self._register.of_device.get(unit)
        if found is None:
            device, armed, since = self.fleet.devices[unit - 1], bool(self.armed[unit]), self.since[:, unit]
            key = SeriesKey(device.site, device.id, DEVICE)
            rules = zip(self.fleet.own_silence(unit), since.tolist(), strict=False)
            found = tuple([Alarm(rule, key, unit, None, armed=armed, since=at) for rule, at in rules])
            self._register.of_device[unit], self.held[unit] = found, True
        return found

    def settle(self, unit: int) -> None:
        """After a change of a device's alarms: let go of those that are as new ones."""
        if not any(alarm.busy for alarm in self._register.of_device.get(unit, ())):
            self.held[unit] = False
            if self._register.of_device.pop(unit, ()):
                self._await(unit)
        self._rewatch(unit)

    # --- signs of life

    def hear(self, unit: int, now: int, offset: int, reading: bool) -> None:
        """A sign of life of a device: its silence is broken, its publisher is there. A reading arms."""
        self.heard[unit] = now
        voice = int(self.fleet.voice[unit])
        for speaker in dict.fromkeys((voice, unit)):
            if self.said[speaker] == OFFLINE:
                self._change(speaker, ONLINE, now, offset, "heard")
        if self.gone[voice]:
            self._regain(voice, now)
        first = reading and not self.armed[unit]
        self.armed[unit] |= reading
        if unit in self._register.of_device:
            for alarm in self._register.of_device[unit]:
                alarm.armed = bool(self.armed[unit])
                self._register.feed(alarm, Judgement.CLEAR, None, now, offset)
                self.arm(alarm)  # from here on its silence is counted anew
            self.settle(unit)
            return
        if first:
            self._await(unit)
        self._rewatch(unit)

    def say(self, unit: int, online: bool, now: int, offset: int) -> None:
        """A device says of itself, or its last will for it, that it is online or offline."""
        said = ONLINE if online else OFFLINE
        if self.said[unit] != said:
            self._change(unit, said, now, offset, "state")
        if not online:
            self.lose(unit)
        elif self.gone[unit] and unit == self.fleet.voice[unit]:
            self._regain(unit, now)

    def presence_of(self, device: str) -> Presence | None:
        """As in `presence`, of one device; None where nothing is known."""
        fleet, said, gone = self.fleet, self.said, self.gone
        unit = fleet.unit(device)
        if not unit or not len(said) == len(gone) == len(fleet) + 1:
            return None
        if fleet.voice[unit] != unit and gone[fleet.voice[unit]]:
            return "unknown"
        return (None, "online", "offline")[said[unit]]

    def presence(self) -> dict[str, Presence]:
        """By device id, of those that said something, or are unknown because their publisher is gone."""
        fleet, said, gone = self.fleet, self.said, self.gone
        if not len(said) == len(gone) == len(fleet) + 1:  # a version is being installed at this moment
            return {}
        known: tuple[Presence, ...] = ("unknown", "online", "offline")
        behind = gone[fleet.voice] & (fleet.voice != np.arange(len(said)))
        codes = np.where(behind, 0, said).tolist()
        units = np.flatnonzero(behind | (said > 0)).tolist()
        return {fleet.devices[unit - 1].id: known[codes[unit]] for unit in units}

    def _change(self, unit: int, said: int, now: int, offset: int, reason: str) -> None:
        self.said[unit] = said
        device = self.fleet.devices[unit - 1]
        change = "online" if said == ONLINE else "offline"
        self._register.out.append(PresenceChange(change, now, offset, device.site, device.id, reason=reason))

    def newcomers(self, units: I32, watched: Bools, received: I64) -> Bools | None:
        """Which of the watched rows do nothing but arm their device, whose silence ends after all these rows.

        After a start that may be every device of a nation. None if there are none.
        """
        rows = np.flatnonzero(watched)
        if not len(rows):
            return None
        of = units[rows]
        away = self.gone[self.fleet.voice[of]] | (self.said[of] == OFFLINE)
        plain = ~(self.armed[of] | self.held[of] | away)
        ends = int(received[0]) + self.fleet.shortest
        if not plain.any() or ends <= received[-1] or ends < self._horizon:
            return None
        new = np.zeros(len(units), np.bool_)
        new[rows[plain]] = True
        return new

    def welcome(self, units: I32) -> None:
        """Arm the devices of rows that were taken, of those that `newcomers` told."""
        self.armed[units] = True
        self.watch[units] = False

    def lose(self, publisher: int) -> None:
        """The publisher is gone: those behind it are unknown."""
        self.gone[publisher] = True
        self._rewatch_behind(publisher)

    def _regain(self, publisher: int, now: int) -> None:
        """The publisher speaks again, for itself or for another: silence behind it counts from now."""
        self.gone[publisher], self.returned[publisher] = False, now
        register = self._register
        for unit in self.fleet.behind.get(publisher, ()):
            if unit not in register.of_device:
                self._await(unit)
            series = (register.of_series.get(number, ()) for number in self._series_of.get(unit, ()))
            for alarms in (register.of_device.get(unit, ()), *series):
                for alarm in alarms:
                    self.arm(alarm)
        self._rewatch_behind(publisher)

    def _rewatch(self, unit: int) -> None:
        """Decide anew whether the next sign of life of the device changes anything."""
        alarms = self._register.of_device.get(unit, ())
        self.watch[unit] = (
            not self.armed[unit]
            or self.gone[self.fleet.voice[unit]]
            or self.said[unit] == OFFLINE
            or any(alarm.armed and alarm.phase not in _ANSWERED for alarm in alarms)
        )

    def _rewatch_behind(self, publisher: int) -> None:
        for unit in (publisher, *self.fleet.behind.get(publisher, ())):
            self._rewatch(unit)

    # --- silences of alarms, which have timers

    def unknown(self, unit: int) -> bool:
        """Whether a device's silence says nothing about it, because its publisher is gone."""
        voice = self.fleet.voice[unit]
        return bool(voice != unit and self.gone[voice])

    def arm(self, alarm: Alarm) -> None:
        """Give the alarm a timer, if silence from here on means something and it has none."""
        if not (alarm.rule.criterion.silence and alarm.armed) or alarm.silent:
            return
        if alarm.phase in {Phase.PENDING, Phase.ACTIVE} or self.unknown(alarm.unit):
            return
        alarm.silent = self._ends(alarm)
        rank = 0 if alarm.unit in self.fleet.behind else 1  # a publisher's silence explains that behind it
        self._timers.set(alarm.silent, ABSENCE, alarm.name, rank)

    def still(self, alarm: Alarm, deadline: int) -> int | None:
        """When the silence is too long that was to be at a deadline; None if nobody waits for it any more."""
        if alarm.silent != deadline:
            return None
        alarm.silent = 0 if self.unknown(alarm.unit) else self._ends(alarm)
        return alarm.silent or None

    def _ends(self, alarm: Alarm) -> int:
        last = self.heard[alarm.unit] if alarm.series is None else self.seen[alarm.series]
        since = max(int(last), self.floor, alarm.since, self._spoken_of(alarm.unit))
        return since + alarm.rule.criterion.silence

    def _spoken_of(self, unit: int) -> int:
        """Since when a device's publisher speaks again; 0 for one that speaks for itself."""
        voice = self.fleet.voice[unit]
        return int(self.returned[voice]) if voice != unit else 0

    # --- silences of devices in no alarm, which are looked for

    def soonest(self, until: int) -> int | None:
        """The first such silence that is too long by then, as is known now: its deadline."""
        near = self._first(until)
        return None if near is None else near.deadline

    def set_timers(self, until: int) -> None:
        """Make alarms, with a timer each, of the silences that are too long by then."""
        while (near := self._first(until)) is not None:
            for alarm in self.hold(near.unit):
                self.arm(alarm)

    def _first(self, until: int) -> _Near | None:
        while True:
            while self._near and self._near[0].deadline <= until:
                near = self._near[0]
                deadline = self._deadline(near.row, near.unit)
                if deadline == near.deadline:
                    return near
                heapq.heappop(self._near)
                if deadline is not None and deadline < self._horizon:
                    heapq.heappush(self._near, near._replace(deadline=deadline))
            if until < self._horizon:
                return None
            self._look(until + SPAN)

    def _look(self, horizon: int) -> None:
        self._horizon, self._near = horizon, []
        for row in range(len(self.fleet.stale)):
            deadlines = self._deadlines(row)
            units = np.flatnonzero(deadlines < horizon)
            found = zip(deadlines[units].tolist(), units.tolist(), strict=True)
            self._near += [_Near(deadline, unit, row) for deadline, unit in found]
        heapq.heapify(self._near)

    def _await(self, unit: int) -> None:
        """From here on the silence of a device without alarms counts."""
        for row in range(len(self.fleet.stale)):
            deadline = self._deadline(row, unit)
            if deadline is not None:
                self._timers.earliest = min(self._timers.earliest, deadline)
                if deadline < self._horizon:
                    heapq.heappush(self._near, _Near(deadline, unit, row))

    def _deadlines(self, row: int) -> I64:
        """Of each device when its silence is too long by that row's rule; NEVER where nobody waits."""
        voice, stale = self.fleet.voice, self.fleet.stale[row]
        last: I64 = np.maximum(self.heard, self.since[row])
        np.maximum(last, self.floor, out=last)
        counts = self.armed & ~self.held & (stale > 0)
        if self.fleet.behind:
            behind = voice != np.arange(len(voice))
            np.maximum(last, np.where(behind, self.returned[voice], 0), out=last)
            counts &= ~(behind & self.gone[voice])
        last += stale
        last[~counts] = NEVER
        return last

    def _deadline(self, row: int, unit: int) -> int | None:
        """When the silence of one device is too long by that row's rule; None if nobody waits for it."""
        stale = int(self.fleet.stale[row, unit])
        if not stale or not self.armed[unit] or self.held[unit] or self.unknown(unit):
            return None
        known = int(self.heard[unit]), int(self.since[row, unit]), self.floor, self._spoken_of(unit)
        return max(known) + stale
