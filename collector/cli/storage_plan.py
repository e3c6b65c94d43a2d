"""`nagari storage plan`, `nagari storage admit`: whether a region's data fit the storage contract."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from collector.cli.options import CONFIG, AsJson, ConfigFile

if TYPE_CHECKING:
    from collector.core.config import Config
    from collector.storage.contract import Need, StoragePlan
    from devices.region import Region

PLAN = """
Examples:

`nagari storage plan --capacity 8TB`

`nagari storage plan --capacity 8TB --raw 1y --json`

`nagari storage plan --region regions/next-year`: before its devices are installed

What the collector has measured in its data folder (after a week of readings) takes the place of the defaults.
The exit code is 1 if it does not fit; the last line then says what does.
"""
ADMIT = """
Example: `nagari storage admit --reason "the second disk comes in May"`

It holds for the region folder as it is now, to the byte, and stands in the audit with who and why. A running
collector then takes the region at its next reload (`systemctl reload`, SIGHUP).
"""
_BAR = 24
_WHAT = {
    "raw": "every reading",
    "minute": "roll-ups",
    "hour": "roll-ups",
    "journal": "at its cap",
    "state": "alerts, audit",
    "margin": "kept free",
}

RegionDir = Annotated[
    Path | None, typer.Option("--region", help="Another region folder than the settings'.", metavar="FOLDER")
]
KeepOption = Annotated[
    str | None, typer.Option(metavar="DURATION", help="Keep it so long, not as the settings say.")
]


def plan(
    capacity: Annotated[
        str | None, typer.Option(help="What there is, like 8TB; else [storage] capacity.", metavar="SIZE")
    ] = None,
    raw: KeepOption = None,
    minute: KeepOption = None,
    hour: KeepOption = None,
    region: RegionDir = None,
    config: ConfigFile = CONFIG,
    as_json: AsJson = False,
) -> None:
    """What readings, roll-ups, journal, alerts and audit need on disk, and for how long they fit."""
    from collector.cli import show  # noqa: PLC0415 (loaded by the command that needs it)

    spans = {"raw": raw, "minute": minute, "hour": hour}
    settings = _asked(config, {"capacity": capacity, **spans})
    found = _plan(settings, _region(settings, region))
    if as_json:
        show.print_json(_as_json(found))
    else:
        _print(found)
    if not found.fits:
        what, mend = found.refusal()
        typer.echo(f"nagari: [storage]: {what}; {mend}", err=True)
        raise typer.Exit(1)


def admit(
    reason: Annotated[str, typer.Option(help="Why: stands in the audit.")],
    region: RegionDir = None,
    config: ConfigFile = CONFIG,
) -> None:
    """Take on a region whose plan does not fit the contract: the collector then takes it in all the same."""
    import getpass  # noqa: PLC0415

    from collector.core.config import load  # noqa: PLC0415
    from collector.state import State  # noqa: PLC0415
    from collector.storage.admission import admit as write_down  # noqa: PLC0415
    from devices.problems import Problems  # noqa: PLC0415

    if not reason.strip():
        raise Problems.one("--reason", "is empty", "say why: it stands in the audit")
    settings = load(config)
    if settings.storage.capacity is None:
        raise Problems.one("storage.capacity", "is not set", "without it every region is taken in")
    known = _region(settings, region)
    found = _plan(settings, known)
    if found.fits:
        typer.echo("it fits: nothing needs to be taken on")
        return
    state = State(settings.data.dir / "state.db")
    try:
        write_down(state, found, known.hash, f"cli:{getpass.getuser()}", reason.strip(), time.time_ns())
    finally:
        state.close()
    typer.echo(f"region {known.hash[:12]} is taken on, though {found.refusal()[0]}")


def _asked(file: Path, given: dict[str, str | None]) -> Config:
    """The settings, with what the options say in their place. Raises Problems."""
    import os  # noqa: PLC0415

    from collector.core.config import load  # noqa: PLC0415
    from devices.problems import Problems  # noqa: PLC0415

    over = {f"NAGARI_STORAGE__{key.upper()}": value for key, value in given.items() if value is not None}
    settings = load(file, {**os.environ, **over})
    if settings.storage.capacity is None:
        raise Problems.one(
            "--capacity", "is not known", "name it, like --capacity 8TB, or set it in [storage]"
        )
    return settings


def _region(settings: Config, folder: Path | None) -> Region:
    from devices.region import load, read_folder  # noqa: PLC0415

    where = folder or settings.region.dir
    return load(read_folder(where), str(where))


def _plan(settings: Config, region: Region) -> StoragePlan:
    from collector.storage.admission import plan_of  # noqa: PLC0415

    found = plan_of(settings, region)
    assert found is not None
    return found


def _print(found: StoragePlan) -> None:
    from rich.text import Text  # noqa: PLC0415

    from collector.cli import show  # noqa: PLC0415
    from collector.storage.contract import human  # noqa: PLC0415

    rates, costs = found.rates, found.costs
    rows: list[tuple[str | Text, ...]] = [
        (
            need.share,
            human(need.bytes),
            Text(_bar(need.bytes / found.capacity), "cyan" if need.share != "margin" else "dim"),
            _span(need.days),
            _span(need.fits_days),
            _WHAT[need.share],
        )
        for need in found.needs
    ]
    looks = ("", "green") if found.fits else ("", "bold red")
    rows.append(
        ("all", human(found.total), Text(_bar(found.total / found.capacity), looks[1]), "", "", _of(found))
    )
    show.print_table(("share", "needs", f"of {human(found.capacity)}", "asked", "fits for", "what"), rows, "")
    measured = ", ".join(costs.measured) or "nothing yet, so by the defaults"
    show.console().print(
        f"\n{rates.devices:,} devices, {rates.readings / 86_400:,.1f} readings/s, "
        f"{rates.messages / 86_400:,.1f} messages/s by the catalogue.\n"
        f"Bytes: a reading {costs.cold:.3g} (the newest two days {costs.hot:.3g}), a row of a minute "
        f"{costs.minute:.3g}, of an hour {costs.hour:.3g}; measured: {measured}."
    )


def _of(found: StoragePlan) -> str:
    return f"{'✓ fits' if found.fits else '✗ does not fit'}: {100 * found.total / found.capacity:.3g} %"


def _bar(part: float) -> str:
    eighths = min(round(part * _BAR * 8), _BAR * 8)
    return ("█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8]).strip().ljust(1, "▏")


def _span(days: float | None) -> str:
    if days is None:
        return ""
    if days < 1000:
        return f"{days:.0f} d" if days >= 10 else f"{days:.1f} d"
    return f"{days / 365:.1f} y" if days < 365_000 else "> 1000 y"


def _as_json(found: StoragePlan) -> dict[str, Any]:
    suggested = found.suggestion
    kept = ("raw", "minute", "hour")
    return {
        "capacity": found.capacity,
        "total": found.total,
        "fits": found.fits,
        "shares": [_share(need) for need in found.needs],
        "suggestion": {tier: getattr(suggested, tier) / 86_400 for tier in kept} if suggested else None,
        "per_day": {
            "readings": found.rates.readings,
            "messages": found.rates.messages,
            "minute_rows": found.rates.minute,
            "hour_rows": found.rates.hour,
        },
        "devices": found.rates.devices,
        "bytes_per": {
            "reading": found.costs.cold,
            "reading_hot": found.costs.hot,
            "minute_row": found.costs.minute,
            "hour_row": found.costs.hour,
            "message": found.costs.message,
        },
        "measured": list(found.costs.measured),
    }


def _share(need: Need) -> dict[str, Any]:
    return {"share": need.share, "bytes": need.bytes, "days": need.days, "fits_days": need.fits_days}


def add(group: typer.Typer) -> None:
    """Put the commands into `nagari storage`."""
    group.command(epilog=PLAN)(plan)
    group.command(epilog=ADMIT)(admit)
