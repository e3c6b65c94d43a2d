"""Waiting for a store that refuses: the journal holds what comes meanwhile."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from collector.store.base import StoreError
from devices.backoff import backoff

log = logging.getLogger(__name__)
FIRST, MOST = 0.2, 2.0
"""Seconds between two tries: the first, and the most."""
T = TypeVar("T")


class StoppedError(Exception):
    """Stopped while waiting for the store."""


class Patience:
    """Asks a store until it answers. `status`: "ok", or what holds it up."""

    def __init__(self, stop: threading.Event, disk_full: Callable[[], bool]) -> None:
        self._stop, self._disk_full = stop, disk_full
        self.status = "ok"

    def ask(self, question: Callable[[], T]) -> T:
        """The answer, whenever it comes. Raises StoppedError, and StoreError where trying on is in vain."""
        failures = 0
        while True:
            why = "the disk is full"
            if not self._disk_full():
                try:
                    answer = question()
                except StoreError as error:
                    if error.permanent:
                        raise
                    why = str(error)
                else:
                    self._going_on()
                    return answer
            self.held_up(why)
            if self._stop.wait(backoff(failures, FIRST, MOST)):
                raise StoppedError
            failures += 1

    def held_up(self, why: str) -> None:
        """Say so, once."""
        if self.status == "ok":
            log.error("storing: %s; it is tried again until it works", why)
        self.status = why

    def _going_on(self) -> None:
        if self.status != "ok":
            log.warning("storing: goes on")
        self.status = "ok"
