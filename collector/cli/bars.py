"""Progress on stderr: a bar where a person looks on, else a plain line now and then."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

import typer

EVERY = 5.0
"""Seconds between plain lines."""


class Bar:
    """Shows a share from 0 to 1 and a few words, while the block lasts."""

    def __init__(self, *, quiet: bool = False) -> None:
        from rich.console import Console  # noqa: PLC0415 (loaded by the command that needs it)
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn  # noqa: PLC0415

        console = Console(stderr=True, highlight=False)
        self._live = console.is_terminal and not quiet
        self._quiet = quiet
        self._told = 0.0
        columns = BarColumn(), TaskProgressColumn(), TextColumn("{task.description}", markup=False)
        self._progress = Progress(*columns, console=console, transient=True)
        self._task = self._progress.add_task("", total=1.0)

    def __enter__(self) -> Self:
        if self._live:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._progress.stop()

    def show(self, share: float, words: str) -> None:
        """How far it is."""
        if self._live:
            self._progress.update(self._task, completed=min(max(share, 0.0), 1.0), description=words)
        elif not self._quiet and time.monotonic() - self._told >= EVERY:
            self._told = time.monotonic()
            typer.echo(f"{min(max(share, 0.0), 1.0):4.0%}  {words}", err=True)
