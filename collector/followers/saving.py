"""When a follower's snapshot is due, and how it is written without holding the follower up."""

from __future__ import annotations

import logging
import threading
import time

from collector.core.bundle import pack_into
from collector.core.roster import Part
from collector.state.snapshots import Snapshots

log = logging.getLogger(__name__)
SECONDS = 60.0
REST = 20.0
"""After a snapshot that took a second the next one waits so many, however many messages come."""
AT_ONCE = 4 << 20
"""A snapshot of so many bytes at most is written there and then."""


class Saver:
    """Saves a follower's snapshots: every `messages` messages or minute. For that follower's thread only."""

    def __init__(self, snapshots: Snapshots, name: str, messages: int) -> None:
        self._snapshots = snapshots
        self._name = name
        self._every = messages
        self.messages = 0  # when it was last saved
        self._at = time.monotonic()
        self._took = 0.0
        self._writing: threading.Thread | None = None

    def begin(self, messages: int) -> None:
        """The follower stands there: from here on it is counted."""
        self.messages, self._at = messages, time.monotonic()

    def due(self, messages: int) -> bool:
        """Whether it is time, with that many messages taken in by now."""
        passed = time.monotonic() - self._at
        if passed < REST * self._took or self._busy():
            return False
        return messages - self.messages >= self._every or passed >= SECONDS

    def save(self, cursor: int, form: str, state: Part, messages: int) -> None:
        """Write the follower's state as of a cursor; a large one behind its back, so that must be a copy."""
        self.finish()
        given = (cursor, form, state)
        if sum(column.nbytes for column in state.columns.values()) <= AT_ONCE:
            self._write(*given)
        else:
            self._writing = threading.Thread(target=self._write, args=given, name=f"{self._name}-snapshot")
            self._writing.start()
        self.begin(messages)

    def finish(self) -> None:
        """Wait for what is being written."""
        if self._writing is not None:
            self._writing.join()
            self._writing = None

    def _busy(self) -> bool:
        return self._writing is not None and self._writing.is_alive()

    def _write(self, cursor: int, form: str, state: Part) -> None:
        begun = time.monotonic()
        try:
            self._snapshots.save(
                self._name, cursor, lambda out: pack_into(out, form, state.head, state.columns)
            )
        except OSError as error:
            log.warning("%s: no snapshot could be saved: %s", self._name, error)
        self._took = time.monotonic() - begun
