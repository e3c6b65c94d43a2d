"""Lines that a server refuses for good: found by halving, told apart from one that refuses everything."""

from __future__ import annotations

import time
from collections.abc import Callable

from collector.core.readings import I64
from collector.store.base import StoreError
from collector.store.server.lines import PROBE

CHUNK = 10_000
"""Lines in one request: about a megabyte."""
_PROBE = PROBE + ",device=nagari,site=nagari value=1.0 {}"

Write = Callable[[list[str]], None]


class LinesRefusedError(Exception):
    """The server will never have what it was sent. `dropped`: of how many lines it says so; 0 if of none."""

    def __init__(self, what: str, dropped: int = 0) -> None:
        self.dropped = dropped
        super().__init__(what)


def deliver(write: Write, lines: list[str], when: I64) -> dict[int, str]:
    """Write all lines, in chunks; gives those that were refused for good, by their place, with the reason.

    A refused chunk is halved until the bad lines stand alone, in the order of time: what a server finds too
    old lies together, and it says how many it dropped. Before a line is given up the server must take a
    harmless one: where it does not, nothing is wrong with the line, and that is a StoreError like any outage.
    Then the line is offered once more: the server may have come to its senses in between.
    """
    refused: dict[int, str] = {}
    parts = [list(range(at, min(at + CHUNK, len(lines)))) for at in range(0, len(lines), CHUNK)][::-1]
    while parts:
        part = parts.pop()
        sent = [lines[row] for row in part]
        if error := _refusal(write, sent):
            if len(part) == 1 or error.dropped == len(part):
                _must_take_a_harmless_one(write)
                if again := _refusal(write, sent):
                    refused.update(dict.fromkeys(part, str(again)))
                continue
            part.sort(key=when.__getitem__)
            half = len(part) // 2
            parts += [part[half:], part[:half]]
    return refused


def _refusal(write: Write, lines: list[str]) -> LinesRefusedError | None:
    try:
        write(lines)
    except LinesRefusedError as error:
        return error
    return None


def _must_take_a_harmless_one(write: Write) -> None:
    if error := _refusal(write, [_PROBE.format(time.time_ns())]):
        raise StoreError(f"refuses whatever it is sent: {error}", permanent=False)
