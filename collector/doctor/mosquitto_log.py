"""Who has the collector's session, by mosquitto's log: found without connecting under its client id."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from collector.doctor.findings import Finding

_CHECK = "collector's session"
_TAIL = 1 << 20
_OFTEN = 3
"""So many takeovers from one and the same address are more than a link that broke."""
_STARTED = re.compile(r"mosquitto version \S+ starting")
_ENTERED = re.compile(r"(.*?): New client connected from (\S+):\d+ as (\S+) \(")
_LEFT = re.compile(r".*?: Client (\S+) (?!already connected)(?!.*session taken over)")


@dataclass(slots=True)
class SessionHistory:
    """`address` has it since `since` (as the log writes times); None: nobody is connected.

    `takeovers` are the times at which it was taken from one that was still connected; `strangers` is whether
    one of them came from another address.
    """

    address: str | None = None
    since: str = ""
    takeovers: int = 0
    strangers: bool = False


def history(lines: Iterable[str], names: set[str]) -> SessionHistory:
    """What happened to the session of a client id; `names` are those under which the broker may know it."""
    found = SessionHistory()
    for line in lines:
        if _STARTED.search(line):
            found.address = None
        elif (entered := _ENTERED.match(line)) and entered[3] in names:
            if found.address is not None:
                found.takeovers += 1
                found.strangers |= found.address != entered[2]
            found.since, found.address = entered[1], entered[2]
        elif (left := _LEFT.match(line)) and left[1] in names:
            found.address = None
    return found


def judge(file: Path, names: set[str]) -> Finding:
    """Whether one collector has the session, or several fight for it."""
    try:
        lines = _tail(file)
    except OSError as error:
        what = f"{file} cannot be read ({error.strerror}): whether two collectors fight for it is not known"
        return Finding("warning", _CHECK, what, "run the doctor as a user who can read the broker's log")
    found, name = history(lines, names), " or ".join(sorted(map(repr, names)))
    if found.strangers or found.takeovers >= _OFTEN:
        what = f"{file}: {name} was taken over {found.takeovers} times from one still connected,"
        what += f" the last time from {found.address or 'a client that is gone'} at {found.since}"
        mend = "stop the second collector, or give it another mqtt.client_id; if there is none, mend the link"
        return Finding("warning", _CHECK, what, mend)
    if found.address is None:
        return Finding("ok", _CHECK, f"nobody is connected as {name}")
    what = (
        f"{name} is connected from {found.address} since {found.since}; a second one would take its messages"
    )
    return Finding("ok", _CHECK, what)


def _tail(file: Path) -> list[str]:
    with file.open("rb") as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - _TAIL))
        return log.read().decode("utf-8", "replace").splitlines()
