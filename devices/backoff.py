"""How long to wait before the next try: the one rule for all that is tried again."""

from __future__ import annotations

import random


def backoff(failures: int, first: float, most: float) -> float:
    """Seconds to wait after so many failures in a row (from 0): doubling from `first` up to `most`.

    Up to half of it is taken off at random: a crowd must not come back at once.
    """
    return min(most, first * 2.0 ** min(failures, 30)) * random.uniform(0.5, 1.0)  # noqa: S311 (jitter)
