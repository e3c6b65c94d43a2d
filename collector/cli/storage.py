"""`nagari storage`: what is kept where, moved and brought in."""

from __future__ import annotations

import typer

from collector.cli import storage_copy, storage_import

storage = typer.Typer(
    no_args_is_help=True,
    help="The readings' store: move it to another place, bring history in.",
)
for module in (storage_copy, storage_import):
    module.add(storage)


def add(app: typer.Typer) -> None:
    """Put the commands into the program."""
    app.add_typer(storage, name="storage", rich_help_panel="For whoever runs it")
