"""`nagari alerts`: list them, acknowledge one."""

from __future__ import annotations

from datetime import tzinfo
from enum import StrEnum
from typing import Annotated, Any

import typer

from collector.cli.options import URL, AsJson, Lang, Language, TokenFile, Url

EPILOG = """
Examples:

`nagari alerts --token-file demo-data/token`

`nagari alerts --state all --severity critical --json`

`nagari alerts ack 4f1c2a9b7d30 --comment "splice team is on its way"`

`nagari alerts --ack 4f1c2a9b7d30 --comment "splice team is on its way"` does the same.
"""


class AlertChoice(StrEnum):
    """Which alerts to list."""

    ACTIVE = "active"
    ALL = "all"


class SeverityChoice(StrEnum):
    """Severities to list by, ITU-T X.733."""

    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"
    WARNING = "warning"


alerts = typer.Typer(epilog=EPILOG)
CommentOption = Annotated[str, typer.Option("--comment", "-m", help="Why, for whoever reads the trail.")]


@alerts.callback(invoke_without_command=True, epilog=EPILOG)
def list_alerts(
    context: typer.Context,
    state: Annotated[
        AlertChoice, typer.Option(help="Active only, or all that are not gone.")
    ] = AlertChoice.ACTIVE,
    site: Annotated[str | None, typer.Option(help="Of one site.")] = None,
    severity: Annotated[SeverityChoice | None, typer.Option(help="Of one severity.")] = None,
    most: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 200,
    lang: Lang = Language.EN,
    ack: Annotated[str | None, typer.Option(help="Acknowledge this alert instead.", metavar="ID")] = None,
    comment: CommentOption = "",
    as_json: AsJson = False,
    url: Url = URL,
    token_file: TokenFile = None,
) -> None:
    """The alerts, and acknowledging one."""
    if context.invoked_subcommand:
        return
    if ack:
        _acknowledge(ack, comment, url, token_file, as_json=as_json)
        return
    from collector.cli import show  # noqa: PLC0415 (loaded by the command that needs it)
    from collector.cli.api import Api  # noqa: PLC0415

    api = Api(url, token_file)
    asked = {"state": state.value, "site": site, "severity": severity and severity.value}
    found = list(api.pages("alerts", "alerts", most, **asked))
    if as_json:
        show.print_json({"alerts": found})
        return
    columns = ("severity", "site", "device", "state", "since", "what", "id")
    zone = api.zone()
    show.print_table(columns, (_row(alert, lang, zone) for alert in found), f"no {state.value} alerts")


@alerts.command("ack", epilog='Example: `nagari alerts ack 4f1c2a9b7d30 -m "seen, crew sent"`')
def ack_alert(
    alert: Annotated[str, typer.Argument(help="The alert's id.", metavar="ID")],
    comment: CommentOption = "",
    as_json: AsJson = False,
    url: Url = URL,
    token_file: TokenFile = None,
) -> None:
    """Acknowledge an alert: somebody has seen it and takes care."""
    _acknowledge(alert, comment, url, token_file, as_json=as_json)


def _acknowledge(alert: str, comment: str, url: str, token_file: TokenFile, *, as_json: bool) -> None:
    from urllib.parse import quote  # noqa: PLC0415

    from collector.cli import show  # noqa: PLC0415
    from collector.cli.api import Api  # noqa: PLC0415

    answer = Api(url, token_file).post(f"alerts/{quote(alert, safe='')}/ack", {"comment": comment})
    if as_json:
        show.print_json(answer)
    elif answer.get("journaled"):
        typer.echo(f"journaled, its effect is not known yet: {answer['mend']}")
    else:
        typer.echo(f"acknowledged {alert}")


def _row(alert: dict[str, Any], lang: str, zone: tzinfo | None) -> tuple[Any, ...]:
    from collector.cli import show  # noqa: PLC0415

    severity = show.mark(alert["severity"], show.SEVERITY)
    if alert["condition"] == "cleared":
        severity.stylize("dim")
    said = show.summary(alert, lang)
    state = str(alert["state"]).replace("_", " ")
    return severity, alert["site"], alert["device"], state, show.when(alert["at"], zone), said, alert["id"]


def add(app: typer.Typer) -> None:
    """Put the commands into the program."""
    app.add_typer(alerts, name="alerts", rich_help_panel="For operators")
