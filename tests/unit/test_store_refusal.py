"""A server that refuses: only what it would refuse at any time is given up."""

from __future__ import annotations

import numpy as np
import pytest

from collector.store.base import StoreError
from collector.store.server.refusal import LinesRefusedError, deliver

LINES = [f"rx_dbm,device=d,site=s value={n}.0 {n}" for n in range(6)]


class Server:
    """Refuses its first requests, whatever is in them; later only what is bad."""

    def __init__(self, refuses: int, bad: str = "never") -> None:
        self.refuses, self.bad = refuses, bad
        self.requests = 0
        self.kept: set[str] = set()

    def write(self, lines: list[str]) -> None:
        self.requests += 1
        if self.requests <= self.refuses or any(self.bad in line for line in lines):
            raise LinesRefusedError("400")
        self.kept.update(lines)


@pytest.mark.parametrize("refuses", range(12))
def test_a_server_that_comes_to_its_senses_at_any_moment_has_every_line_in_the_end(refuses: int) -> None:
    server = Server(refuses)
    for _ in range(20):
        try:
            assert deliver(server.write, LINES, np.arange(6)) == {}
            break
        except StoreError:
            continue
    assert server.kept >= set(LINES)


def test_a_bad_line_is_found_and_told_and_the_others_are_there() -> None:
    server = Server(0, bad="value=4.0 ")
    assert deliver(server.write, LINES, np.arange(6)) == {4: "400"}
    assert server.kept >= set(LINES) - {LINES[4]}
