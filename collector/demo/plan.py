"""Where the demo keeps its things and which ports it takes, written down for the other commands."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from collector.broker import free_port
from devices.problems import Problems

MARK = ".nagari-demo"
_TOML = """\
# Written by `nagari demo`; `nagari doctor --config FILE` and `nagari token --config FILE` work with it.
[data]
dir = "data"
reserve = "16MB"

[mqtt]
url = "mqtt://127.0.0.1:{mqtt}"

[http]
listen = "127.0.0.1:{http}"

[region]
dir = {region}

[journal]
max_bytes = "2GB"
segment_bytes = "32MB"

[store]
memory = "96MB"

[limits]
head_bytes = "16MB"
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """A demo: its folder, region and ports; `publisher` is the id of the device that the agent is.

    `scenario`: the story that the simulated devices live through, "" for an ordinary day.
    """

    folder: Path
    region: Path
    publisher: str
    scenario: str
    http: int
    mqtt: int

    @property
    def config(self) -> Path:
        """The collector's settings."""
        return self.folder / "nagari.toml"

    @property
    def token(self) -> Path:
        """The file with the demo's API token."""
        return self.folder / "token"

    @property
    def url(self) -> str:
        """Where page and API are."""
        return f"http://127.0.0.1:{self.http}"


def prepare(
    folder: Path, region: Path, publisher: str, scenario: str, ports: tuple[int, int], *, fresh: bool
) -> Plan:
    """Make the folder (empty if `fresh`), choose ports (page, broker) from these on, write the settings.

    Raises Problems.
    """
    folder = folder.absolute()
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        mend = "name an empty folder with --data"
        raise Problems.one(str(folder), "is in use by something other than the demo", mend)
    try:
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARK).touch()
        plan = Plan(folder, region.absolute(), publisher, scenario, *map(free_port, ports))
        quoted = '"' + str(plan.region).replace("\\", "\\\\").replace('"', '\\"') + '"'
        plan.config.write_text(_TOML.format(http=plan.http, mqtt=plan.mqtt, region=quoted), "utf-8")
    except OSError as error:
        raise Problems.one(
            str(folder), f"cannot be used ({error.strerror})", "name another with --data"
        ) from None
    return plan
