"""Real probes of the way to a target: ICMP echo where the kernel lets us, else TCP. All of it blocks."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from statistics import fmean
from typing import Literal

import icmplib

Mode = Literal["unprivileged", "privileged"]
_FALLBACK_PORT = 80


@dataclass(frozen=True, slots=True)
class LinkQuality:
    """What a burst of probes found: mean round trip and mean change between neighbours (ms), loss (%).

    Without an answer there is no latency; with one only, no jitter.
    """

    latency_ms: float | None
    jitter_ms: float | None
    loss_pct: float

    @staticmethod
    def of(answers: list[float | None]) -> LinkQuality:
        """From the round trips in ms, None for each that was lost."""
        trips = [trip for trip in answers if trip is not None]
        steps = [abs(after - before) for before, after in pairwise(trips)]
        return LinkQuality(
            latency_ms=round(fmean(trips), 3) if trips else None,
            jitter_ms=round(fmean(steps), 3) if steps else None,
            loss_pct=round(100 * (1 - len(trips) / len(answers)), 2),
        )


@cache
def icmp_mode() -> Mode | None:
    """How this process may send ICMP echoes: by the kernel's ping sockets, as root, or not at all."""
    modes: tuple[tuple[Mode, bool], ...] = (("unprivileged", False), ("privileged", True))
    for mode, privileged in modes:
        try:
            with icmplib.ICMPv4Socket(privileged=privileged):
                return mode
        except icmplib.ICMPLibError:
            continue
    return None


def probe(host: str, port: int | None, *, count: int, spacing: float, timeout: float) -> LinkQuality:
    """Send `count` probes, `spacing` seconds apart, and wait up to `timeout` for each.

    With a port: TCP connects to it, where a refusal is a loss. Without one: ICMP; and where that is not
    allowed, TCP to port 80, where a refusal is an answer too, since it came from the target. A name that
    cannot be resolved is a loss.
    """
    mode = icmp_mode() if port is None else None
    if mode is not None:
        return _ping(host, mode, count, spacing, timeout)

    def once() -> float | None:
        return tcp_trip(host, port or _FALLBACK_PORT, timeout, refusal_answers=port is None)

    return LinkQuality.of(_burst(once, count, spacing))


def tcp_trip(host: str, port: int, timeout: float, *, refusal_answers: bool = False) -> float | None:
    """Milliseconds that a TCP connect takes; None if there is no answer in time."""
    start = time.perf_counter()
    try:
        socket.create_connection((host, port), timeout).close()
    except ConnectionRefusedError:
        if not refusal_answers:
            return None
    except OSError:
        return None
    return (time.perf_counter() - start) * 1000


def _ping(host: str, mode: Mode, count: int, spacing: float, timeout: float) -> LinkQuality:
    try:
        found = icmplib.ping(
            host, count=count, interval=spacing, timeout=timeout, privileged=mode == "privileged"
        )
    except icmplib.ICMPLibError:
        return LinkQuality(None, None, 100.0)
    lost: list[float | None] = [None] * (count - len(found.rtts))
    return LinkQuality.of([*found.rtts, *lost])


def _burst(once: Callable[[], float | None], count: int, spacing: float) -> list[float | None]:
    answers = []
    for index in range(count):
        if index:
            time.sleep(spacing)
        answers.append(once())
    return answers
