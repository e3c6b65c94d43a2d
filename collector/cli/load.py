"""`nagari load`: readings at a chosen rate, to see what an installation can take."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collector.cli.options import AsJson

if TYPE_CHECKING:
    from simulators.load import LoadOptions, LoadResult

EPILOG = """
Examples:

`nagari load --rate 1000 --duration 60`: for the region of this folder, a minute long

`nagari load --sites 5000 --generate /tmp/big --rate 0 --count 500000`: a region made up, at full speed

`nagari load --alarm-share 0.01 --rate 100`: one message in a hundred raises an alarm

What is published for devices that the collector's region does not know is stored as unclaimed: point its
region.dir at the folder of --generate to see rules at work. Ctrl-C ends it.
"""
FOLDER = Path("deploy/padang-pariaman")


def load(
    broker: Annotated[str, typer.Option(help="The broker.", metavar="URL")] = "mqtt://127.0.0.1:1883",
    region: Annotated[
        Path, typer.Option(help="Publish for this region's routers.", metavar="FOLDER")
    ] = FOLDER,
    generate: Annotated[
        Path | None,
        typer.Option(help="Make up a region there and publish for it.", metavar="FOLDER"),
    ] = None,
    sites: Annotated[int, typer.Option(help="So many sites in the region made up.", min=1)] = 1000,
    rate: Annotated[
        float, typer.Option(help="Messages per second; 0: as fast as the broker takes them.", min=0)
    ] = 100,
    count: Annotated[int | None, typer.Option(help="End after so many messages.", min=1)] = None,
    duration: Annotated[float | None, typer.Option(help="End after so many seconds.", min=0)] = None,
    values: Annotated[int, typer.Option(help="Values per message.", min=1)] = 5,
    connections: Annotated[int, typer.Option(help="Connections to spread it over.", min=1)] = 1,
    alarm_share: Annotated[float, typer.Option(help="Share of alarming messages.", min=0, max=1)] = 0,
    username: Annotated[str | None, typer.Option(help="Account at the broker.")] = None,
    password_file: Annotated[Path | None, typer.Option(help="Its password.", metavar="FILE")] = None,
    ca: Annotated[Path | None, typer.Option(help="Authority of a mqtts:// broker.", metavar="FILE")] = None,
    as_json: AsJson = False,
) -> None:
    """Publish readings at a chosen rate for the routers of a region, QoS 1, and say what became of them."""
    from collector.cli import show  # noqa: PLC0415 (loaded by the command that needs it)
    from simulators.load import LoadOptions  # noqa: PLC0415

    options = LoadOptions(
        url=broker,
        devices=_devices(generate, sites, region),
        rate=rate,
        count=count,
        duration=duration,
        values=values,
        connections=connections,
        alarm_share=alarm_share,
        username=username,
        password_file=password_file,
        ca=ca,
    )
    result = asyncio.run(_run(options, quiet=as_json))
    if as_json:
        names = ("sent", "acked", "refused", "seconds", "rate", "lost")
        show.print_json({name: getattr(result, name) for name in names})
    if result.lost or result.refused or result.acked < result.sent:
        raise typer.Exit(1)


def _devices(generate: Path | None, sites: int, region: Path) -> list[tuple[str, str]]:
    from devices.region import load as load_region  # noqa: PLC0415
    from devices.region import read_folder  # noqa: PLC0415
    from simulators.load import routers  # noqa: PLC0415
    from simulators.regions import write_region  # noqa: PLC0415

    if generate is None:
        return routers(load_region(read_folder(region), str(region)))
    return routers(write_region(generate, sites))


async def _run(options: LoadOptions, *, quiet: bool) -> LoadResult:
    import signal  # noqa: PLC0415
    from dataclasses import replace  # noqa: PLC0415

    from simulators.load import run_load  # noqa: PLC0415

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return await run_load(replace(options, stop=stop), None if quiet else _progress)


def _progress(result: LoadResult) -> None:
    sums = f"sent {result.sent:,}  acknowledged {result.acked:,}  {result.rate:,.0f}/s"
    refused = f"  refused {result.refused:,}" if result.refused else ""
    typer.echo(f"{result.seconds:6.1f} s  {sums}" + refused + (f"  {result.lost}" if result.lost else ""))


def add(app: typer.Typer) -> None:
    """Put the command into the program."""
    app.command(epilog=EPILOG, rich_help_panel="For whoever runs it")(load)
