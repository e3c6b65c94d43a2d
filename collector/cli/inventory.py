"""`nagari inventory`: plan a region from its map, check it, lay the as-built over it, and compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collector.cli.options import AsJson

if TYPE_CHECKING:
    from collector.inventory.survey import Given

inventory = typer.Typer(
    no_args_is_help=True,
    help="Sites, devices and links of a region folder: plan them, check them, import what was built.",
)
FOLDER = Path("deploy/padang-pariaman")
Folder = Annotated[Path, typer.Argument(help="The region folder.", metavar="FOLDER")]
Dry = Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")]

_PLAN = """
Examples:

`nagari inventory plan --boundaries map.geojson --plan plan.toml --out /tmp/region`: a new folder

`nagari inventory plan --out deploy/padang-pariaman --dry-run`: what a changed plan.toml would change

The map needs features with code, level (regency, district, nagari), name and parent, as the one in
deploy/padang-pariaman has them. The fibre is the shortest tree over the nagari. plan.toml says what the map
cannot: the centre, agencies, gauges, shares. What the folder has besides (rules, people, region.toml) stays.
Where sites, devices or links are there already and would change, nothing is written without --force.
"""
_CHECK = """
Examples:

`nagari inventory check deploy/padang-pariaman`

`nagari inventory check deploy/padang-pariaman --json | jq .fibre_km`

Named are, with file and line: rows and links that cannot be read, ids that stand twice, links to nowhere,
lengths that do not fit the line drawn, lines that miss their sites, islands that no fibre or radio joins to
the centre, sites off the map, and devices whose publisher is a stranger. For rules: `nagari rules check`.
"""
_IMPORT = """
Examples:

`nagari inventory import deploy/padang-pariaman --sites surveyed.csv --dry-run`

`nagari inventory import FOLDER --sites sites.csv --devices devices.csv --links routes.geojson`

`nagari inventory import FOLDER --links routes.geojson --drop fo-1305012003-jc-01`

The tables are those of the folder, with the columns you have: `id,lon,lat` moves sites. Rows go by id. A
column that is absent keeps what was there; an empty cell empties it. A new id that names an old one in
`alias` renames that site, and whatever names it follows. Routes are LineStrings with the properties of
links.geojson; they become as-built, and without a length_km they are as long as their line.

`replaces`, a column or a property, lists planned ids that are gone with it (a;b); --drop names further ones.
A closure that no link comes by any more goes too. A planned line follows a site that moved.

All or nothing: a mistake is named with your file and its line, and the folder stays as it was.
"""
_DIFF = """
Examples:

`nagari inventory diff deploy/padang-pariaman /tmp/region`

`nagari inventory diff old new --json | jq .links.added`

`+` is new, `−` is gone, `~` is different; a site that was renamed is known by its alias.
"""


@inventory.command("plan", epilog=_PLAN)
def plan(
    out: Annotated[Path, typer.Option(help="The region folder to write.", metavar="FOLDER")],
    boundaries: Annotated[
        Path | None, typer.Option(help="The map; else boundaries.geojson there.", metavar="FILE")
    ] = None,
    plan_toml: Annotated[
        Path | None, typer.Option("--plan", help="The plan's figures; else plan.toml there.", metavar="FILE")
    ] = None,
    force: Annotated[bool, typer.Option(help="Write over sites, devices and links.")] = False,
    dry_run: Dry = False,
) -> None:
    """Plan a region from its map: sites, fibre, LTE, feeders and devices; the same from the same files."""
    from collector.cli import changes  # noqa: PLC0415 (loaded by the command that needs it)
    from collector.inventory import folder, planning, sums  # noqa: PLC0415
    from devices.region import load  # noqa: PLC0415

    at_map, at_plan = boundaries or out / planning.MAP, plan_toml or out / planning.PLAN
    planned = planning.plan(folder.read(at_map), folder.read(at_plan), str(at_map), str(at_plan))
    there = folder.files_of(out)
    files, after = planning.into(there, planned, str(out))
    planned_over = "sites.csv" in there and not force
    other = planned_over and changes.show(load(there, str(out)), after)
    typer.echo(f"{after.name}: {sums.sums(after)}; {planned.verdict}")
    if dry_run:
        return
    if other:
        typer.echo(f"{out} has another inventory already: nothing is written without --force", err=True)
        raise typer.Exit(1)
    folder.write(out, files)


@inventory.command("check", epilog=_CHECK)
def check(region: Folder = FOLDER, as_json: AsJson = False) -> None:
    """Check a region folder: everything wrong at once, or one line with what it comes to."""
    from dataclasses import asdict  # noqa: PLC0415

    from collector.cli import show  # noqa: PLC0415
    from collector.inventory import folder, sums  # noqa: PLC0415
    from devices.problems import Problems  # noqa: PLC0415

    try:
        found = folder.open_region(region)
    except Problems as refused:
        if not as_json:
            raise
        show.print_json({"problems": [asdict(problem) for problem in refused.problems]})
        raise typer.Exit(2) from None
    total = sums.sums(found)
    if as_json:
        show.print_json({"region": found.name, "problems": [], **asdict(total)})
        return
    typer.echo(f"{found.name}: {total}: all well")


@inventory.command("import", epilog=_IMPORT)
def import_(
    region: Folder,
    sites: Annotated[Path | None, typer.Option(help="Sites as built.", metavar="FILE.csv")] = None,
    devices: Annotated[Path | None, typer.Option(help="Devices as built.", metavar="FILE.csv")] = None,
    links: Annotated[Path | None, typer.Option(help="Routes as built.", metavar="FILE.geojson")] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(help="A site, device or link that is not there; may be repeated.", metavar="ID"),
    ] = None,
    dry_run: Dry = False,
    as_json: AsJson = False,
) -> None:
    """Lay what was built over the plan, by id, and say what changed. All or nothing."""
    from collector.cli import changes  # noqa: PLC0415
    from collector.inventory import folder, importing  # noqa: PLC0415
    from devices.problems import Problems  # noqa: PLC0415
    from devices.region import read_folder  # noqa: PLC0415

    if not (sites or devices or links or drop):
        raise Problems.one("import", "nothing to import", "name --sites, --devices, --links or --drop")
    given = importing.AsBuilt(_given(sites), _given(devices), _given(links), tuple(drop or ()))
    found = importing.imported(read_folder(region), str(region), given)
    changes.show(found.before, found.after, as_json=as_json)
    if not dry_run:
        folder.write(region, found.files)


@inventory.command("diff", epilog=_DIFF)
def diff(
    before: Annotated[Path, typer.Argument(help="The region folder as it was.", metavar="BEFORE")],
    after: Annotated[Path, typer.Argument(help="The region folder as it is.", metavar="AFTER")],
    as_json: AsJson = False,
) -> None:
    """Compare two region folders: what is new, gone, different, moved, renamed; how much fibre there is."""
    from collector.cli import changes  # noqa: PLC0415
    from collector.inventory import folder  # noqa: PLC0415

    changes.show(folder.open_region(before), folder.open_region(after), as_json=as_json)


def _given(file: Path | None) -> Given | None:
    from collector.inventory import folder, survey  # noqa: PLC0415

    return None if file is None else survey.Given(str(file), folder.read(file))


def add(app: typer.Typer) -> None:
    """Put the commands into the program."""
    app.add_typer(inventory, name="inventory", rich_help_panel="For engineers")
