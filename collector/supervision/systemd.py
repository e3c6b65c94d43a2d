"""What systemd is told over the socket that it names: sd_notify(3)."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

log = logging.getLogger(__name__)


class Notifier:
    """Tells the service manager; without one (no NOTIFY_SOCKET) nothing happens."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.watchdog = _seconds(environment)
        """Seconds without a sign of life after which it ends the process; None: it does not look."""

    def ready(self) -> None:
        """The start is over, or a reload."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """The settings are read again; `ready` says when that is over."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The process ends."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """A sign of life, once the start is over."""
        self._tell("WATCHDOG=1")

    def starting(self, seconds: float) -> None:
        """The start goes on, and will take so long at most before the next word."""
        self._tell(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def _tell(self, what: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as door:
                door.sendto(what.encode(), address)
        except OSError as error:
            log.warning("systemd could not be told %s: %s", what.partition("\n")[0], error)


def _seconds(environment: Mapping[str, str]) -> float | None:
    """What the unit's WatchdogSec says, if it means this process."""
    usec, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 1e6
