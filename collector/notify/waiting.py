"""The notes that a channel failed to deliver: in order for each alert, each with the time of its next try."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from collector.notify.channel import Note


@dataclass(slots=True, eq=False)
class Owed:
    """A note to be sent, after `tries` in vain, at the monotonic time `due` (seconds) or later."""

    note: Note
    tries: int = 0
    due: float = 0.0


class Waiting:
    """Alert id → its notes, oldest first. Only an alert's oldest note is ever due: the others wait for it."""

    def __init__(self) -> None:
        self._by_alert: dict[str, deque[Owed]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def has(self, alert: str) -> bool:
        """Whether a note of that alert waits, so that a newer one of it has to wait as well."""
        return alert in self._by_alert

    def put(self, owed: Owed) -> None:
        """Put it behind the other notes of its alert; one that is its alert's oldest stays where it is."""
        notes = self._by_alert.setdefault(owed.note.alert_id, deque())
        if not notes or notes[0] is not owed:
            notes.append(owed)
            self._count += 1

    def next(self) -> Owed | None:
        """The note that is due first; None if none waits."""
        heads = (notes[0] for notes in self._by_alert.values())
        return min(heads, key=lambda owed: owed.due, default=None)

    def oldest(self) -> Owed | None:
        """The note that happened first; None if none waits."""
        heads = (notes[0] for notes in self._by_alert.values())
        return min(heads, key=lambda owed: owed.note.seq, default=None)

    def remove(self, owed: Owed) -> None:
        """Take it out, if it is its alert's oldest."""
        alert = owed.note.alert_id
        notes = self._by_alert.get(alert)
        if notes and notes[0] is owed:
            notes.popleft()
            self._count -= 1
        if not notes:
            self._by_alert.pop(alert, None)

    def hurry(self) -> None:
        """Let each be due at once: whoever refused takes notes again."""
        for notes in self._by_alert.values():
            for owed in notes:
                owed.due = 0.0
