"""`nagari simulate`: runs the devices of a region, with the faults of a scenario."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from collector.cli.options import CONFIG, AsJson, ConfigFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from collector.core.config import Config
    from devices.region import Region
    from simulators.running import Access
    from simulators.scenario import Fault, Scenario
    from simulators.simulation import Simulation
    from simulators.truth import Broken

EPILOG = """
Examples:

`nagari simulate --config demo-data/nagari.toml`: an ordinary day, live, into that installation's broker

`nagari simulate --scenario trunk-cut --truth truth.json`: something breaks; the file says what, where, when

`nagari simulate --speed 0 --duration 1d --scenario blackout --seed 7 --out day.jsonl`: a day in virtual time

`nagari simulate --list`: the scenarios of the region folder

At speed 1 devices connect and publish now. Any other speed runs in virtual time from the scenario's start,
without a broker, and writes what the broker would have seen to --out, a line of JSON each; 0 is as fast as it
goes. The same seed, scenario and start give the same messages to the byte.
"""


def simulate(
    config: ConfigFile = CONFIG,
    scenario: Annotated[
        str, typer.Option(help="A TOML file, or a name in the region's scenarios/.", metavar="FILE")
    ] = "",
    seed: Annotated[int, typer.Option(help="Another seed, another region of the same kind.")] = 0,
    speed: Annotated[
        float, typer.Option(help="1: live. Else times real time, virtually; 0: as fast as it goes.", min=0)
    ] = 1.0,
    duration: Annotated[
        str, typer.Option(help="Such as 90s, 2h, 3d; else the scenario's.", metavar="TIME")
    ] = "",
    truth: Annotated[
        Path | None, typer.Option(help="Write what was broken, where and when.", metavar="FILE")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Virtual: write the messages there.", metavar="FILE")
    ] = None,
    region: Annotated[
        Path | None, typer.Option(help="A region folder, not the settings' one.", metavar="FOLDER")
    ] = None,
    broker: Annotated[str, typer.Option(help="A broker, not the settings' one.", metavar="URL")] = "",
    secrets: Annotated[
        Path | None,
        typer.Option(help="Folder of DEVICE.password and DEVICE.key files, per publisher.", metavar="FOLDER"),
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(help="A publisher that is real, to be left out.", metavar="ID")
    ] = None,
    proxy: Annotated[
        int, typer.Option(help="Port of a link for the collector, which a scenario can cut.", min=0)
    ] = 0,
    broker_command: Annotated[
        str, typer.Option(help="What restarts the broker, for broker_restart.", metavar="COMMAND")
    ] = "",
    listing: Annotated[bool, typer.Option("--list", help="Show the scenarios there are.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the devices of a region, live or in virtual time, and break them as a scenario says."""
    from devices.region import load, read_folder  # noqa: PLC0415 (loaded by the command that needs it)
    from simulators.running import Access  # noqa: PLC0415
    from simulators.simulation import Simulation  # noqa: PLC0415
    from simulators.truth import check, write  # noqa: PLC0415

    settings = _settings(config, needed=region is None or (speed == 1 and not broker and not listing))
    folder = region or (settings.region.dir if settings else Path())
    if listing:
        _list(folder)
        return
    _check_speed(speed, out, {"--broker": broker, "--secrets": secrets, "--proxy": proxy})
    if truth is not None:
        check(truth)
    known = load(read_folder(folder), str(folder))
    plan = _scenario(scenario, folder, known, duration)
    _check_skip(skip or [], known)
    start = _now() if speed == 1 else plan.start
    news = _quiet if as_json else _tell
    sim = Simulation(known, plan, seed=seed, start=start, skip=skip or (), news=news)
    began = time.monotonic()
    if speed == 1:
        url = broker or (settings.mqtt.url if settings else "")
        access = Access(url, settings.mqtt.ca if settings else None, secrets, proxy, broker_command)
        messages = _live(sim, access, endless=not scenario and not duration)
    else:
        messages = _virtual(sim, speed, out, quiet=as_json)
    head = _head(sim, known, seed, messages, time.monotonic() - began)
    if truth is not None:
        write(truth, sim.truth.document(**head))
    _sum_up(head, sim, as_json=as_json)


def _settings(config: Path, *, needed: bool) -> Config | None:
    from collector.core.config import load  # noqa: PLC0415

    return load(config) if needed or config.exists() else None


def _scenario(name: str, folder: Path, region: Region, duration: str) -> Scenario:
    from dataclasses import replace  # noqa: PLC0415

    from devices.duration import seconds  # noqa: PLC0415
    from devices.problems import Problems  # noqa: PLC0415
    from simulators import scenario  # noqa: PLC0415

    found = scenario.load(scenario.find(name, folder), region) if name else scenario.Scenario("ordinary")
    if not duration:
        return found
    try:
        length = seconds(duration)
    except ValueError as error:
        what, _, mend = str(error).partition("; ")
        raise Problems.one("--duration", what, mend) from None
    if not length:
        raise Problems.one("--duration", "0 is no length of time", 'write it like "90s", "2h" or "3d"')
    return replace(found, duration=length)


def _check_speed(speed: float, out: Path | None, live: Mapping[str, object]) -> None:
    """Refuse options that have no effect at this speed. Raises Problems."""
    from devices.problems import Problem, Problems  # noqa: PLC0415

    problems = []
    if speed == 1 and out is not None:
        mend = "give --speed 0, or leave it out and subscribe at the broker"
        problems.append(Problem("--out", "at speed 1 messages go to the broker, not to a file", mend))
    if speed != 1:
        mend = "give --speed 1, or leave it out"
        what = f"at speed {speed:g} there is no broker"
        problems += [Problem(option, what, mend) for option, given in live.items() if given]
    if problems:
        raise Problems(problems)


def _check_skip(skip: list[str], region: Region) -> None:
    from devices.problems import Problem, Problems  # noqa: PLC0415

    problems = [
        Problem(f"--skip {each}", "is no publisher of the region", "name a device of devices.csv without via")
        for each in skip
        if each not in region.devices or region.devices[each].via
    ]
    if problems:
        raise Problems(problems)


def _now() -> Any:
    from datetime import UTC, datetime  # noqa: PLC0415

    return datetime.now(UTC)


def _live(sim: Simulation, access: Access, *, endless: bool) -> int:
    import asyncio  # noqa: PLC0415
    import logging  # noqa: PLC0415

    from simulators.running import run_live  # noqa: PLC0415

    logging.basicConfig(level=logging.ERROR, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    access.check(sim.scenario)
    return asyncio.run(run_live(sim, access, None if endless else sim.scenario.duration))


def _virtual(sim: Simulation, speed: float, out: Path | None, *, quiet: bool) -> int:
    from collector.cli.bars import Bar  # noqa: PLC0415
    from simulators import virtual  # noqa: PLC0415

    with virtual.opened(out) as file, Bar(quiet=quiet) as bar:
        length = sim.scenario.duration
        return virtual.run(sim, length, speed, file, lambda done: bar.show(done, "simulating"))


def _head(sim: Simulation, region: Region, seed: int, messages: int, took: float) -> dict[str, object]:
    return {
        "scenario": sim.scenario.name,
        "region": region.name,
        "region_hash": region.hash,
        "seed": seed,
        "start": sim.start.isoformat(),
        "duration_s": sim.now / 1000,
        "messages": messages,
        "took_s": round(took, 3),
    }


def _quiet(fault: Fault, record: Broken) -> None:
    """Say nothing: with --json the truth file has the faults."""


def _tell(fault: Fault, record: Broken) -> None:
    """One line when something breaks, one when it is whole again."""
    over = record.until is not None
    at = record.until if record.until is not None else record.at
    clock = f"{int(at) // 3600:02d}:{int(at) // 60 % 60:02d}:{int(at) % 60:02d}"
    hit = f", {len(record.sites)} sites" if len(record.sites) > 1 else ""
    what = f"{record.name} ({record.root['kind']} {record.root['id']}{hit})"
    typer.echo(f"{clock}  {'✓ over:' if over else '▲'} {what}")
    if not over and fault.say:
        typer.echo(f"          {fault.say.get('en') or next(iter(fault.say.values()))}")
    sys.stdout.flush()


def _sum_up(head: dict[str, object], sim: Simulation, *, as_json: bool) -> None:
    from collector.cli import show  # noqa: PLC0415

    broken = sum(not record.ambient for record in sim.truth.broken)
    if as_json:
        show.print_json({**head, "faults": broken, "outages": len(sim.truth.outages)})
        return
    took = float(str(head["took_s"])) or 1e-9
    typer.echo(
        f"{head['messages']:,} messages of {sim.now / 1000:,.0f} s in {took:,.1f} s "
        f"({sim.now / 1000 / took:,.0f} × real time); "
        f"{broken} faults, {len(sim.truth.outages)} outages of sites"
    )


def _list(folder: Path) -> None:
    from collector.cli import show  # noqa: PLC0415

    show.print_table(("scenario", "what"), _rows(folder), f"{folder / 'scenarios'} holds none")


def _rows(folder: Path) -> Iterator[tuple[str, str]]:
    import tomllib  # noqa: PLC0415

    for file in sorted((folder / "scenarios").glob("*.toml")):
        try:
            summary = tomllib.loads(file.read_text("utf-8")).get("summary", {})
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            summary = {"en": "cannot be read: run it to see why"}
        yield file.stem, str(summary.get("en", "")) if isinstance(summary, dict) else ""


def add(app: typer.Typer) -> None:
    """Put the command into the program."""
    app.command(epilog=EPILOG, rich_help_panel="For engineers")(simulate)
