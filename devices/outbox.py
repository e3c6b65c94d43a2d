"""What a publisher has still to send, and what it may have to send again. Pure: time comes in as an argument.

A broker keeps nothing where nobody has subscribed yet, and says so: such a message waits on. And a broker
that dies may lose its last seconds, acknowledged or not. So a message stays here for `keep_s` after
its PUBACK and is sent again, unchanged, after a reconnect; the collector recognises it. Only a later PUBACK
on the same connection proves that those seconds were spent connected, so only a PUBACK lets a message go.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from itertools import takewhile


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message as it goes out, QoS 1."""

    topic: str
    payload: bytes


@dataclass(slots=True)
class _Entry:
    message: Outgoing
    acked_at: float | None = None  # seconds; set: the broker had it once


class Outbox:
    """A bounded queue of messages in order, each known by a rising number.

    `waiting` to be sent, `in flight` without a PUBACK, `kept` after it. When `capacity` is reached the oldest
    kept message is forgotten; with none of these left, the oldest waiting one is dropped.
    """

    def __init__(self, capacity: int, keep_s: float = 10.0) -> None:
        if capacity < 1:
            raise ValueError("the capacity of an outbox is at least 1")
        self.dropped = 0  # never acknowledged: lost
        self.forgotten = 0  # acknowledged once, not kept for all of `keep_s`
        self.acked = 0  # PUBACKs, those of resent messages too
        self.refused = 0
        self._capacity = capacity
        self._keep_s = keep_s
        self._number = 0
        self._waiting: deque[tuple[int, _Entry]] = deque()
        self._flying: OrderedDict[int, _Entry] = OrderedDict()
        self._kept: deque[tuple[int, _Entry]] = deque()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._flying) + len(self._kept)

    @property
    def pending(self) -> int:
        """How many messages wait or fly: 0 when the broker has acknowledged everything."""
        return len(self._waiting) + len(self._flying)

    def put(self, message: Outgoing) -> None:
        """Take a message in, making room if need be."""
        self._number += 1
        self._waiting.append((self._number, _Entry(message)))
        while len(self) > self._capacity:
            self._make_room()

    def take(self) -> tuple[int, Outgoing] | None:
        """The next message to send, with its number; None if none waits."""
        if not self._waiting:
            return None
        number, entry = self._waiting.popleft()
        self._flying[number] = entry
        return number, entry.message

    def settle(self, number: int, now: float) -> None:
        """Its PUBACK came, at `now` (monotonic seconds): keep it a while, let older ones go."""
        entry = self._flying.pop(number, None)
        if entry is None:
            return
        self.acked += 1
        entry.acked_at = now
        self._kept.append((number, entry))
        while self._kept and now - (self._kept[0][1].acked_at or 0.0) >= self._keep_s:
            self._kept.popleft()

    def refuse(self, number: int) -> None:
        """The broker will not have it: sending it again would change nothing."""
        if self._flying.pop(number, None) is not None:
            self.refused += 1

    def unheard(self, number: int) -> None:
        """Nobody has subscribed to it: it waits again, in its old place."""
        entry = self._flying.pop(number, None)
        if entry is not None:
            place = sum(1 for _ in takewhile(lambda item: item[0] < number, self._waiting))
            self._waiting.insert(place, (number, entry))

    def disconnected(self) -> None:
        """Everything not yet let go waits again, in its first order."""
        again = sorted([*self._kept, *self._flying.items(), *self._waiting], key=lambda item: item[0])
        self._waiting = deque(again)
        self._flying.clear()
        self._kept.clear()

    def _make_room(self) -> None:
        if self._kept:
            self._kept.popleft()
            self.forgotten += 1
        elif len(self._waiting) > 1 or not self._flying:
            self._count_gone(self._waiting.popleft()[1])
        else:
            _, oldest = self._flying.popitem(last=False)
            self._count_gone(oldest)

    def _count_gone(self, entry: _Entry) -> None:
        if entry.acked_at is None:
            self.dropped += 1
        else:
            self.forgotten += 1
