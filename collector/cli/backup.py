"""`nagari backup`, `nagari restore`: encrypted, incremental backups of the collector with restic."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collector.cli.options import CONFIG, AsJson, ConfigFile

if TYPE_CHECKING:
    from collector.backup.restic import Restic
    from collector.core.config import Config

EPILOG = """
Examples:

`nagari backup --config /etc/nagari/nagari.toml`: makes one, also while the collector runs

`nagari backup --check`: reads the whole repository and holds it against its sums

`nagari backup list`

docs/backup.md says how to set it up, and how to rehearse the way back.
"""
RESTORE = """
Examples:

`nagari restore --repository /mnt/elsewhere --password-file backup.password --to /srv/nagari`

`nagari restore --repository s3:https://s3.example.go.id/nagari --environment-file s3.env
--password-file backup.password --to /srv/nagari --snapshot 1f2e3d4c`

It needs no settings: they are in the backup. Nothing is put in place before all of it is verified.
"""
backup = typer.Typer(epilog=EPILOG)


@backup.callback(invoke_without_command=True, epilog=EPILOG)
def make(
    context: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Make none: read all that was ever sent, and verify it.")
    ] = False,
    wait: Annotated[
        float,
        typer.Option(help="Seconds that a collector which does not answer may need to start.", min=0.0),
    ] = 0.0,
    config: ConfigFile = CONFIG,
    as_json: AsJson = False,
) -> None:
    """Send the collector's state to another place: encrypted, and only what is new."""
    context.obj = config
    if context.invoked_subcommand:
        return
    if check:
        _check(config)
    else:
        _make(config, wait, as_json=as_json)


@backup.command("init", epilog="Example: `nagari backup init --config /etc/nagari/nagari.toml`")
def init(context: typer.Context, config: ConfigFile = CONFIG) -> None:
    """Make the repository. The first backup does it too, but not where one was and is gone."""
    _, restic = _repository(_file(context, config))
    restic.init()
    typer.echo(f"{restic.repository}: a new repository; without its password nobody can read it")


@backup.command("list", epilog="Example: `nagari backup list --json`")
def list_snapshots(context: typer.Context, config: ConfigFile = CONFIG, as_json: AsJson = False) -> None:
    """The backups that there are, newest last."""
    from collector.cli import show  # noqa: PLC0415 (loaded by the command that needs it)

    _, restic = _repository(_file(context, config))
    found = [{"id": each["short_id"], "at": _ms(str(each["time"]))} for each in restic.snapshots()]
    if as_json:
        show.print_json({"snapshots": found})
        return
    show.print_table(("id", "at"), ((each["id"], show.when(each["at"])) for each in found), "no backups yet")


def restore(
    repository: Annotated[str, typer.Option(help="Where the backup is, as in [backup] repository.")],
    password_file: Annotated[Path, typer.Option(help="File with its password, mode 0600.", metavar="FILE")],
    to: Annotated[Path, typer.Option(help="An empty or new folder.", metavar="FOLDER")],
    snapshot: Annotated[
        str | None,
        typer.Option(help="Which, as `nagari backup list` shows it; else the newest.", metavar="ID"),
    ] = None,
    environment_file: Annotated[
        Path | None,
        typer.Option(help="File with the place's own keys, KEY=VALUE, mode 0600.", metavar="FILE"),
    ] = None,
) -> None:
    """Bring a collector back from its backup, on a machine that knows nothing of it."""
    from collector.backup.restic import Restic  # noqa: PLC0415
    from collector.backup.restoring import restore as bring_back  # noqa: PLC0415
    from collector.cli.bars import Bar  # noqa: PLC0415
    from collector.core.config import repository as checked  # noqa: PLC0415
    from devices.problems import Problems  # noqa: PLC0415

    try:
        place = checked(repository if ":" in repository else str(Path(repository).absolute()))
    except ValueError as error:
        what, _, mend = str(error).partition("; ")
        raise Problems.one("--repository", what, mend) from None
    with Bar() as bar:
        found = bring_back(Restic(place, password_file, environment_file), to, snapshot, bar.show)
    listed = found.manifest
    made = datetime.fromtimestamp(listed.at / 1e9, UTC).astimezone()
    typer.echo(
        f"{to}: the collector as it was at {made:%Y-%m-%d %H:%M:%S %Z} (snapshot {found.snapshot}):"
        f" {listed.accounts.get('values', 0):,} readings, {listed.counts.get('alerts', 0):,} alerts,"
        f" {listed.counts.get('audit', 0):,} lines of audit; all {len(listed.files):,} files verified"
    )
    if (to / "files").exists():
        typer.echo(
            f"Files from outside, such as the broker's accounts, are in {to / 'files'}, by their old paths."
        )
    typer.echo(f"""Next:
    nagari doctor --config {found.config}
    nagari run --config {found.config}""")


def _make(file: Path, wait: float, *, as_json: bool) -> None:
    from dataclasses import asdict  # noqa: PLC0415

    from collector.backup.making import back_up  # noqa: PLC0415
    from collector.cli import show  # noqa: PLC0415
    from collector.cli.bars import Bar  # noqa: PLC0415
    from collector.core.config import load  # noqa: PLC0415

    config = load(file)
    with Bar() as bar:
        made = back_up(file, config, _say, bar.show, wait)
    for each in made.missing:
        _say(f"not in the backup: {each}")
    if as_json:
        show.print_json(asdict(made))
    else:
        typer.echo(
            f"{config.backup.repository}: snapshot {made.snapshot}, {made.total / 1e6:,.1f} MB,"
            f" of which {made.added / 1e6:,.1f} MB were new; {made.seconds:.1f} s"
        )
    if made.missing:
        raise typer.Exit(1)


def _check(file: Path) -> None:
    _, restic = _repository(file)
    _say(f"{restic.repository}: reading all of it …")
    restic.check()
    typer.echo(f"{restic.repository}: whole, all {len(restic.snapshots())} backups")


def _repository(file: Path) -> tuple[Config, Restic]:
    from collector.backup.making import repository  # noqa: PLC0415
    from collector.core.config import load  # noqa: PLC0415

    config = load(file)
    return config, repository(config)


def _file(context: typer.Context, own: Path) -> Path:
    """`--config` may stand before or after the command's name."""
    given = context.obj
    return given if own == CONFIG and isinstance(given, Path) else own


def _ms(when: str) -> int:
    """restic's time, RFC 3339 with nanoseconds, in epoch ms."""
    return int(datetime.fromisoformat(when).timestamp() * 1000)


def _say(said: str) -> None:
    typer.echo(f"nagari: {said}", err=True)


def add(app: typer.Typer) -> None:
    """Put the commands into the program."""
    app.add_typer(backup, name="backup", rich_help_panel="For whoever runs it")
    app.command(epilog=RESTORE, rich_help_panel="For whoever runs it")(restore)
