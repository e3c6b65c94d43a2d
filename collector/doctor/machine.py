"""Looks at the machine: the data folder, its disk, the clock."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from collector.core.config import Config
from collector.doctor.findings import Finding

_TRIES = 30
_SLOW_MS, _TOO_SLOW_MS = 20.0, 250.0
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised


def disk(config: Config) -> list[Finding]:
    """Whether the data folder can be written, has room for what the settings allow, and how fast it syncs."""
    folder = config.data.dir
    check = "data folder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        latencies = sorted(_fsync_ms(folder))
    except OSError as error:
        mend = f"make {folder} writable for this user, or name another data.dir"
        return [Finding("bad", check, f"{folder}: {error.strerror or error}", mend)]
    return [Finding("ok", check, f"{folder} can be written"), _room(config), speed(latencies)]


def speed(latencies: list[float]) -> Finding:
    """What sorted fsync times (ms) mean: every message waits for one before it is acknowledged."""
    middle, worst = latencies[len(latencies) // 2], latencies[-1]
    what = f"{middle:.1f} ms in the middle, {worst:.1f} ms at worst of {len(latencies)}"
    mend = "put data.dir on an SSD of this machine"
    if middle >= _TOO_SLOW_MS:
        return Finding("bad", "disk sync", f"{what}: a flood would back up into the broker", mend)
    if middle >= _SLOW_MS:
        return Finding("warning", "disk sync", f"{what}: each acknowledgement waits so long", mend)
    return Finding("ok", "disk sync", what)


def clock() -> Finding:
    """Whether the kernel says that the clock is kept right by NTP."""
    check = "clock"
    if sys.platform != "linux":
        return Finding("warning", check, "whether it is synchronised cannot be known here", "run NTP")
    # struct timex is at most 208 bytes; modes = 0 only reads
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(512))
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    if state == _TIME_ERROR:
        mend = "run an NTP client (Debian: apt-get install systemd-timesyncd, or chrony)"
        return Finding("warning", check, f"{now}, kept right by nothing the kernel knows of", mend)
    if state < 0:
        return Finding(
            "warning", check, f"{now}; the kernel does not say whether it is synchronised", "run NTP"
        )
    return Finding("ok", check, f"{now}, synchronised")


def _fsync_ms(folder: Path) -> list[float]:
    block = os.urandom(4096)
    with tempfile.TemporaryFile(dir=folder) as file:
        return [_timed(file.fileno(), block) for _ in range(_TRIES)]


def _timed(file: int, block: bytes) -> float:
    os.write(file, block)
    began = time.perf_counter()
    os.fdatasync(file) if hasattr(os, "fdatasync") else os.fsync(file)
    return (time.perf_counter() - began) * 1000


def _room(config: Config) -> Finding:
    free = shutil.disk_usage(config.data.dir).free
    held = sum(file.stat().st_size for file in (config.data.dir / "journal").glob("*") if file.is_file())
    wanted = max(0, config.journal.max_bytes - held) + config.data.reserve
    what = f"{_gb(free)} free; the journal may still grow by {_gb(wanted)}, beside it the store"
    mend = "a larger disk, or a smaller journal.max_bytes"
    if free < 2 * config.data.reserve:
        return Finding("bad", "disk room", what, mend)
    if free < wanted:
        return Finding("warning", "disk room", what, mend)
    return Finding("ok", "disk room", what)


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
