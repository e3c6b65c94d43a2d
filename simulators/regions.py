"""A region made up for load and tests: valid, as large as asked, and plainly not a real one."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from devices.region import Region, load, read_folder

_TOML = """\
name = "Load"
timezone = "Asia/Jakarta"
languages = ["id", "en"]
holidays = []
centre = "load-centre"
"""
_MAP = '{"type":"FeatureCollection","features":[]}\n'


def write_region(
    folder: Path, sites: int, routers: int = 1, onts: int = 0, rules: Mapping[str, bytes] | None = None
) -> Region:
    """Write a region folder of that many sites, each with so many routers and ONTs, and load it.

    `rules` are rule files by path in the folder, such as another region's `Region.rules`. Existing files of
    the same names are written over. Raises Problems if the rest of the folder does not fit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "region.toml").write_text(_TOML, "utf-8")
    (folder / "boundaries.geojson").write_text(_MAP, "utf-8")
    _table(folder / "sites.csv", ("id", "name", "kind", "lon", "lat"), _sites(sites))
    _table(folder / "devices.csv", ("site", "id", "kind"), _devices(sites, {"router": routers, "ont": onts}))
    for name, text in (rules or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text)
    return load(read_folder(folder), str(folder))


def _sites(number: int) -> Iterator[tuple[object, ...]]:
    yield "load-centre", "Load centre", "centre", 100.0, -0.5
    for index in range(number):
        yield f"load-{index:06d}", f"Load {index}", "nagari", 100 + index % 100 / 100, -0.5 - index % 37 / 100


def _devices(sites: int, kinds: Mapping[str, int]) -> Iterator[tuple[object, ...]]:
    for index in range(sites):
        for kind, number in kinds.items():
            for one in range(number):
                yield f"load-{index:06d}", f"{kind}-{index:06d}-{one}", kind


def _table(file: Path, header: tuple[str, ...], rows: Iterator[tuple[object, ...]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
