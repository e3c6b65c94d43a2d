"""Lets the store put itself in order, now and then, in a thread of its own: days that are over are closed."""

from __future__ import annotations

import logging
import threading
import time

from collector.store.base import Store, StoreError

log = logging.getLogger(__name__)
EVERY = 60.0
"""Seconds between two looks."""


class Tidying:
    """`stop` before the store is closed; closing the store ends what is under way."""

    def __init__(self, store: Store, *, every: float = EVERY) -> None:
        self._store, self._every = store, every
        self._stop = threading.Event()
        self._told = ""

    def stop(self) -> None:
        """Look no more. Does not wait for what is under way."""
        self._stop.set()

    def run(self) -> None:
        """Look now and then until stopped, for the first time after a while: a start has better to do."""
        while not self._stop.wait(self._every):
            try:
                self._store.tidy(time.time_ns())
                self._told = ""
            except StoreError as error:
                if not self._stop.is_set() and str(error) != self._told:
                    log.error("store: what is over cannot be closed (%s); it is tried again", error)  # noqa: TRY400
                    self._told = str(error)
