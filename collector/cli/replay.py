"""`nagari replay`: a stretch of the journal once more, held against what was decided."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from collector.cli.options import CONFIG, AsJson, ConfigFile

if TYPE_CHECKING:
    from collector.replay import Replayed

EPILOG = """
Examples:

`nagari replay --verify`: from the oldest snapshot up to what is committed

`nagari replay --verify --from 2026-11-24T01:00 --to 2026-11-24T02:00`: an hour of a night (UTC)

It writes nothing and may run beside the collector. The exit code is 1 if anything was decided otherwise.
"""
_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
_NS = 10**9


def replay(
    config: ConfigFile = CONFIG,
    since: Annotated[
        datetime | None, typer.Option("--from", formats=_FORMATS, help="Received from then on (UTC).")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", formats=_FORMATS, help="Received before then (UTC).")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Hold what is decided against state.db, to the byte.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a stretch of the journal through the alarms again, from a snapshot, and say what it decides."""
    from contextlib import closing  # noqa: PLC0415 (loaded by the command that needs it)

    from collector.cli import show  # noqa: PLC0415
    from collector.cli.bars import Bar  # noqa: PLC0415
    from collector.core.config import load  # noqa: PLC0415
    from collector.replay import Replay  # noqa: PLC0415

    with closing(Replay(load(config))) as past, Bar(quiet=as_json) as bar:
        begun = time.monotonic()
        found = past.run(
            _ns(since, 0),
            _ns(until, 2**63 - 1),
            verify=verify,
            step=lambda share, messages: bar.show(share, f"{messages:,} messages"),
        )
        took = time.monotonic() - begun
    if as_json:
        show.print_json(_json(found, took))
    else:
        _print(found, took, verify=verify)
    if found.different:
        raise typer.Exit(1)


def _ns(when: datetime | None, otherwise: int) -> int:
    return otherwise if when is None else round(when.replace(tzinfo=UTC).timestamp()) * _NS


def _json(found: Replayed, took: float) -> dict[str, object]:
    return {
        "messages": found.messages,
        "seconds": round(took, 3),
        "from": found.begun // 10**6,
        "to": found.ended // 10**6,
        "decisions": dict(sorted(found.decisions.items())),
        "compared": found.compared,
        "different": found.different,
        "differences": [{"kept": kept, "replayed": replayed} for kept, replayed in found.differences],
    }


def _print(found: Replayed, took: float, *, verify: bool) -> None:
    from collector.cli import show  # noqa: PLC0415

    rows = ((name, f"{count:,}") for name, count in sorted(found.decisions.items()))
    show.print_table(("decision", "how often"), rows, "nothing was decided")
    rate = found.messages / took if took else 0.0
    typer.echo(f"{found.messages:,} messages in {took:.1f} s ({rate:,.0f}/s)")
    for kept, replayed in found.differences:
        typer.echo(f"  kept     {kept}\n  replayed {replayed}", err=True)
    if verify and found.different:
        typer.echo(f"{found.different:,} of {found.compared:,} decisions differ", err=True)
    elif verify:
        typer.echo(f"{found.compared:,} decisions compared: the same to the byte")


def add(app: typer.Typer) -> None:
    """Put the command into the program."""
    app.command("replay", epilog=EPILOG, rich_help_panel="For engineers")(replay)
