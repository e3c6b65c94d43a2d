"""How long ago the last good backup was made, and whether that is too long; `last.json` says so."""

from __future__ import annotations

import contextlib
import json
import logging
from pathlib import Path

from collector.core.config import Config

log = logging.getLogger(__name__)
LAST, SINCE = "last.json", "since"
HOUR = 3600.0


class BackupWatch:
    """Looks at the backup's mark. Without [backup] repository there is nothing to watch."""

    def __init__(self, config: Config) -> None:
        self._watched = config.backup.repository is not None
        self._older_than = config.backup.older_than
        self._folder = config.data.dir / "backup"

    def age(self, now: int) -> float | None:
        """Seconds since the last good backup was begun, or, before the first, since one was asked for.

        `now` in epoch ns. None: no backup is asked for.
        """
        if not self._watched:
            return None
        at = last_at(self._folder)
        if at is None:
            at = self._asked_for(now)
        return max(0.0, (now - at) / 1e9)

    def late_h(self, now: int) -> float | None:
        """Hours since the last good backup, if longer than `older_than`; else 0. None: not watched."""
        age = self.age(now)
        if age is None:
            return None
        return round(age / HOUR, 2) if age > self._older_than else 0.0

    def _asked_for(self, now: int) -> int:
        mark = self._folder / SINCE
        with contextlib.suppress(OSError, ValueError):
            return int(mark.read_text("utf-8"))
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            mark.write_text(f"{now}\n", "utf-8")
        return now


def last_at(folder: Path) -> int | None:
    """When the last good backup was begun, epoch ns; None if there was none, or its mark cannot be read."""
    try:
        return int(json.loads((folder / LAST).read_text("utf-8"))["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
