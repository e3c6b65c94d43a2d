"""What is done about a worker that fails, declared; and how each one stands. Pure: time comes in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from devices.backoff import Backoff


@dataclass(frozen=True, slots=True)
class Policy:
    """A worker that fails is started again after a while; after `tries` failures in a row the process ends.

    `tries` None: it is started again for ever. `first` and `most` are the shortest and the longest wait,
    `stable` the run after which earlier failures are forgotten; all in seconds. `hopeless` says of which
    errors another try in this process is in vain: it ends at once. `mend` is said at the end.
    """

    tries: int | None = None
    first: float = 0.5
    most: float = 30.0
    stable: float = 60.0
    hopeless: Callable[[Exception], bool] = lambda _: False
    mend: str = "see the log"


@dataclass(slots=True)
class Standing:
    """How one worker stands. All `now` are monotonic seconds."""

    policy: Policy
    begun: float = 0.0
    up: bool = False
    failures: int = 0
    """In a row."""
    restarts: int = 0
    """Since the process began."""
    why: str = ""
    """What it failed of last."""

    def begins(self, now: float) -> None:
        """It runs, perhaps again."""
        self.restarts += bool(self.failures)
        self.begun, self.up = now, True

    def fails(self, now: float, why: str, *, hopeless: bool = False) -> float | None:
        """It ended: the seconds after which it is started again; None if the process is to end."""
        self.settle(now)
        self.up, self.why = False, why
        self.failures += 1
        if hopeless or (self.policy.tries is not None and self.failures > self.policy.tries):
            return None
        return Backoff(self.policy.first, self.policy.most).wait(self.failures)

    def settle(self, now: float) -> None:
        """Forget the failures once it has run long enough."""
        if self.up and now - self.begun >= self.policy.stable:
            self.failures = 0

    def trouble(self, now: float) -> str:
        """What is to be told of it; nothing if it runs and has run long enough."""
        self.settle(now)
        if not self.failures:
            return ""
        if not self.up:
            return f"stopped by a fault: {self.why}; it is started again"
        times = "once" if self.restarts == 1 else f"{self.restarts} times"
        return f"restarted {times}: {self.why}"
