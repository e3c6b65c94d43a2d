"""A region: its sites, devices, links, people and map, loaded from a folder and checked as a whole."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from devices import geojson, regionfiles, regionnet, regionrows
from devices.model import Area, Device, Link, Person, Site
from devices.problems import Problem, Problems

_NEEDED = ("region.toml", "boundaries.geojson", "sites.csv", "devices.csv")
_OPTIONAL = ("links.geojson", "people.toml")
_RULES = "rules/"


@dataclass(frozen=True)
class Region:
    """What a region folder says. Everything is by id; `hash` names this very content.

    `areas` are the administrative areas of the map, by code; a site's `parent` is another site or an area.
    `rules` are the rule files as they are, by path in the folder. `aliases`: old site id to today's.
    """

    name: str
    timezone: str
    languages: tuple[str, ...]
    holidays: tuple[date, ...]
    centre: str
    sites: Mapping[str, Site]
    devices: Mapping[str, Device]
    links: Mapping[str, Link]
    areas: Mapping[str, Area]
    boundaries: bytes
    rules: Mapping[str, bytes]
    people: Mapping[str, Person]
    aliases: Mapping[str, str]
    hash: str
    _at: Mapping[str, tuple[Device, ...]] = field(repr=False, compare=False)

    def devices_at(self, site: str) -> tuple[Device, ...]:
        """The devices at a site, in the file's order; none for an unknown site."""
        return self._at.get(site, ())

    def plus(self, device: Device) -> Region:
        """The region with one more device, which its folder does not name; the hash stays the folder's."""
        at = {**self._at, device.site: (*self.devices_at(device.site), device)}
        return replace(self, devices={**self.devices, device.id: device}, _at=at)

    def site_id(self, site: str) -> str:
        """Today's id of a site, which may be named by an old one."""
        return self.aliases.get(site, site)

    def areas_of(self, site: str) -> tuple[str, ...]:
        """What a site lies in, innermost first: ids of sites and codes of areas."""
        return regionrows.ancestors(site, self.sites, self.areas)

    def published_by(self, publisher: str) -> tuple[Device, ...]:
        """The devices a publisher speaks for: itself and those `via` it."""
        return tuple(device for device in self.devices.values() if device.publisher == publisher)


def read_folder(folder: Path) -> dict[str, bytes]:
    """The files of a region folder, by path in it. Raises Problems if it cannot be read."""
    if not folder.is_dir():
        raise Problems.one(str(folder), "is no folder", "name the region folder, which holds region.toml")
    found = [folder / name for name in (*_NEEDED, *_OPTIONAL) if (folder / name).exists()]
    found += sorted((folder / _RULES).glob("*.toml"))
    files: dict[str, bytes] = {}
    problems = []
    for file in found:
        try:
            files[file.relative_to(folder).as_posix()] = file.read_bytes()
        except OSError as error:
            problems.append(
                Problem(str(file), f"cannot be read ({error.strerror})", "make it a readable file")
            )
    if problems:
        raise Problems(problems)
    return files


def path_in(root: str, name: str) -> str:
    """How a file of the folder is called in problems."""
    return f"{root.rstrip('/')}/{name}" if root else name


def content_hash(files: Mapping[str, bytes]) -> str:
    """SHA-256 (hex) over the files' names and contents, whatever their order."""
    digest = hashlib.sha256()
    for name in sorted(files):
        for part in (name.encode(), files[name]):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()


def load(files: Mapping[str, bytes], root: str = "") -> Region:
    """The region that the files make. Raises Problems with everything wrong at once.

    `root` is put before file names in problems. Rule files are taken as they are, unchecked.
    """
    problems = [
        Problem(path_in(root, name), "the file is missing", "a region folder needs it")
        for name in _NEEDED
        if name not in files
    ]
    content = {name: raw for name, raw in files.items() if not name.startswith(_RULES)}
    parts = _parts(content, root, problems)
    if problems or parts.head is None:
        raise Problems(problems)
    at: dict[str, list[Device]] = defaultdict(list)
    for device in parts.devices.values():
        at[device.site].append(device)
    return Region(
        name=parts.head.name,
        timezone=parts.head.timezone,
        languages=tuple(parts.head.languages),
        holidays=tuple(parts.head.holidays),
        centre=parts.head.centre,
        sites=parts.sites,
        devices=parts.devices,
        links=parts.links,
        areas=parts.areas,
        boundaries=files["boundaries.geojson"],
        rules={name: raw for name, raw in files.items() if name.startswith(_RULES)},
        people=parts.people,
        aliases={old: site.id for site in parts.sites.values() for old in site.alias},
        hash=content_hash(files),
        _at={site: tuple(found) for site, found in at.items()},
    )


@dataclass(slots=True)
class _Parts:
    """What the files say, as far as it could be read."""

    head: regionfiles.RegionToml | None = None
    areas: dict[str, Area] = field(default_factory=dict)
    sites: dict[str, Site] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)
    people: dict[str, Person] = field(default_factory=dict)


def _parts(files: Mapping[str, bytes], root: str, problems: list[Problem]) -> _Parts:
    """Read all there is; a file that is missing has been named already."""

    def file(name: str) -> tuple[str, bytes]:
        return path_in(root, name), files[name]

    parts = _Parts()
    sites, links, outlines = regionrows.NO_SITES, regionrows.NO_LINKS, []
    if "boundaries.geojson" in files:
        world = geojson.features(*file("boundaries.geojson"), problems)
        parts.areas, outlines = regionfiles.areas(world, problems), regionfiles.outlines(world)
    if "sites.csv" in files:
        sites = regionrows.sites(*file("sites.csv"), parts.areas, problems)
        regionnet.check_places(sites, outlines, problems)
    if "devices.csv" in files:
        parts.devices = regionrows.devices(*file("devices.csv"), sites.items, problems)
    if "region.toml" in files:
        parts.head = regionfiles.toml(*file("region.toml"), regionfiles.RegionToml, problems)
        _check_centre(parts.head, sites.items, path_in(root, "region.toml"), problems)
    if "links.geojson" in files:
        found = geojson.features(*file("links.geojson"), problems)
        links = regionrows.links(found, sites.items, problems)
        regionnet.check_links(links, sites, parts.head.centre if parts.head else "", problems)
    if "people.toml" in files:
        parts.people = regionfiles.people(*file("people.toml"), problems)
    parts.sites, parts.links = sites.items, links.items
    return parts


def _check_centre(
    head: regionfiles.RegionToml | None, sites: Mapping[str, Site], where: str, problems: list[Problem]
) -> None:
    if head is None or not sites:
        return
    site = sites.get(head.centre)
    if site is None or site.kind != "centre":
        what = f"centre {head.centre} is {'not in sites.csv' if site is None else f'a {site.kind}'}"
        problems.append(Problem(f"{where}: centre", what, "name a site of kind centre"))
