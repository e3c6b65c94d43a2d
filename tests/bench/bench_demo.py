"""The demo: how soon a newcomer sees the page, a reading and the whole regency, and what it takes in memory.

RSS counts what processes share once for each of them, PSS once in all.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from devices.region import load, read_folder
from tests.bench.rig import ROOT, proportional_mb, resident_mb, tree

IDLE = 30.0
PATIENCE = 60.0
_REGION = ROOT / "deploy" / "padang-pariaman"


class _Page:
    """What a newcomer looks at. `url` and `token` are those that the demo tells."""

    def __init__(self, log: Path) -> None:
        self.url, self.token = self._told(log)
        with urllib.request.urlopen(self.url, timeout=5) as answer:
            assert b"<html" in answer.read()

    def heard(self) -> set[str]:
        """The sites with a reading of some device."""
        sites: set[str] = set()
        cursor: str | None = ""
        while cursor is not None:
            found = self._get(f"/api/v1/devices?limit=500&cursor={cursor}")
            cursor = found["next"]
            sites |= {
                device["site"]
                for device in found["devices"]
                if any(metric.get("value") is not None for metric in device["metrics"])
            }
        return sites

    def _get(self, path: str) -> dict:
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)

    @staticmethod
    def _told(log: Path) -> tuple[str, str]:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if found := re.search(r"(http://\S+)/#token=(\S+)", log.read_text()):
                return found[1], found[2]
            time.sleep(0.02)
        raise TimeoutError(log.read_text())


def _newcomer(log: Path, begun: float) -> dict[str, object]:
    page = _Page(log)
    figures: dict[str, object] = {"demo.page_s": round(time.monotonic() - begun, 2)}
    all_sites = {device.site for device in load(read_folder(_REGION)).devices.values()}
    while time.monotonic() - begun < PATIENCE:
        heard = page.heard()
        if heard:
            figures.setdefault("demo.first_reading_s", round(time.monotonic() - begun, 2))
        if all_sites <= heard:
            return {**figures, "demo.every_site_s": round(time.monotonic() - begun, 2)}
        time.sleep(0.05)
    raise TimeoutError(f"{len(heard)} of {len(all_sites)} sites were heard of; {log.read_text()}")


def run(idle: float = IDLE) -> dict[str, object]:
    """The figures."""
    with tempfile.TemporaryDirectory(prefix="nagari-bench-") as name:
        log = Path(name) / "demo.log"
        command = [sys.executable, "-m", "collector.cli", "demo", "--data", f"{name}/demo", "--fresh"]
        begun = time.monotonic()
        with log.open("wb") as out:
            demo = subprocess.Popen(command, stdout=out, stderr=out, cwd=ROOT)
        try:
            figures = _newcomer(log, begun)
            time.sleep(idle)
            processes = tree(demo.pid)
            figures["demo.rss_mb"] = round(sum(map(resident_mb, processes)))
            figures["demo.pss_mb"] = round(sum(map(proportional_mb, processes)))
            figures["demo.processes"] = len(processes)
        finally:
            demo.send_signal(signal.SIGINT)
            stopping = time.monotonic()
            demo.wait(20)
    return {**figures, "demo.stop_s": round(time.monotonic() - stopping, 2)}


if __name__ == "__main__":
    for key, value in run().items():
        print(f"{key:32} {value}")
