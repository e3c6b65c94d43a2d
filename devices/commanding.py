"""Which commands a publisher obeys. Pure: time comes in as an argument, and each refusal has its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from devices import signing
from devices.catalogue import KINDS
from devices.model import Command, CommandAck, Device

Reason = Literal["retained", "no_key", "altered", "expired", "unknown_command"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a command: run it, or answer with `ack` at once."""

    run: bool
    ack: CommandAck


class Gate:
    """Judges commands by signature, expiry, kind, and whether they were seen before.

    A command that comes twice is run once and answered twice. Its id is remembered until it expires; only
    signed commands are remembered, so that strangers cannot fill the memory.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._answers: dict[str, tuple[int, CommandAck]] = {}

    def judge(self, command: Command, device: Device, *, retained: bool, now: int) -> Verdict:
        """Whether `device` should run the command at `now` (epoch ms)."""
        reason = self._refusal(command, device, retained, now)
        if reason is not None:
            return Verdict(run=False, ack=CommandAck(command.id, "rejected", reason, now))
        self._answers = {key: item for key, item in self._answers.items() if item[0] > now}
        known = self._answers.get(command.id)
        if known is not None:
            return Verdict(run=False, ack=known[1])
        accepted = CommandAck(command.id, "accepted", "", now)
        self._answers[command.id] = (command.expires, accepted)
        return Verdict(run=True, ack=accepted)

    def remember(self, command: Command, ack: CommandAck) -> None:
        """How the command ended, for the case that it comes again."""
        self._answers[command.id] = (command.expires, ack)

    def _refusal(self, command: Command, device: Device, retained: bool, now: int) -> Reason | None:
        if retained:
            return "retained"
        if not self._key:
            return "no_key"
        refusal = signing.verify(command, device.site, device.id, self._key, now)
        if refusal is not None:
            return refusal
        kind = KINDS.get(device.kind)
        return None if kind is not None and command.name in kind.commands else "unknown_command"
