"""What the benches share: a collector of their own over a real broker, looked at from outside."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from collector.broker import Mosquitto, free_port
from collector.state import State
from devices.problems import Problems
from simulators.regions import write_region

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"

_CONFIG = """
[data]
dir = "data"
[mqtt]
url = "{url}"
[http]
listen = "127.0.0.1:{port}"
[region]
dir = "{region}"
"""

TWENTY_RULES = "".join(
    f"""
[[rule]]
name = "bench-{metric.replace("_", "-")}-{turn}"
select = {{ kind = "router", metric = "{metric}" }}
when = {{ above = {limit + turn}, for = "{turn * 10 + 1}s" }}
severity = "warning"
summary = {{ id = "{{value}}", en = "{{value}}" }}
"""
    for metric, limit in (
        ("latency_ms", 900.0),
        ("loss_pct", 90.0),
        ("jitter_ms", 900.0),
        ("rx_bps", 9e11),
        ("tx_bps", 9e11),
    )
    for turn in range(4)
).encode()


def cpu_seconds(pid: int) -> float:
    """CPU that a process has used so far, all its threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def proportional_mb(pid: int) -> float:
    """Resident memory of a process; of what it shares with others, its share."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


def most_mb(pid: int) -> float:
    """The most resident memory that a process ever had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1e3


def shipped_rules() -> dict[str, bytes]:
    """The rules of deploy/padang-pariaman, by path in a region folder."""
    folder = ROOT / "deploy" / "padang-pariaman"
    return {f"rules/{file.name}": file.read_bytes() for file in sorted((folder / "rules").glob("*.toml"))}


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    tasks = [task.name for task in Path(f"/proc/{pid}/task").iterdir()]
    for task in tasks:
        found = Path(f"/proc/{pid}/task/{task}/children")
        children += [child for child in found.read_text().split() if child not in children]
    return [pid, *(below for child in children for below in tree(int(child)))]


class Rig:
    """A region, a broker and a collector in a folder. The collector is a process; it can be killed.

    `url` is where the collector looks for the broker, such as a proxy before it; `env` overrides settings
    (NAGARI_SECTION__KEY); `data` is the collector's data folder, such as one on a small disk.
    """

    program = "collector.cli"

    def __init__(
        self,
        folder: Path,
        *,
        sites: int = 500,
        rules: Mapping[str, bytes] | None = None,
        settings: str = "",
        broker: Mosquitto | None = None,
        kinds: Sequence[str] = ("router",),
        url: str | None = None,
        env: Mapping[str, str] | None = None,
        data: Path | None = None,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.data = data or folder / "data"
        self.env = {**(env or {}), "NAGARI_DATA__DIR": str(self.data)}
        rules = {"rules/bench.toml": TWENTY_RULES} if rules is None else rules
        self.region = write_region(folder / "region", sites, kinds, rules)
        self.broker = broker or Mosquitto(folder / "mosquitto", free_port())
        self.http = free_port()
        self.config = folder / "nagari.toml"
        text = _CONFIG.format(url=url or self.broker.url, port=self.http, region=folder / "region")
        self.config.write_text(text + settings)
        self.process: subprocess.Popen[bytes] | None = None
        self.token = ""

    @property
    def devices(self) -> list[tuple[str, str]]:
        """The (site, device) of the region's routers."""
        return [(d.site, d.id) for d in self.region.devices.values() if d.kind == "router"]

    @property
    def pid(self) -> int:
        """The collector's process id."""
        assert self.process is not None
        return self.process.pid

    def start(self, *, wait: bool = True, patience: float = 20.0) -> None:
        """Start the collector; returns once it is ready. It has `patience` seconds for that."""
        command = [sys.executable, "-m", self.program, "run", "--config", str(self.config)]
        with (self.folder / "collector.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
                env={**os.environ, **self.env},
            )
        if wait:
            self.await_ready(patience)

    def await_ready(self, patience: float = 20.0) -> float:
        """Wait until it is ready; gives the seconds that took."""
        begun = time.monotonic()
        while time.monotonic() - begun < patience:
            assert self.process is not None
            if self.process.poll() is not None:
                raise RuntimeError(f"the collector ended: {self.tail()}")
            try:
                with urllib.request.urlopen(f"http://{HOST}:{self.http}/readyz", timeout=2):
                    return time.monotonic() - begun
            except OSError:
                time.sleep(0.02)
        raise TimeoutError(f"not ready after {patience} s: {self.tail()}")

    def tail(self) -> str:
        """The end of the collector's log."""
        return (self.folder / "collector.log").read_text()[-3000:]

    def stop(self, patience: float = 10.0) -> float:
        """SIGTERM; gives the seconds it took to end."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.terminate()
        self.process.wait(patience)
        return time.monotonic() - begun

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Whatever still runs, ends: for the very last."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self.broker.stop()

    def get(self, path: str, *, timeout: float = 10.0) -> dict:
        """An answer of the API."""
        if not self.token:
            self.token = self.make_token()
        request = urllib.request.Request(
            f"http://{HOST}:{self.http}{path}", headers={"Authorization": f"Bearer {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.load(answer)

    def make_token(self, role: str = "admin") -> str:
        """A token, made beside the running collector."""
        state = State(self.data / "state.db")
        try:
            return state.create_token(role, "rig", time.time_ns())
        finally:
            state.close()

    def eventually(self, path: str, true: Callable[[dict], bool], patience: float = 20.0) -> dict:
        """An answer of the API, once it is there and right."""
        deadline, found = time.monotonic() + patience, {}
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, Problems):
                found = self.get(path)
                if true(found):
                    return found
            time.sleep(0.05)
        raise TimeoutError(f"{found} after {patience} s; {self.tail()}")

    def stats(self) -> dict:
        """The accounts."""
        return self.get("/api/v1/stats")

    def settle(self, received: int, patience: float = 120.0, pause: float = 0.03) -> dict:
        """Wait until that many messages were received and none is in flight."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            stats = self.stats()
            if stats["received"] >= received and stats["in_flight"] == 0:
                return stats
            time.sleep(pause)
        raise TimeoutError(f"{self.stats()} after {patience} s; wanted {received}; {self.tail()}")


def balanced(stats: Mapping[str, int]) -> bool:
    """Whether the accounts balance."""
    fates = ("stored", "duplicate", "quarantined", "dropped", "in_flight")
    return stats["received"] == sum(stats[name] for name in fates)
