"""Files of history, sent resumably: what was acknowledged is noted in a small file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from collector.moving.files import Format, lines
from collector.moving.messages import messages
from collector.moving.reading import Line, Reading
from collector.moving.rows import Checker
from collector.moving.sending import HistorySender
from devices.catalogue import KINDS
from devices.problems import Problems
from devices.region import Region

WINDOW = 20_000
"""Readings between two notes of how far it is."""


@dataclass(frozen=True)
class SourceFile:
    """A file, and how to read it."""

    file: Path
    form: Format
    check: Checker

    def lines(self, after: int = 0) -> Iterator[Line]:
        """Its lines beyond number `after`. Raises Problems."""
        return lines(self.file, self.form, self.check, after)

    @property
    def stamp(self) -> list[int]:
        """Its size and its change, to know it again."""
        stat = self.file.stat()
        return [stat.st_size, stat.st_mtime_ns]


@dataclass
class ImportProgress:
    """How far an import is. `done`: by file the last line whose readings are all acknowledged."""

    broker: str
    stamps: dict[str, list[int]]
    done: dict[str, int] = field(default_factory=dict)
    messages: int = 0
    values: int = 0
    before: dict[str, int] = field(default_factory=dict)  # the collector's accounts when it began

    @classmethod
    def load(cls, file: Path, broker: str, sources: list[SourceFile]) -> ImportProgress:
        """What is noted, or a new one. Raises Problems for notes of another import."""
        fresh = cls(broker, {str(source.file.resolve()): source.stamp for source in sources})
        try:
            found: dict[str, Any] = json.loads(file.read_text("utf-8"))
            noted = cls(**found)
        except FileNotFoundError:
            return fresh
        except (OSError, ValueError, TypeError) as error:
            raise Problems.one(str(file), f"is no progress of an import ({error})", "delete it") from None
        if (noted.broker, noted.stamps) != (fresh.broker, fresh.stamps):
            what = "is the progress of another import, or a file has changed since"
            raise Problems.one(
                str(file), what, "delete it to begin anew: what is stored already is a duplicate"
            )
        return noted

    def save(self, file: Path) -> None:
        """Durably, all or nothing. Raises Problems."""
        fresh = file.with_name(file.name + ".new")
        try:
            with fresh.open("w", encoding="utf-8") as out:
                json.dump(asdict(self), out)
                out.flush()
                os.fsync(out.fileno())
            fresh.replace(file)
        except OSError as error:
            what = f"the progress cannot be noted ({error.strerror})"
            raise Problems.one(str(file), what, "name another place with --progress") from None


async def send(
    sources: list[SourceFile],
    progress: ImportProgress,
    file: Path,
    sender: HistorySender,
    tell: Callable[[int, str], None],
) -> None:
    """Send what is not acknowledged yet. `tell` hears of the values sent, and of what is waited for."""
    for source in sources:
        name = str(source.file.resolve())
        for readings, line in _windows(source.lines(progress.done.get(name, 0))):
            parts = messages(readings)
            await sender.deliver(parts, lambda why: tell(progress.values, why))
            progress.done[name] = line
            progress.messages += len(parts)
            progress.values += len(readings)
            progress.save(file)
            tell(progress.values, "")


def _windows(found: Iterator[Line]) -> Iterator[tuple[list[Reading], int]]:
    """The readings of so many lines, and the number of the last one."""
    held: list[Reading] = []
    number = 0
    for line in found:
        number = line.number
        held += line.readings
        if len(held) >= WINDOW:
            yield held, number
            held = []
    if held:
        yield held, number


def unknown(region: Region, series: tuple[str, str, str]) -> str:
    """Why a region does not know the series; "" if it does."""
    site, device, metric = series
    known = region.devices.get(device)
    if known is None:
        return f"there is no device {device}"
    if region.site_id(site) != known.site:
        return f"{device} stands at {known.site}"
    kind = KINDS.get(known.kind)
    if kind is not None and metric not in kind.metrics:
        return f"{known.kind} has no metric {metric}"
    return ""
