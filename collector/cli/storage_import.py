"""`nagari storage import`: publishes history from files over MQTT, as devices would."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from collector.cli.options import AsJson, TokenFile

if TYPE_CHECKING:
    from collector.cli.api import Api
    from collector.cli.bars import Bar
    from collector.moving.importing import ImportProgress, SourceFile
    from collector.moving.survey import Series, Survey

FOLDER = Path("deploy/padang-pariaman")
EPILOG = """
Examples:

`nagari storage import history.csv --dry-run`: look through it only

`nagari storage import old.parquet --broker mqtts://broker --ca ca.crt --username import --password-file pw`

`nagari storage import ont.csv --site 1305012001 --device ont-1305012001`: a column for each metric

`nagari storage import cpu.lp --map column:host=device --map metric:cpu_usage=cpu_pct --site 130501`

`nagari storage import history.csv --api http://127.0.0.1:8080 --token-file a.token`: and compare

Published as devices publish it: what is older than a day is stored in its own time and never judged, what
is younger is judged as late, what is stored already is a duplicate. Ended at any moment, the same command
goes on where it stood. Bad lines are told (file:line, what, the mend) and left out.
"""


def import_(
    files: Annotated[list[Path], typer.Argument(help="CSV, Parquet or line protocol.", metavar="FILE…")],
    broker: Annotated[str, typer.Option(help="Where to publish.", metavar="URL")] = "mqtt://127.0.0.1:1883",
    region: Annotated[Path, typer.Option(help="The region folder to check against.")] = FOLDER,
    site: Annotated[str | None, typer.Option(help="Site of lines that name none.", metavar="ID")] = None,
    device: Annotated[str | None, typer.Option(help="Device of lines that name none.", metavar="ID")] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", help="KIND:OLD=NEW; a KIND is column, site, device or metric."),
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="csv, parquet or lines; else by the name.")
    ] = None,
    time_unit: Annotated[
        str | None, typer.Option(help="Of times in numbers: s, ms, us or ns; else by their size.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Of times without an offset, like Asia/Jakarta.", metavar="ZONE")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look through the files, send nothing.")] = False,
    strict: Annotated[bool, typer.Option(help="Send nothing if one line is bad.")] = False,
    allow_unclaimed: Annotated[bool, typer.Option(help="Send what the region does not know, too.")] = False,
    rate: Annotated[float, typer.Option(min=0, help="Values a second at most; 0: no limit.")] = 20_000.0,
    progress_file: Annotated[
        Path | None, typer.Option("--progress", help="Where it notes how far it is; else beside the file.")
    ] = None,
    username: Annotated[str | None, typer.Option(help="The account at the broker.")] = None,
    password_file: Annotated[Path | None, typer.Option(help="Its password's file.")] = None,
    ca: Annotated[Path | None, typer.Option(help="The broker's authority (PEM).")] = None,
    cert: Annotated[Path | None, typer.Option(help="Our certificate (PEM).")] = None,
    key: Annotated[Path | None, typer.Option(help="Our certificate's key (PEM).")] = None,
    api: Annotated[
        str | None, typer.Option(help="The collector's API: wait and compare at the end.", metavar="URL")
    ] = None,
    token_file: TokenFile = None,
    patience: Annotated[float, typer.Option(min=0, help="Seconds to wait for who is away.")] = 300.0,
    as_json: AsJson = False,
) -> None:
    """Bring history in: publish it as native messages, resumably, and see that the collector has it."""
    from collector.cli.api import Api  # noqa: PLC0415 (loaded by the command that needs it)
    from collector.cli.bars import Bar  # noqa: PLC0415
    from collector.moving.importing import ImportProgress  # noqa: PLC0415
    from devices.wire import ClientOptions  # noqa: PLC0415

    sources = _sources(files, form, maps or [], site, device, time_unit, timezone)
    survey = _survey(sources, region, quiet=as_json)
    _tell_faults(survey)
    said: dict[str, Any] = {
        "lines": survey.lines,
        "readings": survey.readings,
        "bad": survey.bad,
        "young": survey.young,
    }
    said |= {"first": survey.first, "last": survey.last, "unclaimed": len(survey.unknown)}
    refused = (strict and survey.bad > 0) or (bool(survey.unknown) and not allow_unclaimed)
    if dry_run or refused or not survey.readings:
        _tell(said, as_json=as_json)
        if refused and survey.unknown and not allow_unclaimed:
            typer.echo("nothing is sent; mend the names by --map, or say --allow-unclaimed", err=True)
        elif refused:
            typer.echo("nothing is sent; mend the lines, or go without --strict", err=True)
        raise typer.Exit(1 if refused or not survey.readings else 0)
    notes = progress_file or files[0].with_name(files[0].name + ".import")
    progress = ImportProgress.load(notes, broker, sources)
    collector = Api(api, token_file) if api else None
    if collector and not progress.before:
        sent = {"sent_messages": progress.messages, "sent_values": progress.values}  # without looking
        progress.before = _accounts(collector) | sent
    options = ClientOptions(broker, username, password_file, None, ca, cert, key, "nagari-import")
    with Bar(quiet=as_json) as bar:
        _send(sources, progress, notes, options, rate, patience, survey.readings, bar)
        said |= {"messages": progress.messages, "values": progress.values}
        agreed = _agree(collector, survey, progress, bar, patience, said) if collector else True
    notes.unlink(missing_ok=True)
    _tell(said, as_json=as_json)
    if not agreed:
        raise typer.Exit(1)


def _sources(
    files: list[Path],
    form: str | None,
    maps: list[str],
    site: str | None,
    device: str | None,
    unit: str | None,
    zone: str | None,
) -> list[SourceFile]:
    import time  # noqa: PLC0415
    from zoneinfo import ZoneInfo  # noqa: PLC0415

    from collector.moving.files import format_of  # noqa: PLC0415
    from collector.moving.importing import SourceFile  # noqa: PLC0415
    from collector.moving.moments import UNITS, Moments  # noqa: PLC0415
    from collector.moving.reading import names  # noqa: PLC0415
    from collector.moving.rows import Checker  # noqa: PLC0415
    from devices.problems import Problems  # noqa: PLC0415

    if unit is not None and unit not in UNITS:
        raise Problems.one("--time-unit", f"{unit!r} is no unit", f"one of {', '.join(UNITS)}")
    try:
        called = names(maps, site, device)
    except ValueError as error:
        what, _, mend = str(error).partition("; ")
        raise Problems.one("--map", what, mend) from None
    try:
        place = ZoneInfo(zone) if zone else None
    except (ValueError, OSError, KeyError):
        raise Problems.one("--timezone", f"{zone!r} is no zone", "write it like Asia/Jakarta") from None
    for file in files:
        if not file.is_file():
            raise Problems.one(str(file), "there is no such file", "name one")
    now = time.time_ns() // 1_000_000
    return [
        SourceFile(file, format_of(file, form), Checker(called, Moments(unit, place), now)) for file in files
    ]


def _survey(sources: list[SourceFile], region: Path, *, quiet: bool) -> Survey:
    import time  # noqa: PLC0415
    from functools import partial  # noqa: PLC0415

    from collector.moving.importing import unknown  # noqa: PLC0415
    from collector.moving.survey import Survey  # noqa: PLC0415
    from devices.region import load, read_folder  # noqa: PLC0415

    known = load(read_folder(region), str(region))
    found, now = Survey(), time.time_ns() // 1_000_000
    for source in sources:
        found.take(str(source.file), source.lines(), partial(unknown, known), now)
        if not quiet:
            typer.echo(f"{source.file}: {found.readings:,} readings so far, {found.bad:,} bad", err=True)
    return found


def _tell_faults(survey: Survey) -> None:
    from collector.core.inert import inert  # noqa: PLC0415
    from collector.moving.survey import SHOWN  # noqa: PLC0415

    for file, line, bad in survey.faults[:SHOWN]:
        typer.echo(f"{file}:{line}: {inert(bad.what)}; {inert(bad.mend)}", err=True)
    if survey.bad > SHOWN:
        typer.echo(f"… and {survey.bad - SHOWN:,} more", err=True)
    for series, why in list(survey.unknown.items())[:SHOWN]:
        typer.echo(inert(f"{'/'.join(series)}: the region does not know it: {why}"), err=True)
    if len(survey.unknown) > SHOWN:
        typer.echo(f"… and {len(survey.unknown) - SHOWN:,} more", err=True)


def _send(
    sources: list[SourceFile],
    progress: ImportProgress,
    notes: Path,
    options: Any,
    rate: float,
    patience: float,
    total: int,
    bar: Bar,
) -> None:
    import asyncio  # noqa: PLC0415

    from collector.moving.importing import send  # noqa: PLC0415
    from collector.moving.sending import HistorySender  # noqa: PLC0415

    def tell(values: int, why: str) -> None:
        bar.show(values / total, f"{values:,} values" + (f"; waiting: {why}" if why else ""))

    async def all_of_it() -> None:
        await send(sources, progress, notes, HistorySender(options, rate, patience), tell)

    asyncio.run(all_of_it())


def _accounts(collector: Api) -> dict[str, int]:
    return {name: number for name, number in collector.get("stats").items() if isinstance(number, int)}


def _agree(
    collector: Api, survey: Survey, progress: ImportProgress, bar: Bar, patience: float, said: dict[str, Any]
) -> bool:
    """Wait for the collector and compare; puts what came of it into `said`."""
    from collector.moving import agreeing  # noqa: PLC0415
    from collector.moving.survey import DAY_MS  # noqa: PLC0415
    from devices.problems import Problems  # noqa: PLC0415

    def count(series: Series, start: int, end: int) -> dict[int, int]:
        asked = dict(zip(("site", "device", "metric"), series, strict=True))
        try:
            found = collector.get("series", **asked, **{"from": start}, to=end, step=DAY_MS, agg="count")
        except Problems:
            return {}
        return {when // DAY_MS: round(value) for when, value in found["points"]}

    before = progress.before
    wanted = before["received"] + progress.messages - before["sent_messages"]
    now = agreeing.wait(lambda: _accounts(collector), wanted, lambda why: bar.show(1.0, why), patience)
    missing = agreeing.short(survey.days, count)
    for name in ("stored", "duplicate", "quarantined", "dropped", "conflicts"):
        said[name] = now[name] - before[name]
    said["new_values"] = now["values"] - before["values"]
    said["duplicate_values"] = max(progress.values - before["sent_values"] - said["new_values"], 0)
    said["missing_days"] = len(missing)
    for each in missing[:20]:
        day = f"{'/'.join(each.series)}, day {each.day}"
        typer.echo(f"{day}: {each.sent:,} sent, {each.stored:,} stored", err=True)
    return not missing


def _tell(said: dict[str, Any], *, as_json: bool) -> None:
    from collector.cli import show  # noqa: PLC0415

    if as_json:
        show.print_json(said)
        return
    first, last = show.when(said["first"]), show.when(said["last"])
    typer.echo(
        f"{said['readings']:,} readings in {said['lines']:,} lines, {first} to {last}; {said['bad']:,} bad"
    )
    if said["young"]:
        typer.echo(f"{said['young']:,} are younger than a day: they are judged by the rules, as late ones")
    if "values" in said:
        typer.echo(f"{said['values']:,} values sent in {said['messages']:,} messages, all acknowledged")
    if "new_values" in said:
        sums = f"{said['new_values']:,} values new, {said['duplicate_values']:,} known before"
        more = f"{said['conflicts']:,} of them with another value; {said['quarantined']:,} messages refused"
        typer.echo(f"the collector: {sums}, {more}; {said['missing_days']:,} days of series are short")


def add(app: typer.Typer) -> None:
    """Put the command into the group."""
    app.command("import", epilog=EPILOG)(import_)
