"""A region made up for load and tests: valid, as large as asked, and plainly not a real one."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from devices.problems import Problems
from devices.region import Region, load, read_folder

_MARK = "# Made up for load tests: it is written over without asking.\n"
_TOML = f"""\
{_MARK}name = "Load"
timezone = "Asia/Jakarta"
languages = ["id", "en"]
holidays = []
centre = "load-centre"
"""
_MAP = '{"type":"FeatureCollection","features":[]}\n'
_RULES = "rules/*.toml"
_WEST, _WIDE, _SOUTH, _HIGH = 95.0, 46.0, -11.0, 17.0  # degrees: about where Indonesia is
_GOLDEN = 0.6180339887  # its multiples, whole parts off, fill a span evenly however many there are


def write_region(
    folder: Path,
    sites: int,
    kinds: Sequence[str] = ("router",),
    rules: Mapping[str, bytes] | None = None,
) -> Region:
    """Write a region folder of that many sites, each with one device for each of `kinds`, and load it.

    `rules` are rule files by path in the folder, such as another region's `Region.rules`. A region that was
    made up before is written over, its rules included. Raises Problems over any other region's folder.
    """
    _clear(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "region.toml").write_text(_TOML, "utf-8")
    (folder / "boundaries.geojson").write_text(_MAP, "utf-8")
    _table(folder / "sites.csv", ("id", "name", "kind", "lon", "lat"), _sites(sites))
    _table(folder / "devices.csv", ("site", "id", "kind"), _devices(sites, kinds))
    for name, text in (rules or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text)
    return load(read_folder(folder), str(folder))


def _clear(folder: Path) -> None:
    """Make sure that nobody else's region is there, and take the old rules away."""
    if not folder.is_dir():
        return
    files = read_folder(folder)
    if files and not files.get("region.toml", b"").startswith(_MARK.encode()):
        what = "holds a region that was not made up for load tests, and would be written over"
        raise Problems.one(str(folder), what, "name a folder of its own")
    for file in folder.glob(_RULES):
        file.unlink()


def _sites(number: int) -> Iterator[tuple[object, ...]]:
    yield "load-centre", "Load centre", "centre", 100.0, -0.5
    for index in range(number):
        lon = round(_WEST + _WIDE * (index * _GOLDEN % 1), 5)
        lat = round(_SOUTH + _HIGH * index / number, 5)
        yield f"load-{index:06d}", f"Load {index}", "nagari", lon, lat


def _devices(sites: int, kinds: Sequence[str]) -> Iterator[tuple[object, ...]]:
    places = [kinds[:place].count(kind) for place, kind in enumerate(kinds)]
    for index in range(sites):
        for kind, place in zip(kinds, places, strict=True):
            yield f"load-{index:06d}", f"{kind}-{index:06d}-{place}", kind


def _table(file: Path, header: tuple[str, ...], rows: Iterator[tuple[object, ...]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
