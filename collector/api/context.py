"""What every route works with: kept on the application, handed to the routes as a dependency."""

from __future__ import annotations

from asyncio import TimerHandle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from collector.api.collector import Collector
from collector.api.edge.denials import Denials
from collector.api.edge.door import Door
from collector.api.edge.lockout import Lockout
from collector.api.frames import SharedFrames
from collector.api.hub import Hub, StreamCaps
from collector.api.paging import Listings
from collector.api.standing import Standings


@dataclass(frozen=True, slots=True)
class Pace:
    """The stream's rhythm, in seconds: stats, readings, heart-beat, re-check of the caller, longest stall.

    `gather`: after alerts were sent, what comes for so long, times the clients, goes out in one piece: a few
    clients are told at once, and a storm costs 1 / `gather` pieces a second at most, however many listen.
    """

    stats: float = 2.0
    reading: float = 1.0
    beat: float = 15.0
    check: float = 2.0
    stall: float = 10.0
    gather: float = 0.0005


@dataclass(slots=True)
class Context:
    """The running collector, the hub, a clock (epoch ns), the pace, and what the routes share."""

    collector: Collector
    hub: Hub
    clock: Callable[[], int]
    door: Door
    caps: StreamCaps
    pace: Pace = Pace()
    denials: Denials = field(default_factory=Denials)
    denials_timer: TimerHandle | None = None
    lockout: Lockout = field(default_factory=Lockout)
    frames: SharedFrames = field(default_factory=SharedFrames)
    standings: Standings = field(default_factory=Standings)
    listings: Listings = field(default_factory=Listings)


def context(request: Request) -> Context:
    """The application's context."""
    found = request.app.state.context
    assert isinstance(found, Context)
    return found


Ctx = Annotated[Context, Depends(context)]
