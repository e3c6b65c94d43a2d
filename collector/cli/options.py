"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="NAGARI_CONFIG", help="The collector's settings.", metavar="FILE"),
]
CONFIG = Path("nagari.toml")

Url = Annotated[str, typer.Option("--url", envvar="NAGARI_URL", help="Where the collector's API is.")]
URL = "http://127.0.0.1:8080"

TokenFile = Annotated[
    Path | None,
    typer.Option(help="File that holds the API token; without it NAGARI_TOKEN is taken.", metavar="FILE"),
]
AsJson = Annotated[bool, typer.Option("--json", help="For machines: JSON on stdout.")]
Lang = Annotated[str, typer.Option(help="Language of summaries: en or id.")]
