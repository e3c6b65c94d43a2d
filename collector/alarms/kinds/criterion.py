"""What the engine asks a rule: what a reading says, and which readings say nothing new."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import IntEnum

import numpy as np

from collector.core.readings import F64

Interval = tuple[float, float]
"""Values from the first to the second, both included."""

EVERYTHING: Interval = (-np.inf, np.inf)
NOTHING: Interval = (np.inf, -np.inf)


class Phase(IntEnum):
    """Where an alarm stands."""

    NORMAL = 0
    PENDING = 1  # violated, waiting for `for`
    RESTART = 2  # pending, but we could not listen: `for` starts again at the next reading
    ACTIVE = 3
    CLEARING = 4  # active and clear, waiting for `keep`


class Judgement(IntEnum):
    """What a reading says: beyond the limit, back behind the clear limit, or neither."""

    VIOLATES = 0
    BETWEEN = 1
    CLEAR = 2


class Criterion(ABC):
    """What a rule decides by, for one kind of device. Equal ones may carry each other's state on."""

    __slots__ = ()

    silence: int = 0
    """ns without a reading that violate; 0: readings decide by their values."""

    @property
    @abstractmethod
    def terms(self) -> Mapping[str, float]:
        """What it is held against, as evidence: by the name of a key of the rule file."""

    @abstractmethod
    def reason(self, judgement: Judgement) -> str:
        """The name of what a judgement means."""

    @abstractmethod
    def judge(self, value: float) -> Judgement:
        """What a reading says."""

    @abstractmethod
    def quiet(self, phase: Phase, armed: bool, present: float | None) -> Interval:
        """The values that change nothing in one alarm of that phase, never RESTART.

        `armed`: something was heard of it. `present`: its series' newest value, None if there is none.
        """

    @abstractmethod
    def narrow(self, present: F64, low: F64, high: F64) -> None:
        """Narrow the intervals `low`..`high` of many series to the values that change nothing in new alarms.

        The three columns are of equal length; `present` holds the newest values, NaN where there is none.
        """

    @abstractmethod
    def limit_text(self, boolean: bool, lang: str) -> str:
        """How the limit reads in a summary, in `id` or `en`. `boolean`: the metric is true or false."""
