"""Tells the service manager that all moves; of what is stuck it tells the log, and then says nothing more."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from collector.supervision.systemd import Notifier

log = logging.getLogger(__name__)
PATIENCE = 30.0
"""Seconds for which something that has work may stand still."""
TICK = 5.0
STARTING = 60.0
"""Before the start is over each sign of life asks for so many seconds more."""


class Pulse(NamedTuple):
    """How something moves: whether it has work, and a figure that changes while it does it."""

    busy: bool
    progress: int


class Stuck:
    """Finds what has had work for `patience` seconds and did not move."""

    def __init__(self, probes: Mapping[str, Callable[[], Pulse]], patience: float = PATIENCE) -> None:
        self._probes, self._patience = probes, patience
        self._moved: dict[str, tuple[Pulse, float]] = {}

    def look(self, now: float) -> list[str]:
        """Their names. `now` in monotonic seconds."""
        return [name for name, probe in self._probes.items() if self._is_stuck(name, probe(), now)]

    def _is_stuck(self, name: str, pulse: Pulse, now: float) -> bool:
        before, since = self._moved.get(name, (None, now))
        if pulse != before or not pulse.busy:
            self._moved[name] = pulse, now
            return False
        return now - since >= self._patience


class Watchdog:
    """Feeds systemd's watchdog, on the main loop: so that one is watched as well."""

    def __init__(self, notifier: Notifier, stuck: Stuck) -> None:
        self._notifier, self._stuck = notifier, stuck
        self._told: list[str] = []
        self.started = False
        """Whether the start is over."""

    async def run(self) -> None:
        """Give signs of life, until cancelled."""
        every = min(TICK, (self._notifier.watchdog or 2 * TICK) / 2)
        while True:
            self.look(time.monotonic())
            await asyncio.sleep(every)

    def look(self, now: float) -> None:
        """Give a sign of life, unless something is stuck. `now` in monotonic seconds."""
        stuck = self._stuck.look(now)
        if stuck and stuck != self._told:
            log.critical("%s: stuck for %.0f s; systemd is told nothing more", ", ".join(stuck), PATIENCE)
        self._told = stuck
        if stuck:
            return
        if self.started:
            self._notifier.alive()
        else:
            self._notifier.starting(STARTING)
