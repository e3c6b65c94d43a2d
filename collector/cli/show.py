"""Output in a terminal: tables, times, JSON; severities have a shape beside their colour."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from collector.core.inert import inert

SEVERITY: Mapping[str, tuple[str, str]] = {
    "critical": ("◆", "bold red"),
    "major": ("▲", "dark_orange"),
    "minor": ("■", "yellow"),
    "warning": ("●", "cyan"),
}
STATUS: Mapping[str, tuple[str, str]] = {
    "ok": ("✓", "green"),
    "warning": ("▲", "yellow"),
    "bad": ("✗", "bold red"),
}
CLEARED = ("✓", "green")
_PROSE = {
    "what",
    "why",
    "begins with",
    "topic",
    "of",
    "when",
    "state",
}  # may take several lines; ids never do


def console() -> Console:
    """A console on stdout that takes no markup; colours and width are the terminal's, none in a pipe."""
    return Console(highlight=False, soft_wrap=False, markup=False, emoji=False)


def mark(name: str, looks: Mapping[str, tuple[str, str]]) -> Text:
    """Shape and word in the colour of `name`; a name that is not known is shown plainly."""
    shape, style = looks.get(name, ("·", ""))
    return Text(inert(f"{shape} {name}"), style)


def print_json(found: object) -> None:
    """One JSON document on stdout."""
    typer.echo(as_json(found, indent=2))


def as_json(found: object, indent: int | None = None) -> str:
    """JSON for a terminal or a pipe: readable letters as they are, everything unprintable escaped."""
    text = json.dumps(found, ensure_ascii=False, indent=indent)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], nothing: str) -> None:
    """A table, or `nothing` when it has no rows. Cells that are plain text are made inert."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column not in _PROSE)
    for row in rows:
        table.add_row(*(Text(inert(cell)) if isinstance(cell, str) else cell for cell in row))
    out = console()
    out.print(table if table.row_count else nothing)


def when(ms: int | None, zone: tzinfo | None = None) -> str:
    """Epoch milliseconds as a time with its zone, such as WIB: in `zone`, else in this machine's."""
    if ms is None:
        return ""
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %Z")


def summary(alert: Mapping[str, Any], lang: str) -> str:
    """An alert's summary in the language, else in any."""
    said = alert.get("summary") or ""
    if isinstance(said, Mapping):
        return str(said.get(lang) or next(iter(said.values()), ""))
    return str(said)
