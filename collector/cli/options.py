"""Options that several commands share."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="NAGARI_CONFIG", help="The collector's settings.", metavar="FILE"),
]
_PLACES = (Path("nagari.toml"), Path("/etc/nagari/nagari.toml"), Path("demo-data/nagari.toml"))
CONFIG = next((file for file in _PLACES if os.access(file, os.R_OK)), _PLACES[0])
"""Without `--config`: this folder's settings, else those of the machine's service, else of a demo here."""

Url = Annotated[str, typer.Option("--url", envvar="NAGARI_URL", help="Where the collector's API is.")]
URL = "http://127.0.0.1:8080"

TokenFile = Annotated[
    Path | None,
    typer.Option(help="File that holds the API token; without it NAGARI_TOKEN is taken.", metavar="FILE"),
]
AsJson = Annotated[bool, typer.Option("--json", help="For machines: JSON on stdout.")]


class Language(StrEnum):
    """Languages of alert summaries."""

    EN = "en"
    ID = "id"


Lang = Annotated[Language, typer.Option(help="Language of summaries.")]
