"""Child processes that never outlive their parent."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_GRACE_S = 5.0


def spawn(
    command: Sequence[str],
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    *,
    heard: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a command that gets SIGTERM when this process dies, however it dies. Its output goes to `log`.

    If it is to be `heard`, what it says on stdout is said here too, and only its stderr goes to `log`.
    Call it from the main thread: the kernel watches the thread, not the process. Ctrl-C at the terminal is
    for the parent alone, which ends its children in order.
    """
    with log.open("ab") as out:
        return subprocess.Popen(  # noqa: S603 (our own command lines)
            command,
            stdin=subprocess.DEVNULL,
            stdout=None if heard else out,
            stderr=out,
            env=None if env is None else {**os.environ, **env},
            cwd=cwd,
            preexec_fn=dying_with_parent(),  # noqa: PLW1509 (nothing in it takes a lock)
        )


def dying_with_parent(word: signal.Signals = signal.SIGTERM) -> Callable[[], None]:
    """A `preexec_fn`: the child gets this signal when the thread that starts it dies. For any Popen."""
    parent = os.getpid()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def die_with_parent() -> None:
        os.setpgid(0, 0)
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, word)
            if os.getppid() != parent:  # it died before the kernel was told
                os._exit(1)

    return die_with_parent


def stop(process: subprocess.Popen[Any]) -> None:
    """SIGTERM, a few seconds of grace, then SIGKILL."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
