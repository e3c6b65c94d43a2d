"""The tables of a region folder: which columns they have, how a cell is read, and what is wrong with it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from devices.catalogue import KINDS
from devices.model import SiteKind
from devices.problems import Problem
from devices.topics import is_id

SITE_KINDS: tuple[SiteKind, ...] = ("nagari", "district", "health", "agency", "centre", "node")
_DAY = "(?:Mo|Tu|We|Th|Fr|Sa|Su)"
_TIME = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_HOURS = re.compile(rf"24/7|{_DAY}(?:-{_DAY})?(?:,{_DAY}(?:-{_DAY})?)* {_TIME}-(?:{_TIME}|24:00)")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")

Parser = Callable[[str], Any]
"""A cell's text to its value; raises ValueError("what is wrong; the mend")."""


def text(cell: str) -> str:
    """Free text on one line."""
    if _UNPRINTABLE.search(cell):
        raise ValueError("holds a control character; write it as plain text on one line")
    if len(cell) > 256:
        raise ValueError(f"is {len(cell)} characters long; keep it under 256")
    return cell


def name(cell: str) -> str:
    """Free text that must be there."""
    if not cell:
        raise ValueError("is empty; fill it in")
    return text(cell)


def ident(cell: str) -> str:
    """An id of the topics' grammar."""
    if not is_id(cell):
        raise ValueError(f"{cell!r} is no id; use 1 to 64 of A-Z a-z 0-9 _ -")
    return cell


def maybe(parser: Parser, empty: Any) -> Parser:
    """The parser, or `empty` for an empty cell."""
    return lambda cell: parser(cell) if cell else empty


def listed(parser: Parser) -> Parser:
    """A tuple from a list with `;`."""
    return lambda cell: tuple(parser(part.strip()) for part in cell.split(";") if part.strip())


def degrees(limit: float) -> Parser:
    """Degrees within plus or minus `limit`."""

    def parse(cell: str) -> float:
        try:
            value = float(cell)
        except ValueError:
            raise ValueError(f"{cell!r} is no number; write degrees like 100.29207") from None
        if not -limit <= value <= limit:
            raise ValueError(f"{cell} is outside ±{limit:g} degrees; are lon and lat swapped?")
        return value

    return parse


def number(cell: str) -> int:
    """A whole number from 0 to 9999."""
    if not re.fullmatch(r"[0-9]{1,4}", cell):
        raise ValueError(f"{cell!r} is no whole number from 0 to 9999; write one, higher is more important")
    return int(cell)


def hours(cell: str) -> str:
    """Service hours: one or more of `Mo-Fr 08:00-16:00`, parted by `;`, or `24/7`."""
    for part in cell.split(";"):
        if not _HOURS.fullmatch(part.strip()):
            raise ValueError(f'{part.strip()!r} are no hours; write them like "Mo-Fr 08:00-16:00" or "24/7"')
    return cell


def one_of(known: tuple[str, ...], noun: str) -> Parser:
    """One word of a table."""

    def parse(cell: str) -> str:
        if cell not in known:
            raise ValueError(f"{cell!r} is no {noun}; use one of {', '.join(known)}")
        return cell

    return parse


def word(cell: str) -> str:
    """A name as metrics and actuators bear it."""
    if not _NAME.fullmatch(cell):
        raise ValueError(f"{cell!r} is no name; use a-z 0-9 _ and begin with a letter")
    return cell


def labels(cell: str) -> Mapping[str, str]:
    """A mapping from `k=v;k=v`."""
    found: dict[str, str] = {}
    for part in filter(None, map(str.strip, cell.split(";"))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value:
            raise ValueError(f"{part!r} is no label; write labels like area=north;row=2")
        if word(key) in found:
            raise ValueError(f"the label {key} stands twice; keep one")
        found[key] = text(value)
    return found


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: how its cells are read, and whether the table makes no sense without it.

    `alike`: many rows say the same there, so that what a cell means is kept.
    """

    parse: Parser
    needed: bool = False
    alike: bool = True


SITES: Mapping[str, Column] = {
    "id": Column(ident, needed=True, alike=False),
    "name": Column(name, needed=True, alike=False),
    "kind": Column(one_of(SITE_KINDS, "site kind"), needed=True),
    "parent": Column(maybe(ident, "")),
    "agency": Column(text),
    "lon": Column(maybe(degrees(180.0), None), alike=False),
    "lat": Column(maybe(degrees(90.0), None), alike=False),
    "feeder": Column(text),
    "hours": Column(maybe(hours, "")),
    "priority": Column(maybe(number, 0)),
    "alias": Column(listed(ident)),
}
DEVICES: Mapping[str, Column] = {
    "site": Column(ident, needed=True),
    "id": Column(ident, needed=True, alike=False),
    "kind": Column(one_of(tuple(KINDS), "device kind"), needed=True),
    "via": Column(maybe(ident, "")),
    "actuators": Column(listed(word)),
    "labels": Column(labels),
}


def decode(where: str, raw: bytes, problems: list[Problem]) -> str:
    """The file's text, "" if it is not UTF-8."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problems.append(Problem(f"{where}:{line}", "is not UTF-8", "save the file as UTF-8"))
        return ""


def table(
    where: str, raw: bytes, columns: Mapping[str, Column], problems: list[Problem]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a CSV file as (line, values by column). Absent columns and bad cells are left out.

    A row comes if its needed cells are good, so that one bad cell does not make strangers of its neighbours.
    """
    content = decode(where, raw, problems)
    if raw and not content:
        return
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    start = 1
    cells: _Cells | None = None
    try:
        for row in reader:
            line, start = start, reader.line_num + 1
            if not any(map(str.strip, row)):
                continue
            if cells is None:
                header = [cell.strip() for cell in row]
                if not _header_holds(f"{where}:{line}", header, columns, problems):
                    return
                cells = _Cells(where, header, columns, problems)
                continue
            values = cells.read(line, row)
            if values is not None:
                yield line, values
    except csv.Error as error:
        problems.append(Problem(f"{where}:{start}", f"is not CSV ({error})", "mend the quotes on that line"))
    if cells is None:
        problems.append(Problem(f"{where}:1", "has no header", f"begin with {','.join(columns)}"))


def _header_holds(
    where: str, header: list[str], columns: Mapping[str, Column], problems: list[Problem]
) -> bool:
    if len(header) == 1 and ";" in header[0]:
        problems.append(
            Problem(where, "the columns are parted by ;", "part them by , (lists within a cell by ;)")
        )
        return False
    found = [
        Problem(where, f"there is no column {column!r}", f"the columns are {','.join(columns)}")
        for column in header
        if column not in columns
    ]
    found += [
        Problem(where, f"the column {column!r} is missing", f"the columns are {','.join(columns)}")
        for column, rule in columns.items()
        if rule.needed and column not in header
    ]
    found += [
        Problem(where, f"the column {column!r} stands twice", "keep one")
        for column in sorted(set(header))
        if header.count(column) > 1
    ]
    problems += found
    return not found


class _Cells:
    """Reads the rows under a header."""

    def __init__(
        self, where: str, header: list[str], columns: Mapping[str, Column], problems: list[Problem]
    ) -> None:
        self._where = where
        self._columns = [(column, columns[column], dict[str, Any]()) for column in header]
        self._needed = [column for column, rule in columns.items() if rule.needed]
        self._problems = problems

    def read(self, line: int, row: list[str]) -> dict[str, Any] | None:
        """The row's values without its bad cells; None if a needed one is among them."""
        if len(row) != len(self._columns):
            what = f"has {len(row)} cells, the header has {len(self._columns)}"
            mend = "quote a cell that holds a comma, and leave an empty cell empty"
            self._problems.append(Problem(f"{self._where}:{line}", what, mend))
            return None
        values: dict[str, Any] = {}
        for (column, rule, known), cell in zip(self._columns, row, strict=True):
            if cell in known:
                values[column] = known[cell]
                continue
            try:
                values[column] = value = rule.parse(cell.strip())
            except ValueError as error:
                what, _, mend = str(error).partition("; ")
                self._problems.append(Problem(f"{self._where}:{line}", f"{column} {what}", mend))
                continue
            if rule.alike:
                known[cell] = value
        whole = len(values) == len(row) or all(column in values for column in self._needed)
        return values if whole else None
