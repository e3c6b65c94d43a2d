"""Decisions: what comes out of the course. Plain data, the same in the course, in state.db and in the API.

Times are integer epoch nanoseconds of the journal. Decisions on alerts are `alarms.model.Transition`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

NO_EVIDENCE: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Decision:
    """One change of one thing. A kind of decision is a subclass, whose own fields are the thing after it.

    `offset` is the journal record that caused it; of a timer, the record before which it fired. `reason`
    names the cause (`limit`, `for_over`, `operator` …), `evidence` is what it rests on, as JSON can say it.
    """

    kind: ClassVar[str] = ""
    change: str  # what became of the thing: raised, cleared, online, offline …
    at: int
    offset: int
    reason: str = field(default="", kw_only=True)
    evidence: Mapping[str, Any] = field(default_factory=lambda: NO_EVIDENCE, kw_only=True)
    by: str = field(default="", kw_only=True)  # who, for what people did
    comment: str = field(default="", kw_only=True)
    action: str = field(default="", kw_only=True)  # the Action's id, for whoever awaits it

    @property
    def subject(self) -> str:
        """The id of the thing among its kind; empty if there is none."""
        return ""


@dataclass(frozen=True, slots=True)
class PresenceChange(Decision):
    """A device came or went: `change` is online or offline, as it said itself or its last will did for it."""

    kind: ClassVar[str] = "presence"
    site: str
    device: str

    @property
    def subject(self) -> str:
        """Site and device."""
        return f"{self.site}/{self.device}"


@dataclass(frozen=True, slots=True)
class Gap(Decision):
    """From `since` until `at` we could not listen; `change` is `gap`, the evidence says why."""

    kind: ClassVar[str] = "gap"
    since: int


@dataclass(frozen=True, slots=True)
class DeviceEvent(Decision):
    """A device reported an event of its own, such as a dying gasp: `change` names it, `data` is its own.

    `ts` is when, by the device's clock (epoch ms), if it said so.
    """

    kind: ClassVar[str] = "event"
    site: str
    device: str
    ts: int | None
    data: Mapping[str, Any]

    @property
    def subject(self) -> str:
        """Site and device."""
        return f"{self.site}/{self.device}"


@dataclass(frozen=True, slots=True)
class CommandAnswer(Decision):
    """A device answered a command: `change` is accepted, done, failed or rejected."""

    kind: ClassVar[str] = "answer"
    site: str
    device: str
    command: str
    detail: str
    ts: int | None

    @property
    def subject(self) -> str:
        """The command's id."""
        return self.command
