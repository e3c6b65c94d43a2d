"""`nagari storage`: how long what is kept, on how much disk."""

from __future__ import annotations

import typer

from collector.cli import storage_plan

storage = typer.Typer(no_args_is_help=True, help="The disk: what fits on it, and for how long.")
storage_plan.add(storage)


def add(app: typer.Typer) -> None:
    """Put the commands into the program."""
    app.add_typer(storage, name="storage", rich_help_panel="For whoever runs it")
