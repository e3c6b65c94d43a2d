"""Remembers on disk that a session of ours exists at a broker: its loss is noticed after a restart, too."""

from __future__ import annotations

import logging
from pathlib import Path

from devices.secretfile import write_private

log = logging.getLogger(__name__)


class SessionMark:
    """A small file that names the session: broker and client id. Another broker or id is another session."""

    def __init__(self, file: Path, session: str) -> None:
        self._file = file
        self._session = session
        try:
            self._written = file.read_text("utf-8") == session
        except (OSError, ValueError):
            self._written = False
        self.known = self._written

    def set(self) -> None:
        """The session exists. A disk that takes nothing is no reason to stop: the next call tries again."""
        self.known = True
        if self._written:
            return
        try:
            write_private(self._file, self._session)
            self._written = True
        except OSError as error:
            log.warning("%s cannot be written (%s)", self._file, error)
