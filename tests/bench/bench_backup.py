"""Backup and restore of partition files, in MB/s; how long a bare machine needs for a year of the regency.

    python -m tests.bench.bench_backup [MEGABYTES]

The files are as large as a day of the regency and made of random bytes, which stand for compressed columns:
nothing in them can be compressed or found twice. Everything is as the commands do it: restic, the manifest's
sums, verification before anything is put in place. The repository is on the same disk.

A year of the regency, from the inventory and the catalogue (a device reports three times in the silence after
which it is stale): readings a day = Σ devices × metrics × 86,400 / interval; at 3 bytes each, the goal for
closed partitions. Roll-ups: one row for each series and minute, and hour, at 20 bytes a row, the figure that
a plan of storage starts with.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from collector.backup import manifest
from collector.backup.making import CONFIG, EFFECTIVE, REGION
from collector.backup.restic import Restic
from collector.backup.restoring import restore
from devices.catalogue import CLOCK_WRONG, KINDS
from devices.region import load, read_folder
from tests.bench.rig import ROOT

MEGABYTES = 1_000
RAW_BYTES, ROLLUP_BYTES = 3, 20
DAYS = 365


def run(megabytes: int = MEGABYTES) -> dict[str, object]:
    """The figures."""
    raw, rollups = a_year()
    day = raw // DAYS
    days = max(2, megabytes * 10**6 // day)
    with tempfile.TemporaryDirectory(prefix="nagari-bench-") as name:
        folder = Path(name)
        (folder / "password").write_text("bench")
        (folder / "password").chmod(0o600)
        restic = Restic(str(folder / "repository"), folder / "password", None, folder / "cache")
        restic.init()
        staged = folder / "staged"
        for made in ("data", "store", REGION):
            (staged / made).mkdir(parents=True)
        (staged / CONFIG).write_text("")
        (staged / EFFECTIVE).write_text("{}")
        for number in range(days):
            partition(staged, number, day)
        first, size = back_up(restic, staged)
        partition(staged, days, day)
        second, added = back_up(restic, staged)
        begun = time.perf_counter()
        found = restore(restic, folder / "restored", None, lambda *_: None)
        took = time.perf_counter() - begun
        rate = found.manifest.bytes / took
        return {
            "backup.machine_cores": os.cpu_count(),
            "backup.load_average": round(os.getloadavg()[0], 1),
            "backup.files": days,
            "backup.first_mb": size // 10**6,
            "backup.first_mb_s": round(size / first / 1e6, 1),
            "backup.next_night_added_mb": round(added / 1e6, 1),
            "backup.next_night_s": round(second, 1),
            "backup.restore_mb_s": round(rate / 1e6, 1),
            "backup.year_raw_gb": round(raw / 1e9, 1),
            "backup.year_rollups_gb": round(rollups / 1e9, 1),
            "backup.year_raw_restore_min": round(raw / rate / 60, 1),
            "backup.year_restore_min": round((raw + rollups) / rate / 60, 1),
        }


def partition(staged: Path, number: int, size: int) -> None:
    """A day's file."""
    with (staged / "store" / f"day-{number:04d}").open("wb") as file:
        for at in range(0, size, 1 << 20):
            file.write(os.urandom(min(1 << 20, size - at)))


def back_up(restic: Restic, staged: Path) -> tuple[float, int]:
    """Seconds it took, sums of what is new included, and bytes that it added."""
    begun = time.perf_counter()
    seen = staged.parent / "sums.json"
    found, now = manifest.sums(staged, manifest.remembered(seen))
    manifest.remember(seen, now)
    manifest.write(manifest.Manifest(time.time_ns(), "bench", found, {}, {}), staged)
    summary = restic.backup(staged)
    return time.perf_counter() - begun, int(summary["data_added"])


def a_year() -> tuple[int, int]:
    """Bytes of the raw readings, and of the roll-ups."""
    folder = ROOT / "deploy" / "padang-pariaman"
    readings = series = 0.0
    for device in load(read_folder(folder), str(folder)).devices.values():
        kind = KINDS[device.kind]
        metrics = len(kind.metrics.keys() - {CLOCK_WRONG})
        series += metrics
        readings += metrics * 86_400 / (kind.stale_after_s / 3)
    rows = series * (1440 + 24)
    return int(readings * DAYS * RAW_BYTES), int(rows * DAYS * ROLLUP_BYTES)


if __name__ == "__main__":
    for figure, value in run(*map(int, sys.argv[1:])).items():
        print(f"{figure:32} {value}")
