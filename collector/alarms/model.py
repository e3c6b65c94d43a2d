"""The alert and its transitions: plain data, the same in the engine, in state.db and in the API.

Times are integer epoch nanoseconds of the journal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from collector.core.decision import Decision

Severity = Literal["critical", "major", "minor", "warning"]  # ITU-T X.733
Condition = Literal["pending", "active", "cleared"]
TransitionKind = Literal[
    "pending", "raised", "cleared", "withdrawn",  # by readings, silence and timers
    "acked", "unacked", "shelved", "unshelved", "commented", "assigned", "refused",  # by people
    "retired",  # the rule or the device is gone from the region
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Alert:
    """One (rule, series) that is or was wrong, until it is cleared AND acknowledged.

    `id` = hash(rule, series, opening offset). Raising again before it is gone reuses the id, count + 1.
    """

    id: str
    rule: str
    rule_version: str
    site: str
    device: str
    metric: str  # "" for the device itself (absent)
    severity: Severity
    condition: Condition
    at: int  # when the condition was first met, this time
    value: float | None  # the value that raised it
    count: int = 0  # how often it was raised
    acked: bool = False
    holds: tuple[str, ...] = ()  # sorted: "shelved", "suppressed:<by>", "out_of_service"
    raised_at: int | None = None  # when it became active, this time
    cleared_at: int | None = None
    shelved_until: int | None = None
    assignee: str = ""

    @property
    def gone(self) -> bool:
        """Cleared and acknowledged: the next time is a new alert."""
        return self.condition == "cleared" and self.acked

    @property
    def state(self) -> str:
        """The state in the words of ISA-18.2, derived."""
        if "out_of_service" in self.holds:
            return "out_of_service"
        if "shelved" in self.holds:
            return "shelved"
        if any(hold.startswith("suppressed") for hold in self.holds):
            return "suppressed_by_design"
        if self.condition == "active":
            return "acknowledged" if self.acked else "unacknowledged"
        if self.count and not self.acked:  # cleared, or pending again
            return "returned_to_normal_unacknowledged"
        return "normal"

    def but(self, **changes: object) -> Alert:
        """The same alert with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Transition(Decision):
    """One change of one alert, and the alert after it.

    `refused` (an action that makes no sense) has the reason as its comment, and alert None if there is none.
    `unshelved` comes by action or by time. `withdrawn` is a pending one that was not raised after all.
    """

    kind: ClassVar[str] = "alert"
    change: TransitionKind
    alert: Alert | None

    @property
    def subject(self) -> str:
        """The alert's id."""
        return self.alert.id if self.alert else ""
