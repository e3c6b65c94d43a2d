"""Room on the disk kept for bad times."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class Reserve:
    """Room on the disk that is kept for the alarm that the disk is full."""

    path: Path
    size: int
    held: bool = False

    def hold(self, waiting: int = 0) -> bool:
        """Take the room if there is half as much again, and `waiting` bytes more; says whether it is held."""
        if self.held:
            return True
        self.release()  # an earlier run may have left it: it is room, not missing room
        room = os.statvfs(self.path.parent)
        if room.f_bavail * room.f_frsize < self.size * 3 // 2 + waiting:
            return False
        try:
            fd = os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o600)
            try:
                os.posix_fallocate(fd, 0, self.size)
            finally:
                os.close(fd)
        except OSError:
            self.release()
            return False
        self.held = True
        return True

    def release(self) -> None:
        """Give the room away."""
        self.path.unlink(missing_ok=True)
        self.held = False
