"""Which commands a publisher obeys. Time comes in as an argument, and each refusal has its reason."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final, Literal

from devices import signing
from devices.catalogue import KINDS
from devices.commandmemory import CommandMemory
from devices.model import Command, CommandAck, Device

log = logging.getLogger(__name__)

Reason = Literal[
    "retained", "no_key", "altered", "expired", "expires_too_late", "unknown_command", "not_remembered"
]
MOST_AHEAD_MS: Final = 24 * 3600 * 1000
"""A command that expires later than this, by the device's clock, is refused: so long it could be replayed."""


@dataclass(frozen=True, slots=True)
class CommandJudgement:
    """What to do with a command: run it, or answer with `ack` at once."""

    run: bool
    ack: CommandAck


class Gate:
    """Judges commands by signature, expiry, kind, and whether they were seen before.

    A command that comes twice is run once and answered twice. Only signed commands are remembered, so that
    strangers cannot fill the memory; one that cannot be remembered is not run.
    """

    def __init__(self, key: bytes, memory: CommandMemory | None = None) -> None:
        self._key = key
        self._memory = memory or CommandMemory()

    def judge(self, command: Command, device: Device, *, retained: bool, now: int) -> CommandJudgement:
        """Whether `device` should run the command at `now` (epoch ms)."""
        reason = self._refusal(command, device, retained, now)
        known = self._memory.answer(command.id) if reason is None else None
        if known is not None:
            return CommandJudgement(run=False, ack=known)
        accepted = CommandAck(command.id, "accepted", "", now)
        if reason is None and command.expires <= self._memory.floor:
            reason = "expired"
        if reason is None and not self._remembered(command, accepted, now):
            reason = "not_remembered"
        if reason is not None:
            return CommandJudgement(run=False, ack=CommandAck(command.id, "rejected", reason, now))
        return CommandJudgement(run=True, ack=accepted)

    def remember(self, command: Command, ack: CommandAck, now: int) -> None:
        """How the command ended, for the case that it comes again."""
        self._remembered(command, ack, now)

    def _remembered(self, command: Command, ack: CommandAck, now: int) -> bool:
        try:
            self._memory.put(command.id, command.expires, ack, now)
        except OSError as error:
            log.error("the command %s cannot be remembered (%s)", command.id, error)  # noqa: TRY400
            return False
        return True

    def _refusal(self, command: Command, device: Device, retained: bool, now: int) -> Reason | None:
        if retained:
            return "retained"
        if not self._key:
            return "no_key"
        fault = signing.verify(command, device.site, device.id, self._key, now)
        if fault is not None:
            return fault
        if command.expires > now + MOST_AHEAD_MS:
            return "expires_too_late"
        kind = KINDS.get(device.kind)
        return None if kind is not None and command.name in kind.commands else "unknown_command"
