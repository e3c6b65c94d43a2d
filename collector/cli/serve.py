"""`nagari demo`, `nagari run`: the commands that run until they are stopped."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collector.cli.options import CONFIG, ConfigFile

if TYPE_CHECKING:
    from collector.broker import LocalBroker
    from collector.demo.plan import DemoPlan
    from devices.region import Region

_STORY = "demo"
REGION = Path(__file__).resolve().parents[2] / "deploy" / "padang-pariaman"

DEMO = """
Examples:

`nagari demo`

`nagari demo --fresh --data /tmp/nagari-demo`

`nagari demo --scenario blackout`: another story; `nagari simulate --list` names them

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
    scenario: Annotated[
        str, typer.Option(help="What the simulated regency lives through; `none`: an ordinary day.")
    ] = _STORY,
    port: Annotated[int, typer.Option(help="For the page; the next free one is taken.", min=1)] = 8080,
    mqtt_port: Annotated[int, typer.Option(help="For the broker, likewise.", min=1)] = 1883,
) -> None:
    """The whole regency on this machine: broker, simulated devices, agent, collector, page, in one tree."""
    from collector.cli.agent import region_with_host  # noqa: PLC0415
    from collector.demo.plan import claim, prepare, write_config  # noqa: PLC0415 (loaded when needed)
    from collector.demo.tree import run_demo  # noqa: PLC0415

    began = time.monotonic()
    story, known = _find_story(scenario, region), region_with_host(region, device)
    with claim(data) as folder:
        plan = prepare(folder, region, device, story, (port, mqtt_port), fresh=fresh)
        _log(plan.folder / "collector.log")
        token = find_token(plan)
        write_config(plan)
        run_demo(plan, lambda broker: _welcome(plan, token, broker, known, began), _complain)
        typer.echo("stopped; the data are in " + _short(plan.folder))


def run(config: ConfigFile = CONFIG) -> None:
    """Run the collector: from the broker to journal, store, alerts, API and page."""
    from collector.app import run as run_collector  # noqa: PLC0415
    from collector.core.config import load  # noqa: PLC0415
    from collector.supervision.threads import run_loop  # noqa: PLC0415

    _log()
    run_loop(run_collector(load(config)))


def _find_story(name: str, region: Path) -> str:
    """The scenario's file, or "" for none: other regions need not have a story. Raises Problems."""
    from simulators.scenario import find  # noqa: PLC0415

    if name == "none" or (name == _STORY and not (region / "scenarios" / f"{name}.toml").exists()):
        return ""
    return str(find(name, region).absolute())


def find_token(plan: DemoPlan) -> str:
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


def _welcome(plan: DemoPlan, token: str, broker: LocalBroker, region: Region, began: float) -> None:
    url = "" if plan.http == 8080 else f" --url {plan.url}"
    access = f"--token-file {_short(plan.token)}{url}"
    kind = "mosquitto" if broker.kind == "mosquitto" else "the embedded one (MQTT 5 only)"
    typer.echo(f"""
nagari is running ({time.monotonic() - began:.1f} s). Open

    {plan.url}/#token={token}

What to look at
  · the map: {_count(region)}; a marker's shape and colour say how its site is
  · the accounts at the top: every message has one fate
  · the device {plan.publisher}: this machine, measured by the agent; all others are simulated
  · alerts as they arise: acknowledge one with a comment

In another terminal
    nagari watch {access}
    nagari alerts {access}
    nagari doctor --config {_short(plan.config)}
    nagari simulate --list --config {_short(plan.config)}

Broker: {kind}, {broker.url}. Data: {_short(plan.folder)}. Ctrl-C ends all of it.
{_story(plan)}""")


def _count(region: Region) -> str:
    """How large the region is, in words."""
    sites = sum(site.kind != "node" for site in region.sites.values())
    km = sum(link.length_km for link in region.links.values() if link.kind == "fibre")
    return f"{sites} sites, {len(region.devices)} devices, {km:.0f} km of fibre"


def _story(plan: DemoPlan) -> str:
    if not plan.scenario:
        return ""
    return "\nThe story: what breaks and heals is told here, in minutes since the start.\n"


def _complain(said: str) -> None:
    typer.echo(f"nagari: {said}", err=True)


def _short(path: Path) -> str:
    """The path as one would type it from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _log(file: Path | None = None) -> None:
    """Log to stderr; with a `file`, log to it, and only warnings and errors to stderr as well."""
    import logging  # noqa: PLC0415

    stderr = logging.StreamHandler()
    handlers: list[logging.Handler] = [stderr]
    if file is not None:
        stderr.setLevel(logging.WARNING)
        stderr.addFilter(lambda record: record.name != "nagari.alerts")  # the page shows them, and `watch`
        handlers.append(logging.FileHandler(file, encoding="utf-8"))
    layout = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=layout, handlers=handlers)


def add(app: typer.Typer) -> None:
    """Put the commands into the program."""
    app.command(epilog=DEMO, rich_help_panel="To begin with")(demo)
    app.command(epilog=RUN, rich_help_panel="For whoever runs it")(run)
