"""What a channel's consumer reads and keeps: implemented by state.db."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class TellableRow(Protocol):
    """An outbox row as a consumer reads it: something that happened to an alert."""

    @property
    def seq(self) -> int:
        """Its number; rises."""

    @property
    def change(self) -> str:
        """raised, cleared, acked …"""

    @property
    def at(self) -> int:
        """Epoch ns."""

    @property
    def by(self) -> str:
        """Who, for actions."""

    @property
    def comment(self) -> str:
        """What they said."""

    @property
    def body(self) -> Mapping[str, Any]:
        """The alert as the API shows it, with `summary` by language."""


class OwedRow(Protocol):
    """An outbox row that a channel failed to deliver."""

    @property
    def row(self) -> TellableRow:
        """What is to be told."""

    @property
    def tries(self) -> int:
        """How often it was tried."""

    @property
    def why(self) -> str:
        """Why the last try failed."""


class Position(Protocol):
    """How far a consumer has come."""

    @property
    def seq(self) -> int:
        """The last outbox row that it is done with."""


class NoteSource(Protocol):
    """The outbox and what is owed of it, durable on return. Calls may block: they are made in a thread."""

    def outbox(self, after: int, limit: int) -> Sequence[TellableRow]:
        """The rows after that seq, oldest first, at most `limit`, of every kind."""

    def consumer(self, name: str) -> Position:
        """How far that consumer has come; a new one begins with what comes from now on."""

    def consumed(self, name: str, seq: int) -> None:
        """That consumer is done with everything up to `seq`."""

    def owed(self, channel: str) -> Sequence[OwedRow]:
        """The rows that the channel failed to deliver, oldest first."""

    def owe(self, channel: str, seq: int, tries: int, why: str) -> None:
        """The channel owes that row and is done with what came before it."""

    def settle(self, channel: str, seq: int) -> None:
        """The channel no longer owes that row."""
