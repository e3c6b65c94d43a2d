"""`nagari storage`: plan, admit, copy, import and export what the collector stores."""

from __future__ import annotations

import typer

from collector.cli import storage_copy, storage_export, storage_import, storage_plan

storage = typer.Typer(
    no_args_is_help=True,
    help="The readings' store: what fits and for how long; to another place, history in, tables out.",
)
for module in (storage_plan, storage_copy, storage_import, storage_export):
    module.add(storage)


def add(app: typer.Typer) -> None:
    """Put the commands into the program."""
    app.add_typer(storage, name="storage", rich_help_panel="For whoever runs it")
