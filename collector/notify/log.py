"""The channel that is always there: the collector's own log."""

from __future__ import annotations

import logging

from collector.core.inert import inert
from collector.notify.channel import Note

_LEVELS = {"critical": logging.ERROR, "major": logging.ERROR, "minor": logging.WARNING}


class LogChannel:
    """Writes one line per note. What came from the field cannot break out of its line."""

    name = "log"

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._log = logger or logging.getLogger("nagari.alerts")

    async def send(self, note: Note) -> None:
        """Log it: as an error from major up, once it is over as information."""
        alert = note.alert
        raised = note.kind == "raised"
        level = _LEVELS.get(str(alert.get("severity")), logging.WARNING) if raised else logging.INFO
        said = note.summary.get("en") or next(iter(note.summary.values()), "")
        by = f" by {note.by}: {note.comment}" if note.by else ""
        line = (
            f"alert {note.kind} [{alert.get('severity')}] {alert.get('site')}/{alert.get('device')} "
            f"{said}{by} (rule {alert.get('rule')}, alert {alert.get('id')})"
        )
        self._log.log(level, "%s", inert(line))

    async def close(self) -> None:
        """There is nothing to close."""
