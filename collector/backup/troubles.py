"""What restic complains of (0.14 and newer), in one sentence: what is wrong, and the mend."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong and how to mend it. `nothing_there`: the place answers, and has no repository."""

    what: str
    mend: str
    nothing_there: bool = False
    locked: bool = False


class PartialError(Exception):
    """A snapshot was made in which something is missing: `snapshot`, its id."""

    def __init__(self, errors: str, snapshot: str) -> None:
        self.snapshot = snapshot
        super().__init__(next(iter(errors.strip().splitlines()), "no reason was given"))


_LOCKED = "somebody else is at work in it"
_DAMAGED = "take another copy of it; else move it away and begin a new one with `nagari backup init`"
_KNOWN: tuple[tuple[str, str, str], ...] = (
    (r"wrong password|no key found", "the password is wrong", "name the right file as the password_file"),
    (
        r"already locked|unable to create lock in backend: repository is",
        _LOCKED,
        "wait for them; a lock of a process that died is taken away after half an hour",
    ),
    (r"no space left|quota|XMinioStorageFull|EntityTooLarge", "it is full", "make room there, or keep fewer"),
    (
        r"Access Denied|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|Forbidden",
        "it does not let us in",
        "mend the keys in the environment_file",
    ),
    (
        r"Permission denied|permission denied",
        "it does not let us in",
        "give the folder, or the account there, to the user that makes the backup",
    ),
    (r"Read-only file system|read-only file system", "it may only be read", "mount it for writing"),
    (
        r"Host key verification failed",
        "its host key is not known",
        "ssh to it once as this user, and accept the key",
    ),
    (r"config file already exists", "there is a repository already", "just run `nagari backup`"),
    (
        r"ciphertext verification failed|invalid data returned|LoadIndex returned|contains errors"
        r"|failed to download|does not match|unexpected file size|returned error, retrying"
        r"|not found in (index|repository)|StreamPack",
        "it is damaged",
        _DAMAGED,
    ),
    (
        r"[cC]onnection refused|no such host|i/o timeout|timed out|Could not resolve|[nN]o route to host"
        r"|network is unreachable|unable to start the sftp session",
        "it does not answer",
        "look at the network and at the machine there; the next backup makes up for this one",
    ),
    (
        r"no matching ID|no snapshot found|is not unique",
        "there is no such snapshot",
        "see `nagari backup list`",
    ),
)
_NOTHING = re.compile(
    r"unable to open config file.*(no such file or directory|file does not exist|key does not exist|404)",
    re.DOTALL,
)


def sentence(errors: str) -> Trouble:
    """The trouble that restic's stderr tells of."""
    if _NOTHING.search(errors):
        mend = "mount it, or mend the place; `nagari backup init` begins a new one"
        return Trouble("there is no repository", mend, nothing_there=True)
    for pattern, what, mend in _KNOWN:
        if re.search(pattern, errors):
            return Trouble(what, mend, locked=what == _LOCKED)
    lines = [line for line in errors.strip().splitlines() if line] or ["it says nothing"]
    fatal = next((line for line in lines if line.startswith("Fatal")), lines[-1])
    return Trouble(f"restic failed ({fatal.removeprefix('Fatal: ')})", "see what it says")
