"""A simulation in virtual time: no broker, and the messages as lines of JSON if somebody wants them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from devices.problems import Problems
from simulators.publisher import Item
from simulators.simulation import Simulation

_STEP_MS: Final = 1_000
_PUBLISHED: Final = frozenset({"publish", "connect", "drop"})


def line(item: Item) -> str:
    """A message as one line of JSON.

    `at`: ms from the start, when the broker has it; `publisher`: who holds the connection; `topic`;
    `payload`, or `payload_hex` where it is not text; `retain`; `will`: the broker published it for a
    publisher that is gone.
    Broker restarts and the collector's link have `at` and `what` only.
    """
    if item.what not in _PUBLISHED:
        return json.dumps({"at": item.at, "what": item.what})
    try:
        payload = {"payload": item.payload.decode()}
    except UnicodeDecodeError:
        payload = {"payload_hex": item.payload.hex()}
    found: dict[str, object] = {"at": item.at, "publisher": item.publisher, "topic": item.topic, **payload}
    if item.what != "publish":
        found |= {"retain": True, "will": item.what == "drop"}
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


@contextmanager
def opened(out: Path | None) -> Iterator[TextIO | None]:
    """The file for the messages, or None. Raises Problems if it cannot be written."""
    if out is None:
        yield None
        return
    try:
        with out.open("w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise Problems.one(str(out), f"cannot be written ({error.strerror})", "name another file") from None


def run(
    sim: Simulation, duration: float, speed: float, out: TextIO | None, progress: Callable[[float], None]
) -> int:
    """Simulate `duration` seconds, at `speed` times real time (0: as fast as it goes); the messages made.

    `progress` hears the share that is done, 0 to 1.
    """
    began = time.monotonic()
    messages = 0
    end = round(duration * 1000)
    for t in range(_STEP_MS, end + _STEP_MS, _STEP_MS):
        for item in sim.until(min(t, end)):
            messages += item.what in _PUBLISHED
            if out is not None:
                out.write(line(item) + "\n")
        if t % 60_000 == 0:
            progress(min(1.0, t / end))
        if speed:
            time.sleep(max(0.0, t / 1000 / speed - (time.monotonic() - began)))
    progress(1.0)
    return messages
