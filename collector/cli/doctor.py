"""`nagari doctor`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from collector.cli.options import CONFIG, AsJson, ConfigFile

EPILOG = """
Examples:

`nagari doctor --config nagari.toml`

`nagari doctor --config nagari.toml --mosquitto-conf /etc/mosquitto/mosquitto.conf`

`nagari doctor --config nagari.toml --username nagari-doctor --password-file doctor.password`

Exit code 1 if anything is bad. The live probe sends 3,500 small messages to a topic of its own under
nagari-doctor/, through a session of its own, and removes both.
"""


def doctor(
    config: ConfigFile = CONFIG,
    mosquitto_conf: Annotated[
        Path | None, typer.Option(help="Judge this file of the broker too.", metavar="FILE")
    ] = None,
    username: Annotated[str | None, typer.Option(help="The doctor's own account at the broker.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="That account's password.", metavar="FILE")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Examine settings, region, rules, disk, clock and broker, and name what would lose messages."""
    from collector.cli import show  # noqa: PLC0415 (what is heavy is loaded by the command that needs it)
    from collector.core.inert import inert  # noqa: PLC0415
    from collector.doctor.checkup import Order, examine  # noqa: PLC0415
    from collector.doctor.findings import Finding, worst  # noqa: PLC0415

    order = Order(config, mosquitto_conf, username, password_file)
    findings: list[Finding] = []
    out = show.console()
    for finding in examine(order):
        findings.append(finding)
        if not as_json:
            line = show.mark(finding.status, show.STATUS)
            line.pad_right(10 - len(line))
            out.print(line, f"{finding.check}: {inert(finding.what)}", soft_wrap=True)
            if finding.mend:
                out.print(f"            mend: {inert(finding.mend)}", soft_wrap=True)
    verdict = worst(findings)
    if as_json:
        show.print_json({"status": verdict, "findings": [asdict(finding) for finding in findings]})
    else:
        counts = {name: sum(f.status == name for f in findings) for name in ("ok", "warning", "bad")}
        out.print(" · ".join(f"{count} {name}" for name, count in counts.items()), style="bold")
    raise typer.Exit(1 if verdict == "bad" else 0)


def add(app: typer.Typer) -> None:
    """Put the command into the program."""
    app.command(epilog=EPILOG, rich_help_panel="For whoever runs it")(doctor)
