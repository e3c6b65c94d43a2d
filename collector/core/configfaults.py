"""What is wrong with the settings, in sentences: where (file, line, key, or variable), what, the mend."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from devices.problems import Problem, Problems

Key = tuple[str, ...]
"""A setting's way from the top; the place in a list is a number in decimal."""
_NAME = r"[A-Za-z0-9_.\- ]+"
_LINE = re.compile(rf"\s*(?:\[\[({_NAME})\]\]|\[({_NAME})\]|({_NAME})=)")


def key_lines(text: str) -> dict[Key, int]:
    """The line of each section and key that stands in the TOML text."""
    found: dict[Key, int] = {}
    seen: Counter[Key] = Counter()
    table: Key = ()
    for number, line in enumerate(text.splitlines(), 1):
        if not (match := _LINE.match(line)):
            continue
        several, one, key = map(_parts, match.groups())
        if match[1]:
            found.setdefault(several, number)
            table = (*several, str(seen[several]))
            seen[several] += 1
        elif match[2]:
            table = one
        found.setdefault((*table, *key), number)
    return found


def _parts(name: str | None) -> Key:
    return tuple(part.strip() for part in name.split(".")) if name else ()


def faults(
    error: ValidationError,
    model: type[BaseModel],
    file: Path,
    lines: Mapping[Key, int],
    variables: Mapping[Key, str],
) -> Problems:
    """Everything that pydantic found wrong. `variables`: the environment's, by the setting they override."""
    return Problems(_fault(detail, model, file, lines, variables) for detail in error.errors())


def _fault(
    detail: Any, model: type[BaseModel], file: Path, lines: Mapping[Key, int], variables: Mapping[Key, str]
) -> Problem:
    path = tuple(str(part) for part in detail["loc"])
    where = variables.get(path[:2]) or f"{file}{_line(path, lines)}: {'.'.join(path)}"
    if detail["type"] == "extra_forbidden":
        return Problem(where, "is not a setting", _meant(path, model))
    message = str(detail["msg"]).removeprefix("Value error, ")
    what, _, mend = message.partition("; ")
    return Problem(where, what, mend or _got(path, detail))


def _line(path: Key, lines: Mapping[Key, int]) -> str:
    """Of the key; of the section around it where it is not written."""
    known = next((lines[path[:size]] for size in range(len(path), 0, -1) if path[:size] in lines), None)
    return "" if known is None else f":{known}"


def _got(path: Key, detail: Any) -> str:
    """What was given instead, unless it may hold a secret: a webhook's address can be one, a url hold one."""
    if detail["type"] == "missing":
        return "write it into its section"
    if path[0] == "notify":
        return "see docs/settings.md"
    return f"got {hidden(repr(detail['input']))}"


def hidden(url: str) -> str:
    """The url without the account that it may hold."""
    return re.sub(r"//.*@", "//…@", url)


def _meant(path: Key, model: type[BaseModel]) -> str:
    known = _fields(path, model)
    close = get_close_matches(path[-1], known, 1)
    listed = f"one of {', '.join(known)}"
    return f"did you mean {close[0]}? It is {listed}" if close else f"{listed} was meant, or delete it"


def _fields(path: Key, model: Any) -> list[str]:
    """The settings that could have been meant by the last part of the path."""
    for part in path[:-1]:
        if part.isdecimal():  # one of a list: its kind was taken with the list's name
            continue
        kind = model.model_fields[part].annotation
        model = next(iter(get_args(kind)), kind)
    return list(model.model_fields)
