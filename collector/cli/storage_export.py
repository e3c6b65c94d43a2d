"""`nagari storage export`: readings into Parquet."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collector.cli.options import CONFIG, AsJson, ConfigFile

if TYPE_CHECKING:
    from collector.store.base import Store

EPILOG = """
Examples:

`nagari storage export --to /srv/export`: everything that the settings' store keeps

`nagari storage export --to july --start 2026-07-01 --end 2026-08-01 --metric rx_dbm`

`nagari storage export --from duckdb:/backup/readings.duckdb --to history`: of a backup that was put back

One file a UTC day: `readings-2026-07-01.parquet`, with site, device, metric, time, value, quality, received.
A DuckDB file is one process's: stop the collector first, or export from a copy.
"""
_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
_NS = 10**9


def export(
    to: Annotated[Path, typer.Option("--to", help="Folder for the files.", metavar="FOLDER")],
    source: Annotated[
        str | None, typer.Option("--from", help="The store to read; else the settings'.", metavar="URL")
    ] = None,
    config: ConfigFile = CONFIG,
    start: Annotated[
        datetime | None, typer.Option(formats=_FORMATS, help="From then on (UTC); else from the oldest.")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option(formats=_FORMATS, help="Up to then (UTC), not including it.")
    ] = None,
    site: Annotated[str | None, typer.Option(help="Of this site only.")] = None,
    device: Annotated[str | None, typer.Option(help="Of this device only.")] = None,
    metric: Annotated[str | None, typer.Option(help="Of this metric only.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the readings as Parquet, one file a day, for a notebook, a data lake or an archive."""
    from contextlib import closing  # noqa: PLC0415 (loaded by the command that needs it)

    from collector.cli import show  # noqa: PLC0415
    from collector.core.config import StoreConfig, load  # noqa: PLC0415
    from collector.core.readings import SeriesTable  # noqa: PLC0415
    from collector.moving import exporting  # noqa: PLC0415
    from collector.store.base import StoreError  # noqa: PLC0415
    from collector.store.stores import open_store  # noqa: PLC0415
    from devices.problems import Problems  # noqa: PLC0415

    files: list[dict[str, object]] = []

    def told(file: Path, rows: int) -> None:
        files.append({"file": str(file), "rows": rows})
        if not as_json:
            typer.echo(f"{file}  {rows:,} readings")

    if source is not None and source.startswith("duckdb:/"):
        file = Path(source.removeprefix("duckdb:"))
        if not file.is_file():
            raise Problems.one("--from", f"there is no {file}", "name the readings.duckdb of a data folder")
        store_config, folder = StoreConfig(url=f"duckdb:{file.name}"), file.parent
    else:
        settings = load(config)
        store_config = settings.store.model_copy(update={"url": source}) if source else settings.store
        folder = settings.data.dir
    table = SeriesTable()
    with closing(open_store(store_config, folder, table)) as store:
        try:
            low, high = _span(store, start, end)
            wanted = exporting.Selection(low, high, site, device, metric)
            total = exporting.export(store, table, wanted, to, told)
        except StoreError as error:
            raise Problems.one("--from", str(error), "try again once it answers") from None
        except OSError as error:
            raise Problems.one(
                "--to", f"{to} cannot be written ({error.strerror})", "choose another"
            ) from None
    if as_json:
        show.print_json({"files": files, "rows": total})
    elif not files:
        typer.echo("there are no such readings")


def _span(store: Store, start: datetime | None, end: datetime | None) -> tuple[int, int]:
    """The time range asked for, cut to the range that the store has, epoch ns."""
    from devices.problems import Problems  # noqa: PLC0415

    low, high = _epoch(start), _epoch(end)
    raw = next((usage for usage in store.usage() if usage.tier == "raw"), None)
    if raw is not None:
        oldest, newest = raw.oldest or 0, raw.newest or -1
        low = oldest if low is None else max(low, oldest)
        high = newest + 1 if high is None else min(high, newest + 1)
    if low is None or high is None:
        raise Problems.one("--start, --end", "a server does not say what it keeps", "give both")
    return low, high


def _epoch(when: datetime | None) -> int | None:
    from datetime import UTC  # noqa: PLC0415

    return None if when is None else int(when.replace(tzinfo=UTC).timestamp()) * _NS


def add(app: typer.Typer) -> None:
    """Put the command into its group."""
    app.command(epilog=EPILOG)(export)
