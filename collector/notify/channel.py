"""The note that is sent to people, and the interface of a channel that sends it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that happened to an alert, ready to be told. Times are epoch ms.

    `alert` is the alert after it, as the API shows it; `summary` is the text by language.
    """

    seq: int  # of the outbox row
    kind: str  # raised | cleared | acked
    at: int
    alert: Mapping[str, object]
    summary: Mapping[str, str]
    by: str = ""
    comment: str = ""

    @property
    def alert_id(self) -> str:
        """The alert's id; the notes of one alert are delivered in order."""
        return str(self.alert.get("id", ""))

    @property
    def key(self) -> str:
        """Idempotency key: 32 hex digits, a hash of alert, kind, time and count; stable across restarts."""
        told = f"{self.alert_id}|{self.kind}|{self.at}|{self.alert.get('count')}"
        return hashlib.sha256(told.encode()).hexdigest()[:32]


class NotSent(Exception):  # noqa: N818 (it says what happened)
    """The note did not get through. `permanent`: it never will. `retry_after`: seconds to wait first."""

    def __init__(self, why: str, *, permanent: bool = False, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.permanent = permanent
        self.retry_after = retry_after


class Channel(Protocol):
    """A way to tell somebody."""

    @property
    def name(self) -> str:
        """The name of its durable cursor: it must not change, or the channel starts anew."""

    async def send(self, note: Note) -> None:
        """Return once the other side has it. Raises NotSent."""

    async def close(self) -> None:
        """Release what it holds open."""
