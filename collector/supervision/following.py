"""A follower of the journal as a worker: in a thread, and made anew from what is committed after a fault."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from collector.supervision.threads import ending, in_thread


class Follower(Protocol):
    """Follows the journal in a thread of its own."""

    def recover(self) -> None:
        """Take up where its cursor says."""

    def run(self) -> None:
        """Follow until stopped. Raises whatever goes wrong."""

    def stop(self) -> None:
        """Have `run` return, in a while. Does not block."""


F = TypeVar("F", bound=Follower)


class Following(Generic[F]):
    """`current` is the one that runs, or ran last; a new one takes its place once it has recovered."""

    def __init__(self, name: str, make: Callable[[], F], replaced: Callable[[F], None]) -> None:
        self._name, self._make, self._replaced = name, make, replaced
        self._first: F | None = make()
        self.current: F = self._first
        self.follows = False
        """Whether it has recovered and runs."""
        self.tried = asyncio.Event()
        """Set when the first attempt to recover has had its outcome."""

    async def work(self) -> None:
        """Recover and follow, for the supervisor. Cancelled, it commits what it has read."""
        follower, self._first = self._first or self._make(), None
        try:
            await ending(in_thread(f"{self._name}-recover", follower.recover), follower.stop)
        finally:
            self.tried.set()
        self.current = follower
        self._replaced(follower)
        self.follows = True
        try:
            await ending(in_thread(self._name, follower.run), follower.stop)
        finally:
            self.follows = False
