"""A publisher as the broker knows it: its connection, its last will, its buffer. The time comes in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, Literal, Protocol

from devices.model import Address, Device, Suffix
from devices.payload import native
from devices.topics import build
from simulators.world import Path, Unit

WILL_MS: Final = 22_500
"""After one and a half keepalives (15 s) of silence the broker publishes the last will."""
_BUFFER: Final = 10_000
_BURST: Final = 25  # messages of a backlog at a time
_BURST_MS: Final = 20

What = Literal["connect", "drop", "publish", "broker_restart", "collector_cut", "collector_whole"]


@dataclass(frozen=True, slots=True)
class Item:
    """Something the outside sees. `at`: ms from the start.

    `connect`: the publisher connects, which publishes its retained "online" (topic and payload are those).
    `drop`: its connection breaks without a farewell, so the broker publishes the will "offline".
    `publish`: a message, QoS 1, not retained. The others concern the broker and the collector's own link.
    """

    at: int
    what: What
    publisher: str = ""
    topic: str = ""
    payload: bytes = b""


class Agenda(Protocol):
    """Where a publisher puts what is to happen later, and what the outside sees now."""

    def later(self, at: int, do: Callable[[int], None]) -> None:
        """Call `do(at)` when it is `at`."""

    def emit(self, item: Item) -> None:
        """The outside sees this."""


Link = tuple[bool, bool, Path | Literal["own"] | None]
"""(has power, runs, by which way it reaches the broker)."""


class Publisher:
    """One MQTT connection. `reconsider` tells it how things stand; `say` gives it messages."""

    def __init__(
        self,
        unit: Unit,
        others: list[Unit],
        agenda: Agenda,
        rng: Random,
        connected: Callable[[Unit, int], None],
    ) -> None:
        self.unit = unit
        self.units = [unit, *others]
        self.dead = 0  # faults that keep it away
        self.connected = False
        self.dropped = 0  # messages that the buffer had no room for
        self._agenda = agenda
        self._rng = rng
        self._on_connect = connected
        self._path: str | None = None
        self._silent = False
        self._powered = True
        self._turn = 0  # rises when what was planned no longer holds
        self._planned = False
        self._buffer: deque[tuple[str, bytes]] = deque(maxlen=_BUFFER)
        self._state = build(Address(unit.device.site, unit.device.id, Suffix.STATE))

    @property
    def device(self) -> Device:
        """Whose connection it is."""
        return self.unit.device

    def reconsider(self, t: int, link: Link, haste_ms: tuple[int, int] = (1_000, 4_000)) -> None:
        """Something changed: power, the way to the broker, whether it runs."""
        powered, runs, path = link
        up = runs and path is not None and not self.dead
        self._powered = powered
        if not powered:
            self._buffer.clear()
        if self.connected:
            self._stay(t, path, up=up)
        elif not up:
            self._forget_plan()
        elif self._planned:
            self._path = path
        else:
            self._plan(t + int(self._rng.uniform(*haste_ms)), path)

    def _stay(self, t: int, path: str | None, *, up: bool) -> None:
        if up and path == self._path:
            if self._silent:
                self._silent = False
                self._forget_plan()
                self._flush(t)
        elif up:
            self.drop(t)
            self._plan(t + int(self._rng.uniform(500, 3_000)), path)
        elif not self._silent:
            self._silent = True
            self._forget_plan()
            turn = self._turn
            self._agenda.later(t + WILL_MS, lambda now: self._expire(now, turn))

    def _expire(self, t: int, turn: int) -> None:
        if turn == self._turn and self._silent:
            self.drop(t)

    def drop(self, t: int) -> None:
        """The connection breaks; the broker says offline."""
        if self.connected:
            self.connected = self._silent = False
            self._forget_plan()
            self._agenda.emit(Item(t, "drop", self.device.id, self._state, native.encode_state(online=False)))

    def _forget_plan(self) -> None:
        self._turn += 1
        self._planned = False

    def _plan(self, at: int, path: str | None) -> None:
        self._planned = True
        self._path = path
        turn = self._turn
        self._agenda.later(at, lambda now: self._connect(now, turn))

    def _connect(self, t: int, turn: int) -> None:
        if turn != self._turn:
            return
        self._planned = False
        self.connected = True
        self._agenda.emit(Item(t, "connect", self.device.id, self._state, native.encode_state(online=True)))
        self._flush(t)
        for unit in self.units:
            self._on_connect(unit, t)

    def say(self, t: int, topic: str, payload: bytes) -> None:
        """Publish, or keep it until there is a connection; the oldest go when the buffer is full.

        What a device without power was still to say is lost with its memory.
        """
        if not self._powered:
            return
        if self.connected and not self._silent and not self._buffer:
            self._agenda.emit(Item(t, "publish", self.device.id, topic, payload))
        else:
            self.dropped += len(self._buffer) == _BUFFER
            self._buffer.append((topic, payload))

    def _flush(self, t: int) -> None:
        """Send the backlog, in order, a little at a time."""
        if not self.connected or self._silent:
            return
        for _ in range(min(_BURST, len(self._buffer))):
            topic, payload = self._buffer.popleft()
            self._agenda.emit(Item(t, "publish", self.device.id, topic, payload))
        if self._buffer:
            turn = self._turn
            self._agenda.later(t + _BURST_MS, lambda now: self._flush(now) if turn == self._turn else None)
