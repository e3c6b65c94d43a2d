"""What only one collector may have, its data folder and its port: both are claimed before it starts."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from devices.problems import Faults, Problems

LOCK = "lock"
BACKLOG = 2048


@contextlib.contextmanager
def claimed_folder(folder: Path) -> Iterator[None]:
    """Make the data folder and hold its lock. Raises Problems, Faults if another process holds it.

    The lock goes with the process, however that ends.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        what = f"{folder} cannot be made or written ({error.strerror})"
        raise Problems.one("data.dir", what, "choose another, or give it to this user") from None
    try:
        _take(lock, folder)
        yield
    finally:
        os.close(lock)


def _take(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        what = f"another collector{f' (process {holder})' if holder else ''} has {folder}"
        raise Faults.one("data.dir", what, "stop it, or give this one a data.dir of its own") from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def claimed_port(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises Faults if it cannot be had."""
    try:
        return socket.create_server((host, port), backlog=BACKLOG)
    except OSError as error:
        what = f"{host}:{port} is taken or not ours ({error.strerror})"
        raise Faults.one("http.listen", what, "stop the other program or choose another port") from None
