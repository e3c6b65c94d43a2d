"""`nagari rules`: check the rules of a region folder, and their JSON Schema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collector.cli.options import AsJson

if TYPE_CHECKING:
    from collector.alarms.rules import RuleSet
    from collector.alarms.rules.tables import RuleTable
    from devices.region import Region

rules = typer.Typer(no_args_is_help=True, help="Check the rules of a region folder before they go live.")
FOLDER = Path("deploy/padang-pariaman")


@rules.command("check", epilog="Example: `nagari rules check deploy/padang-pariaman`")
def check(
    region: Annotated[Path, typer.Argument(help="The region folder.", metavar="FOLDER")] = FOLDER,
    as_json: AsJson = False,
) -> None:
    """Check region and rules; print the table of rules. Everything wrong is named, with file and line."""
    from collector.cli import show  # noqa: PLC0415 (loaded by the command that needs it)

    found, checked = _load(region)
    if as_json:
        dumped = [rule.model_dump(mode="json", by_alias=True, exclude_none=True) for rule in checked.rules]
        show.print_json({"region": found.name, "rules": dumped})
        return
    rows = ((rule.name, *_words(rule), str(_count(rule, found))) for rule in checked.rules)
    show.print_table(("rule", "severity", "of", "when", "devices"), rows, "no rules: nothing will be alarmed")
    typer.echo(f"{found.name}: {len(checked.rules)} rules, {len(checked.overrides)} overrides: all well")


@rules.command("schema", epilog="Example: `nagari rules schema > rules.schema.json`, for your editor")
def schema() -> None:
    """The JSON Schema of a rule file."""
    from collector.alarms.rules.tables import schema as json_schema  # noqa: PLC0415
    from collector.cli import show  # noqa: PLC0415

    show.print_json(json_schema())


def _load(folder: Path) -> tuple[Region, RuleSet]:
    from collector.followers.versions import with_rules  # noqa: PLC0415
    from devices.region import load, read_folder  # noqa: PLC0415

    return with_rules(load(read_folder(folder), str(folder)), str(folder))


def _words(rule: RuleTable) -> tuple[str, str, str]:
    chosen = rule.select.model_dump(exclude_none=True, exclude_defaults=True)
    when = rule.when.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)
    said = " ".join(f"{name}={value}" for name, value in chosen.items())
    return rule.severity, said, " ".join(f"{name} {_value(name, value)}" for name, value in when.items())


def _value(name: str, value: object) -> str:
    from collector.alarms.rules.tables import DURATIONS  # noqa: PLC0415

    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g}s" if name in DURATIONS and is_number else str(value).lower()


def _count(rule: RuleTable, region: Region) -> int:
    from collector.alarms.rules.ruleset import matches  # noqa: PLC0415

    return sum(matches(rule.select, device, region) for device in region.devices.values())


def add(app: typer.Typer) -> None:
    """Put the commands into the program."""
    app.add_typer(rules, name="rules", rich_help_panel="For engineers")
