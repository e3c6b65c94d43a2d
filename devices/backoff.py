"""How long to wait before another try: the one answer for broker, store, webhook and API alike."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from `first` to `most` (seconds), each shortened at random by up to a half.

    The randomness keeps a crowd that lost the same server from coming back at the same moment.
    """

    first: float
    most: float

    def wait(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row; none counts as one."""
        doublings = min(max(failures - 1, 0), 30)
        return min(self.most, self.first * 2.0**doublings) * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)
