"""The log channel: one line per note in the collector's own log."""

from __future__ import annotations

import logging

from collector.core.inert import inert
from collector.notify.channel import Note

_LEVELS = {"critical": logging.ERROR, "major": logging.ERROR, "minor": logging.WARNING}


class LogChannel:
    """Writes one line per note to the logger `nagari.alerts`; control characters are escaped."""

    name = "log"

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._log = logger or logging.getLogger("nagari.alerts")

    async def send(self, note: Note) -> None:
        """Log a raised alert as ERROR (critical, major) or WARNING (others); everything else as INFO."""
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
        """Nothing to release."""
