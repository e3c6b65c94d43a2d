"""Finds the line of a table or a key in TOML text, so that a complaint can point at it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_HEADER = re.compile(r"^\s*\[\[\s*([A-Za-z0-9_-]+)\s*\]\]")


@dataclass(frozen=True, slots=True)
class Block:
    """The lines of one `[[name]]` table, numbered from 1."""

    name: str
    start: int
    lines: tuple[str, ...]

    def line(self, *path: str) -> int:
        """The line of the key at `path`, or of the nearest table above it that can be found."""
        at = 0
        for key in path:
            at = next(
                (i for i in range(at, len(self.lines)) if _names(self.lines[i], key)),
                at,
            )
        return self.start + at


def blocks(text: str) -> dict[str, list[Block]]:
    """The `[[…]]` tables of the text, by name, in the order in which they stand."""
    lines = text.splitlines()
    heads = [(number, found[1]) for number, line in enumerate(lines) if (found := _HEADER.match(line))]
    ends = [*(number for number, _ in heads), len(lines)][1:]
    made: dict[str, list[Block]] = {}
    for (number, name), end in zip(heads, ends, strict=True):
        made.setdefault(name, []).append(Block(name, number + 1, tuple(lines[number:end])))
    return made


def line_of(text: str, key: str) -> int:
    """The first line that names the key; 1 if none does."""
    return next((n for n, line in enumerate(text.splitlines(), 1) if _names(line, key)), 1)


def _names(line: str, key: str) -> bool:
    code = line.split("#", 1)[0]
    quoted = re.escape(key)
    return re.search(rf"(?:^|[\s{{,.\[])[\"']?{quoted}[\"']?\s*(?:=|\.|\])", code) is not None
