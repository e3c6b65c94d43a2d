"""Which commands a publisher has taken, and how each ended: in a small file, so that a restart forgets none.

Bounded. What is forgotten to make room, or because its time is over, raises `floor`: a command that expires
no later is refused, whatever the clock says by then.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Final

from devices.model import CommandAck
from devices.problems import Problems
from devices.secretfile import write_private

log = logging.getLogger(__name__)

MOST: Final = 256
_DETAIL: Final = 256  # characters of an answer's detail that are kept
INTERRUPTED: Final = "the device restarted before it was done"


class CommandMemory:
    """Command id → its expiry (epoch ms) and the answer to it. Without a file it ends with the process.

    Raises Problems if there can be no such file. One that cannot be understood is set aside: the log says so.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._answers: dict[str, tuple[int, CommandAck]] = {}
        self.floor = 0
        if file is not None:
            self._open(file)

    def answer(self, command_id: str) -> CommandAck | None:
        """How a command that was taken stands, or ended; None: it is not known."""
        known = self._answers.get(command_id)
        return known[1] if known else None

    def put(self, command_id: str, expires: int, ack: CommandAck, now: int) -> None:
        """Remember it, on disk too if there is a file, before this returns. Raises OSError."""
        before, floor = self._answers, self.floor
        self._answers = {**before, command_id: (expires, ack)}
        self._forget(now)
        try:
            self._save()
        except OSError:
            self._answers, self.floor = before, floor
            raise

    def _forget(self, now: int) -> None:
        """Drop what has expired by `now`, and beyond `MOST` what expires first."""
        oldest_first = sorted(self._answers.items(), key=lambda item: item[1][0])
        surplus = len(oldest_first) - MOST
        for place, (command_id, (expires, _)) in enumerate(oldest_first):
            if place < surplus or expires <= now:
                del self._answers[command_id]
                self.floor = max(self.floor, expires)

    def _save(self) -> None:
        if self._file is None:
            return
        answers = {
            command_id: [expires, ack.status, ack.detail[:_DETAIL], ack.ts]
            for command_id, (expires, ack) in self._answers.items()
        }
        write_private(self._file, json.dumps({"floor": self.floor, "answers": answers}))

    def _open(self, file: Path) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if file.exists():
                self._load(file)
            self._save()
        except OSError as error:
            what = f"the commands that were run cannot be remembered here ({error.strerror})"
            raise Problems.one(str(file), what, "name a file that this user can write") from None

    def _load(self, file: Path) -> None:
        try:
            kept = json.loads(file.read_text("utf-8"))
            self.floor = int(kept["floor"])
            for command_id, (expires, status, detail, ts) in kept["answers"].items():
                ack = CommandAck(command_id, status, detail, ts)
                if status == "accepted":  # and never answered again: it was cut off
                    ack = CommandAck(command_id, "failed", INTERRUPTED, ts)
                self._answers[command_id] = (int(expires), ack)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            aside = file.with_name(f"{file.name}.bad")
            file.replace(aside)
            log.error("%s cannot be read (%s): set aside as %s", file, error, aside)  # noqa: TRY400
