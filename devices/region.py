"""A region: its sites, devices, links, people and map, loaded from a folder and checked as a whole."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from devices import regionfiles, regiontables
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
        return _ancestors(site, self.sites, self.areas)

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
        Problem(_path(root, name), "the file is missing", "a region folder needs it")
        for name in _NEEDED
        if name not in files
    ]
    content = {name: raw for name, raw in files.items() if not name.startswith(_RULES)}
    head, areas, sites, devices, links, people = _parts(content, root, problems)
    if problems or head is None:
        raise Problems(problems)
    at: dict[str, list[Device]] = defaultdict(list)
    for device in devices.values():
        at[device.site].append(device)
    return Region(
        name=head.name,
        timezone=head.timezone,
        languages=tuple(head.languages),
        holidays=tuple(head.holidays),
        centre=head.centre,
        sites=sites,
        devices=devices,
        links=links,
        areas=areas,
        boundaries=files["boundaries.geojson"],
        rules={name: raw for name, raw in files.items() if name.startswith(_RULES)},
        people=people,
        aliases={old: site.id for site in sites.values() for old in site.alias},
        hash=content_hash(files),
        _at={site: tuple(found) for site, found in at.items()},
    )


_Parts = tuple[
    regionfiles.RegionToml | None,
    dict[str, Area],
    dict[str, Site],
    dict[str, Device],
    dict[str, Link],
    dict[str, Person],
]


def _parts(files: Mapping[str, bytes], root: str, problems: list[Problem]) -> _Parts:
    def file(name: str) -> tuple[str, bytes]:
        return _path(root, name), files[name]

    head = None
    areas: dict[str, Area] = {}
    sites: dict[str, Site] = {}
    devices: dict[str, Device] = {}
    if "boundaries.geojson" in files:
        areas = regionfiles.areas(*file("boundaries.geojson"), problems)
    if "sites.csv" in files:
        sites = _sites(*file("sites.csv"), areas, problems)
    if "devices.csv" in files:
        devices = _devices(*file("devices.csv"), sites, problems)
    if "region.toml" in files:
        head = regionfiles.toml(*file("region.toml"), regionfiles.RegionToml, problems)
        _check_centre(head, sites, _path(root, "region.toml"), problems)
    links = _links(*file("links.geojson"), sites, problems) if "links.geojson" in files else {}
    people = regionfiles.people(*file("people.toml"), problems) if "people.toml" in files else {}
    return head, areas, sites, devices, links, people


def _sites(where: str, raw: bytes, areas: Mapping[str, Area], problems: list[Problem]) -> dict[str, Site]:
    sites: dict[str, Site] = {}
    lines: dict[str, int] = {}
    for line, row in regiontables.table(where, raw, regiontables.SITES, problems):
        site = Site(**row)
        if site.id in lines:
            what = f"the site {site.id} stands in line {lines[site.id]} already"
            problems.append(Problem(f"{where}:{line}", what, "give each site an id of its own"))
            continue
        if ("lon" in row and "lat" in row) and (site.lon is None) != (site.lat is None):
            problems.append(Problem(f"{where}:{line}", "has only one of lon and lat", "give both or neither"))
        lines[site.id] = line
        sites[site.id] = site
    for site in sites.values():
        problems += _parent_problems(f"{where}:{lines[site.id]}", site, sites, areas)
    _check_aliases(where, sites, lines, problems)
    return sites


def _parent_problems(
    where: str, site: Site, sites: Mapping[str, Site], areas: Mapping[str, Area]
) -> list[Problem]:
    if site.parent and site.parent not in sites and site.parent not in areas:
        what = f"the parent {site.parent} is neither a site nor an area of boundaries.geojson"
        return [Problem(where, what, "name the site or the area it lies in, or leave it empty")]
    if site.id in _ancestors(site.id, sites, areas):
        return [Problem(where, f"the site {site.id} lies in itself", "mend the parents on the way")]
    return []


def _check_aliases(
    where: str, sites: Mapping[str, Site], lines: Mapping[str, int], problems: list[Problem]
) -> None:
    owner: dict[str, str] = {}
    for site in sites.values():
        for old in site.alias:
            taken = old if old in sites else owner.setdefault(old, site.id)
            if taken != site.id or old in sites:
                what = f"the alias {old} is {'a site id' if old in sites else f'an alias of {taken}'} already"
                problems.append(
                    Problem(f"{where}:{lines[site.id]}", what, "an old id leads to one site only")
                )


def _devices(where: str, raw: bytes, sites: Mapping[str, Site], problems: list[Problem]) -> dict[str, Device]:
    devices: dict[str, Device] = {}
    lines: dict[str, int] = {}
    for line, row in regiontables.table(where, raw, regiontables.DEVICES, problems):
        device = Device(**row)
        if device.id in lines:
            what = f"the device {device.id} stands in line {lines[device.id]} already"
            problems.append(Problem(f"{where}:{line}", what, "a device id is unique in the region"))
            continue
        lines[device.id] = line
        devices[device.id] = device
        site = sites.get(device.site)
        if site is None:
            what = f"the site {device.site} is not in sites.csv"
            problems.append(Problem(f"{where}:{line}", what, "add the site, or name another"))
        elif site.kind == "node":
            what = f"the site {site.id} is a node, which has no devices"
            problems.append(Problem(f"{where}:{line}", what, "name the site where it stands"))
    for device in devices.values():
        problems += _via_problems(f"{where}:{lines[device.id]}", device, devices)
    return devices


def _via_problems(where: str, device: Device, devices: Mapping[str, Device]) -> list[Problem]:
    if not device.via:
        return []
    via = devices.get(device.via)
    if via is None:
        mend = "name the device that publishes for it, or leave it empty"
        return [Problem(where, f"via {device.via} is no device of this file", mend)]
    if via.id == device.id:
        return [Problem(where, "via names the device itself", "leave it empty: it publishes itself")]
    if via.via:
        what = f"via {via.id} is published via {via.via} itself"
        return [Problem(where, what, f"name {via.via}, which holds the connection")]
    return []


def _links(where: str, raw: bytes, sites: Mapping[str, Site], problems: list[Problem]) -> dict[str, Link]:
    links: dict[str, Link] = {}
    for at, link in regionfiles.links(where, raw, problems):
        if link.id in links:
            problems.append(
                Problem(at, f"the link {link.id} stands twice", "give each link an id of its own")
            )
        if link.a == link.b:
            problems.append(Problem(at, f"the link {link.id} ends where it begins", "name two sites"))
        for key, end in (("from", link.a), ("to", link.b)):
            if end not in sites:
                problems.append(
                    Problem(at, f"{key} {end} is not in sites.csv", "add the site, or name another")
                )
        links[link.id] = link
    return links


def _check_centre(
    head: regionfiles.RegionToml | None, sites: Mapping[str, Site], where: str, problems: list[Problem]
) -> None:
    if head is None or not sites:
        return
    site = sites.get(head.centre)
    if site is None or site.kind != "centre":
        what = f"centre {head.centre} is {'not in sites.csv' if site is None else f'a {site.kind}'}"
        problems.append(Problem(f"{where}: centre", what, "name a site of kind centre"))


def _ancestors(site: str, sites: Mapping[str, Site], areas: Mapping[str, Area]) -> tuple[str, ...]:
    found: list[str] = []
    at = site
    while True:
        at = (at in sites and sites[at].parent) or (at in areas and areas[at].parent) or ""
        if at in found or (at not in sites and at not in areas):
            return tuple(found)
        found.append(at)


def _path(root: str, name: str) -> str:
    return f"{root.rstrip('/')}/{name}" if root else name
