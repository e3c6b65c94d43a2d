"""`nagari agent`: measures the machine it runs on. Imports devices/ only: it must stay small."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from devices.agent.run import AgentOptions, ProbeTarget
    from devices.region import Region

EPILOG = """
Examples:

`nagari agent --site 1305-kominfo --device agent-kominfo`

`nagari agent --site 1305012001 --device agent-1 --target probe-dns=9.9.9.9 --target probe-web=10.0.0.2:443`

`nagari agent --region deploy/padang-pariaman --device agent-kominfo`: as the region's tables say

`nagari agent --broker mqtts://broker --username 1305012001/agent-1 --password-file FILE --ca FILE ...`

Targets are pinged (ICMP), or asked by TCP where a port is named. While the broker is away, readings wait,
within bounds, and are sent with their own times.
"""
_GATEWAY = "gateway"


def agent(
    device: Annotated[str, typer.Option(help="The id of this machine.", metavar="ID")],
    broker: Annotated[str, typer.Option(help="The broker.", metavar="URL")] = "mqtt://127.0.0.1:1883",
    site: Annotated[str, typer.Option(help="The site it stands at.", metavar="ID")] = "",
    target: Annotated[list[str] | None, typer.Option(help="What to probe.", metavar="ID=HOST[:PORT]")] = None,
    region: Annotated[
        Path | None, typer.Option(help="Take site and targets from it.", metavar="FOLDER")
    ] = None,
    interval: Annotated[float, typer.Option(help="Seconds between measurements.", min=1)] = 10.0,
    disk: Annotated[str, typer.Option(help="A folder on the disk to watch.")] = "/",
    username: Annotated[str | None, typer.Option(help="Account at the broker.")] = None,
    password_file: Annotated[Path | None, typer.Option(help="Its password.", metavar="FILE")] = None,
    ca: Annotated[Path | None, typer.Option(help="Authority of a mqtts:// broker.", metavar="FILE")] = None,
    cert: Annotated[Path | None, typer.Option(help="Client certificate.", metavar="FILE")] = None,
    key: Annotated[Path | None, typer.Option(help="Its key.", metavar="FILE")] = None,
) -> None:
    """Publish this machine's CPU, memory, disk, load and traffic, and latency, jitter and loss to targets."""
    import asyncio  # noqa: PLC0415 (loaded by the command that needs it)
    import logging  # noqa: PLC0415

    from devices.agent.run import AgentOptions, parse_target  # noqa: PLC0415

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    targets = [parse_target(each) for each in target or ()]
    if region is not None:
        site, found = _from_region(region, device)
        targets = targets or found
    options = AgentOptions(
        url=broker,
        site=site,
        device=device,
        targets=tuple(targets),
        interval=interval,
        disk=disk,
        username=username or (f"{site}/{device}" if password_file else None),
        password_file=password_file,
        ca=ca,
        cert=cert,
        key=key,
    )
    asyncio.run(_until_stopped(options))


async def _until_stopped(options: AgentOptions) -> None:
    import asyncio  # noqa: PLC0415
    import signal  # noqa: PLC0415

    from devices.agent.run import run_agent  # noqa: PLC0415

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run_agent(options, stop)


def _from_region(folder: Path, device: str) -> tuple[str, list[ProbeTarget]]:
    region = region_with_host(folder, device)
    return region.devices[device].site, _targets(region, device)


def region_with_host(folder: Path, device: str) -> Region:
    """The region in the folder, which has a host of that id. Raises Problems."""
    from devices.problems import Problems  # noqa: PLC0415
    from devices.region import load, read_folder  # noqa: PLC0415

    region = load(read_folder(folder), str(folder))
    me = region.devices.get(device)
    if me is None or me.kind != "host":
        hosts = [each.id for each in region.devices.values() if each.kind == "host"]
        mend = f"name one of: {', '.join(hosts)}" if hosts else "add it, kind host"
        raise Problems.one(f"{folder}/devices.csv", f"has no host {device!r}", mend)
    return region


def _targets(region: Region, device: str) -> list[ProbeTarget]:
    """The devices behind this one that say in a label `target` what they stand for."""
    from devices.agent.run import parse_target  # noqa: PLC0415

    gateway = _gateway()
    labels = {each.id: each.labels.get("target", "") for each in region.published_by(device)}
    hosts = {one: gateway if host == _GATEWAY else host for one, host in labels.items()}
    return [parse_target(f"{one}={host}") for one, host in hosts.items() if host]


def _gateway() -> str:
    """This machine's IPv4 gateway; "" if it has none, or does not say."""
    try:
        rows = [line.split() for line in Path("/proc/net/route").read_text("ascii").splitlines()[1:]]
    except OSError:
        return ""
    default = next(
        (row[2] for row in rows if len(row) > 3 and row[1] == "00000000" and int(row[3], 16) & 2), ""
    )
    return ".".join(str(octet) for octet in reversed(bytes.fromhex(default)))


def add(app: typer.Typer) -> None:
    """Put the command into the program."""
    app.command(epilog=EPILOG, rich_help_panel="In the field")(agent)
