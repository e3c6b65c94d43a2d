"""`nagari storage`: what is kept, and getting it out."""

from __future__ import annotations

import typer

from collector.cli import storage_export

storage = typer.Typer(no_args_is_help=True, help="The readings' store: get them out.")
for module in (storage_export,):
    module.add(storage)


@storage.callback()
def _group() -> None:
    """The readings' store: get them out."""


def add(app: typer.Typer) -> None:
    """Put the commands into the program."""
    app.add_typer(storage, name="storage", rich_help_panel="For whoever runs it")
