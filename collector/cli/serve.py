"""`nagari demo`, `nagari run`: what runs until it is stopped."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collector.cli.options import CONFIG, ConfigFile

if TYPE_CHECKING:
    from collector.broker import LocalBroker
    from collector.demo.plan import Plan

REGION = Path(__file__).resolve().parents[2] / "deploy" / "padang-pariaman"

DEMO = """
Examples:

`nagari demo`

`nagari demo --fresh --data /tmp/nagari-demo`

Everything listens on this machine only. Ctrl-C ends all of it; the data stay in the folder for the next time.
"""
RUN = """
Examples:

`nagari run --config /etc/nagari/nagari.toml`

`NAGARI_HTTP__LISTEN=127.0.0.1:9090 nagari run`: the environment overrides a key of the settings

SIGTERM or Ctrl-C ends it within ten seconds. What was acknowledged is on disk, whatever happens.
"""


def demo(
    data: Annotated[Path, typer.Option(help="Where it keeps its data.", metavar="FOLDER")] = Path(
        "demo-data"
    ),
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin with an empty folder.")] = False,
    region: Annotated[Path, typer.Option(help="The region folder.", metavar="FOLDER")] = REGION,
    device: Annotated[str, typer.Option(help="The region's device that this machine is.")] = "agent-kominfo",
    port: Annotated[int, typer.Option(help="For the page; the next free one is taken.", min=1)] = 8080,
    mqtt_port: Annotated[int, typer.Option(help="For the broker, likewise.", min=1)] = 1883,
) -> None:
    """Broker, collector, agent and page on this machine, in one process tree: the way to see what this is."""
    from collector.demo.plan import prepare  # noqa: PLC0415 (loaded by the command that needs it)
    from collector.demo.tree import run_demo  # noqa: PLC0415

    began = time.monotonic()
    plan = prepare(data, region, device, (port, mqtt_port), fresh=fresh)
    _log(plan.folder / "collector.log")
    token = find_token(plan)
    run_demo(plan, lambda broker: _welcome(plan, token, broker, began), _complain)
    typer.echo("stopped; the data are in " + _short(plan.folder))


def run(config: ConfigFile = CONFIG) -> None:
    """Run the collector: from the broker to journal, store, alerts, API and page."""
    import uvloop  # noqa: PLC0415

    from collector.app import run as run_collector  # noqa: PLC0415
    from collector.core.config import load  # noqa: PLC0415

    _log()
    uvloop.run(run_collector(load(config)))


def find_token(plan: Plan) -> str:
    """The demo's token: last time's if it still holds, else a new one."""
    from collector.cli.token import write_secret  # noqa: PLC0415
    from collector.state import State  # noqa: PLC0415

    state = State(plan.folder / "data" / "state.db")
    try:
        now = time.time_ns()
        token = plan.token.read_text("utf-8").strip() if plan.token.exists() else ""
        if not token or state.principal(token, now) is None:
            token = state.create_token("admin", "demo", now)
            write_secret(plan.token, token)
        return token
    finally:
        state.close()


def _welcome(plan: Plan, token: str, broker: LocalBroker, began: float) -> None:
    url = "" if plan.http == 8080 else f" --url {plan.url}"
    access = f"--token-file {_short(plan.token)}{url}"
    kind = "mosquitto" if broker.kind == "mosquitto" else "the embedded one (MQTT 5 only)"
    typer.echo(f"""
nagari is running ({time.monotonic() - began:.1f} s). Open

    {plan.url}/#token={token}

What to look at
  · the accounts at the top: every message has one fate
  · the device {plan.publisher}: this machine, measured by the agent; its readings as a chart
  · alerts as they arise: acknowledge one with a comment

In another terminal
    nagari watch {access}
    nagari alerts {access}
    nagari doctor --config {_short(plan.config)}
    nagari load --broker {broker.url} --rate 1000 --duration 30

A router that falls back to LTE: half a minute later there is an alert
    {_short(Path(sys.executable))} -c 'from paho.mqtt.publish import single; single(
        "nagari/v1/1305012001/router-1305012001/tele", "{{\\"values\\": {{\\"on_lte\\": true}}}}",
        qos=1, port={plan.mqtt}, protocol=5)'

Broker: {kind}, {broker.url}. Data: {_short(plan.folder)}. Ctrl-C ends all of it.
""")


def _complain(said: str) -> None:
    typer.echo(f"nagari: {said}", err=True)


def _short(path: Path) -> str:
    """The path as one would type it from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _log(file: Path | None = None) -> None:
    """Everything to stderr, where a service has its log; or to a file, and what is wrong to stderr too."""
    import logging  # noqa: PLC0415

    stderr = logging.StreamHandler()
    handlers: list[logging.Handler] = [stderr]
    if file is not None:
        stderr.setLevel(logging.WARNING)
        handlers.append(logging.FileHandler(file, encoding="utf-8"))
    layout = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=layout, handlers=handlers)


def add(app: typer.Typer) -> None:
    """Put the commands into the program."""
    app.command(epilog=DEMO, rich_help_panel="To begin with")(demo)
    app.command(epilog=RUN, rich_help_panel="For whoever runs it")(run)
