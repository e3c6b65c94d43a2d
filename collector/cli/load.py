"""`nagari load`: readings at a chosen rate, to see what an installation can take."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collector.cli.options import AsJson
from devices.problems import Problems

if TYPE_CHECKING:
    from simulators.load import LoadOptions, LoadResult, Source

EPILOG = """
Examples:

`nagari load --rate 1000 --duration 60`: for every device of the region here, a minute long

`nagari load --sites 84000 --devices 5 --region /tmp/big --rate 14000`: a region as large as Indonesia

`nagari load --region /tmp/big --rate 0 --count 500000`: for the same once more, at full speed

`nagari load --alarm-share 0.01 --rate 100`: one message in a hundred is beyond the shipped limits

What is published for devices that the collector's region does not know is stored as unclaimed: point its
region.dir at the folder of --region to see rules at work. Ctrl-C ends it.
"""
FOLDER = Path("deploy/padang-pariaman")
MOST_SITES = 1_000_000  # their ids have six digits


def load(
    broker: Annotated[str, typer.Option(help="The broker.", metavar="URL")] = "mqtt://127.0.0.1:1883",
    region: Annotated[
        Path, typer.Option(help="Publish for the devices of the region there.", metavar="FOLDER")
    ] = FOLDER,
    sites: Annotated[
        int | None,
        typer.Option(help="First make up a region of so many sites there.", min=1, max=MOST_SITES),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(
            help="With --sites: devices at each. 5: router, ONT, power, climate, host.  [default: 1]",
            min=1,
            max=7,
        ),
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(
            help=f"With --sites: the rules that it gets.  [default: those of {FOLDER}]", metavar="FOLDER"
        ),
    ] = None,
    rate: Annotated[
        float, typer.Option(help="Messages per second; 0: as fast as the broker takes them.", min=0)
    ] = 100,
    count: Annotated[int | None, typer.Option(help="End after so many messages.", min=1)] = None,
    duration: Annotated[float | None, typer.Option(help="End after so many seconds.", min=0)] = None,
    values: Annotated[int, typer.Option(help="Values per message, as far as a device has them.", min=1)] = 5,
    connections: Annotated[int, typer.Option(help="Connections to spread it over.", min=1)] = 1,
    alarm_share: Annotated[float, typer.Option(help="Share of alarming messages.", min=0, max=1)] = 0,
    username: Annotated[str | None, typer.Option(help="Account at the broker.")] = None,
    password_file: Annotated[Path | None, typer.Option(help="Its password.", metavar="FILE")] = None,
    ca: Annotated[Path | None, typer.Option(help="Authority of a mqtts:// broker.", metavar="FILE")] = None,
    as_json: AsJson = False,
) -> None:
    """Publish readings at a chosen rate for the devices of a region, QoS 1, and say what became of them."""
    from collector.cli import show  # noqa: PLC0415 (loaded by the command that needs it)
    from simulators.load import LoadOptions  # noqa: PLC0415

    options = LoadOptions(
        url=broker,
        devices=_given(region, devices, rules)
        if sites is None
        else _made(region, sites, devices, rules, quiet=as_json),
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
    result = _run(options, quiet=as_json)
    if as_json:
        names = ("sent", "acked", "refused", "seconds", "rate", "lost")
        show.print_json({name: getattr(result, name) for name in names})
    if result.lost or result.refused or result.acked < result.sent:
        raise typer.Exit(1)


def _given(region: Path, devices: int | None, rules: Path | None) -> list[Source]:
    """The devices of an existing region folder. Raises Problems."""
    from devices.region import load as load_region  # noqa: PLC0415
    from devices.region import read_folder  # noqa: PLC0415
    from simulators.load import sources  # noqa: PLC0415

    if devices is not None or rules is not None:
        option = "--devices" if devices is not None else "--rules"
        raise Problems.one(option, "is for a region made up", "give --sites too, or leave it out")
    return sources(load_region(read_folder(region), str(region)))


def _made(region: Path, sites: int, devices: int | None, rules: Path | None, *, quiet: bool) -> list[Source]:
    """Write a made-up region of that many sites into the folder; its devices."""
    from simulators.figures import KINDS  # noqa: PLC0415
    from simulators.load import sources  # noqa: PLC0415
    from simulators.regions import write_region  # noqa: PLC0415

    shipped = _rules(rules)
    made = write_region(region, sites, KINDS[: devices or 1], shipped)
    whose = f"{len(shipped)} files of rules" if shipped else f"no rules: {FOLDER} is not here, see --rules"
    if not quiet:
        typer.echo(f"{region}: {sites:,} sites, {len(made.devices):,} devices, {whose}")
    return sources(made)


def _rules(folder: Path | None) -> dict[str, bytes]:
    """The rule files of a region folder, or of a folder of rules, by their path in a region."""
    place = folder or FOLDER / "rules"
    place = place / "rules" if (place / "rules").is_dir() else place
    files = {f"rules/{file.name}": file.read_bytes() for file in sorted(place.glob("*.toml"))}
    if folder is not None and not files:
        raise Problems.one(str(folder), "holds no rules", "name a region's folder, or its folder of rules")
    return files


def _run(options: LoadOptions, *, quiet: bool) -> LoadResult:
    import uvloop  # noqa: PLC0415

    result: LoadResult = uvloop.run(_publish(options, quiet=quiet))
    return result


async def _publish(options: LoadOptions, *, quiet: bool) -> LoadResult:
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
