"""Remembers on disk that a session of ours exists at a broker: its loss is noticed after a restart, too."""

from __future__ import annotations

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)


class SessionMark:
    """A small file that names the session: broker and client id. Another broker or id is another session."""

    def __init__(self, file: Path, session: str) -> None:
        self._file = file
        self._session = session
        try:
            self.known = file.read_text("utf-8") == session
        except (OSError, ValueError):
            self.known = False

    def set(self) -> None:
        """The session exists. A disk that takes nothing is no reason to stop: it is tried again."""
        if self.known:
            return
        fresh = self._file.with_suffix(".new")
        try:
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
                out.write(self._session)
                out.flush()
                os.fsync(out.fileno())
            fresh.replace(self._file)
        except OSError as error:
            log.warning("%s cannot be written (%s)", self._file, error)
        else:
            self.known = True
