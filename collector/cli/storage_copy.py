"""`nagari storage copy`: all that one store keeps, into another one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collector.cli.options import CONFIG, AsJson, ConfigFile

if TYPE_CHECKING:
    from collector.cli.bars import Bar
    from collector.core.config import Config, StoreConfig
    from collector.moving.copying import Copied, Step

EPILOG = """
Examples:

`nagari storage copy --to victoria://127.0.0.1:8428`: from where the settings say

`nagari storage copy --from influx://db:8086/org/bucket --to duckdb: --config /etc/nagari/nagari.toml`

`nagari storage copy --to influxs://db/org/bucket --to-token-file influx.token --json`

Stop the collector first. Ended at any moment, the same command goes on where it stood. At the end both stores
are asked for their readings day by day; only when these agree the accounts and the cursor go over. Then write
the new url into `[store]` and start the collector: it goes on with what came meanwhile.
"""


def copy(
    to: Annotated[str, typer.Option("--to", help="The store to fill, as in [store] url.", metavar="URL")],
    source: Annotated[
        str | None, typer.Option("--from", help="The store to read; else the settings'.", metavar="URL")
    ] = None,
    config: ConfigFile = CONFIG,
    from_token_file: Annotated[
        Path | None, typer.Option(help="Token for --from; else the settings'.", metavar="FILE")
    ] = None,
    to_token_file: Annotated[
        Path | None, typer.Option(help="Token for --to; else the settings'.", metavar="FILE")
    ] = None,
    from_ca: Annotated[
        Path | None, typer.Option(help="Authority of --from (PEM); else the settings'.", metavar="FILE")
    ] = None,
    to_ca: Annotated[
        Path | None, typer.Option(help="Authority of --to (PEM); else the settings'.", metavar="FILE")
    ] = None,
    accept_differences: Annotated[
        bool, typer.Option(help="Let the accounts go over although days do not agree.")
    ] = False,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for a store that is away.", metavar="SECONDS")
    ] = 600.0,
    as_json: AsJson = False,
) -> None:
    """Copy all readings, rejects and accounts from one store into another, resumably, and compare."""
    from contextlib import ExitStack, closing  # noqa: PLC0415 (loaded by the command that needs it)
    from functools import partial  # noqa: PLC0415

    from collector.cli.bars import Bar  # noqa: PLC0415
    from collector.core.config import load  # noqa: PLC0415
    from collector.core.readings import SeriesTable  # noqa: PLC0415
    from collector.moving.copying import Copy  # noqa: PLC0415
    from collector.store.stores import open_store  # noqa: PLC0415
    from devices.problems import Problems  # noqa: PLC0415

    settings = load(config)
    first = _place(settings, source or settings.store.url, from_token_file, from_ca, "--from")
    second = _place(settings, to, to_token_file, to_ca, "--to")
    if first.place == second.place or _file(first) == _file(second) != "":
        raise Problems.one("--to", "is where the readings are already", "name another store")
    _must_be_stopped(settings)
    table = SeriesTable()
    with ExitStack() as stack:
        origin = stack.enter_context(closing(open_store(first, settings.data.dir, table, half=True)))
        target = stack.enter_context(closing(open_store(second, settings.data.dir, table, half=True)))
        bar = stack.enter_context(Bar(quiet=as_json))
        work = Copy(origin, target, first.url, partial(_show, bar), patience=patience)
        found = work.run(whatever=accept_differences)
    _tell(found, to, as_json=as_json)
    if found.apart:
        raise typer.Exit(1)


def _place(
    settings: Config, url: str, token: Path | None, authority: Path | None, option: str
) -> StoreConfig:
    """Settings of the store at `url`; without options of their own, token and CA are the configuration's."""
    from pydantic import ValidationError  # noqa: PLC0415

    from collector.core.config import StoreConfig  # noqa: PLC0415
    from devices.problems import Problems  # noqa: PLC0415

    own = settings.store if settings.store.url == url else StoreConfig()
    try:
        return StoreConfig(
            url=url, memory=settings.store.memory, token_file=token or own.token_file, ca=authority or own.ca
        )
    except ValidationError as error:
        what, _, mend = str(error.errors()[0]["msg"]).removeprefix("Value error, ").partition("; ")
        raise Problems.one(option, what, mend or "see docs/stores.md") from None


def _file(config: StoreConfig) -> str:
    """The file that a DuckDB url means; "" for a server."""
    place = config.place
    return (place.path or "readings.duckdb") if place.kind == "duckdb" else ""


def _must_be_stopped(settings: Config) -> None:
    """Raises Problems if the collector of these settings runs: its /readyz answers."""
    import httpx  # noqa: PLC0415

    from devices.problems import Problems  # noqa: PLC0415

    url = f"http://{settings.http.listen}"
    try:
        answer = httpx.get(f"{url}/readyz", timeout=2.0, trust_env=False).json()
    except (httpx.HTTPError, ValueError):
        return
    if isinstance(answer, dict) and "ready" in answer:
        what = f"the collector of these settings is running ({url})"
        raise Problems.one("storage copy", what, "stop it first; the broker keeps what comes")


def _show(bar: Bar, step: Step) -> None:
    from collector.moving.days import name  # noqa: PLC0415

    share = (step.at - step.first) / max(step.last - step.first, 1)
    what = "copied" if step.phase == "copy" else "counted"
    away = f"; waiting: {step.away}" if step.away else ""
    bar.show(share, f"{name(step.at)}  {step.rows:,} readings {what}{away}")


def _tell(found: Copied, to: str, *, as_json: bool) -> None:
    from dataclasses import asdict  # noqa: PLC0415

    from collector.cli import show  # noqa: PLC0415

    if as_json:
        show.print_json(asdict(found))
        return
    total = sum(day.target for day in found.days)
    merged = f", {found.merged:,} merged by its coarser time" if found.merged else ""
    refused = f", {found.refused:,} refused" if found.refused else ""
    days = (
        f"{len(found.days):,} days, {len(found.apart):,} of which differ"
        if found.apart
        else "every day agrees"
    )
    typer.echo(f"{to}: {total:,} readings{merged}{refused}; {days}; cursor {found.ledger.cursor:,}")


def add(app: typer.Typer) -> None:
    """Put the command into the group."""
    app.command("copy", epilog=EPILOG)(copy)
