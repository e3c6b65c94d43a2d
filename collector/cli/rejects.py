"""`nagari rejects`."""

from __future__ import annotations

from typing import Annotated

import typer

from collector.cli.options import URL, AsJson, TokenFile, Url

EPILOG = """
Examples:

`nagari rejects --token-file engineer.token`

`nagari rejects --limit 5000 --json > rejects.json`

A rejected message was acknowledged and stopped nobody; its sender wants mending. The role engineer is needed.
"""


def rejects(
    most: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest first.")] = 50,
    as_json: AsJson = False,
    url: Url = URL,
    token_file: TokenFile = None,
) -> None:
    """The messages that were refused, each with its reason, topic and first bytes."""
    from collector.cli import show  # noqa: PLC0415 (loaded by the command that needs it)
    from collector.cli.api import Api  # noqa: PLC0415

    api = Api(url, token_file)
    found = list(api.pages("rejects", "rejects", most))
    if as_json:
        show.print_json({"rejects": found})
        return
    zone = api.zone()
    rows = (
        (
            show.when(each["received"], zone),
            each["topic"],
            each["reason"],
            each["head"][:80],
        )
        for each in found
    )
    show.print_table(("received", "topic", "why", "begins with"), rows, "nothing was refused")


def add(app: typer.Typer) -> None:
    """Put the command into the program."""
    app.command(epilog=EPILOG, rich_help_panel="For whoever runs it")(rejects)
