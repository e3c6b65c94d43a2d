"""Sites, devices and links as their files name them: each by id, with its place in the file.

Each is checked here against what it names; what only the whole shows, in `regionnet`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from devices import regionfiles, regiontables
from devices.geojson import Features
from devices.model import Area, Device, Link, Site
from devices.problems import Problem

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Rows(Generic[_T]):
    """What a file names, by id; `at` says where an id stands, as file:line."""

    items: dict[str, _T]
    at: Callable[[str], str]


NO_SITES: Rows[Site] = Rows({}, str)
NO_LINKS: Rows[Link] = Rows({}, str)


def sites(where: str, raw: bytes, areas: Mapping[str, Area], problems: list[Problem]) -> Rows[Site]:
    """sites.csv."""
    found: dict[str, Site] = {}
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
        found[site.id] = site
    rows = Rows(found, lambda site: f"{where}:{lines[site]}")
    for site in found.values():
        if site.parent:
            _check_parent(rows, site, areas, problems)
    _check_aliases(rows, problems)
    return rows


def devices(where: str, raw: bytes, sites: Mapping[str, Site], problems: list[Problem]) -> dict[str, Device]:
    """devices.csv."""
    found: dict[str, Device] = {}
    lines: dict[str, int] = {}
    for line, row in regiontables.table(where, raw, regiontables.DEVICES, problems):
        device = Device(**row)
        if device.id in lines:
            what = f"the device {device.id} stands in line {lines[device.id]} already"
            problems.append(Problem(f"{where}:{line}", what, "a device id is unique in the region"))
            continue
        lines[device.id] = line
        found[device.id] = device
        site = sites.get(device.site)
        if site is None:
            what = f"the site {device.site} is not in sites.csv"
            problems.append(Problem(f"{where}:{line}", what, "add the site, or name another"))
        elif site.kind == "node":
            what = f"the site {site.id} is a node, which has no devices"
            problems.append(Problem(f"{where}:{line}", what, "name the site where it stands"))
    problems += [
        Problem(f"{where}:{lines[device.id]}", *wrong)
        for device in found.values()
        if device.via and (wrong := _via_problem(device, found))
    ]
    return found


def links(features: Features, sites: Mapping[str, Site], problems: list[Problem]) -> Rows[Link]:
    """links.geojson."""
    found: dict[str, Link] = {}
    places: dict[str, int] = {}
    for index, link in regionfiles.links(features, problems):
        at = features.at
        if link.id in places:
            what = f"the link {link.id} stands twice, first in {at(places[link.id])}"
            problems.append(Problem(at(index), what, "give each link an id of its own"))
            continue
        if link.a == link.b:
            problems.append(Problem(at(index), f"the link {link.id} ends where it begins", "name two sites"))
        for key, end in (("from", link.a), ("to", link.b)):
            if end not in sites:
                what = f"the link {link.id} leads nowhere: {key} {end} is not in sites.csv"
                problems.append(Problem(at(index), what, "add the site, or name another"))
        places[link.id] = index
        found[link.id] = link
    return Rows(found, lambda link: features.at(places[link]))


def ancestors(site: str, sites: Mapping[str, Site], areas: Mapping[str, Area]) -> tuple[str, ...]:
    """What a site lies in, innermost first: ids of sites and codes of areas."""
    found: list[str] = []
    at = site
    while True:
        up = sites[at].parent if at in sites else ""
        if up in {"", at} and at in areas:
            # A district's office bears its district's code: it lies in what the district lies in.
            up = areas[at].parent
        at = up
        if at in found or (at not in sites and at not in areas):
            return tuple(found)
        found.append(at)


def _check_parent(rows: Rows[Site], site: Site, areas: Mapping[str, Area], problems: list[Problem]) -> None:
    if site.parent not in rows.items and site.parent not in areas:
        what = f"the parent {site.parent} is neither a site nor an area of boundaries.geojson"
        mend = "name the site or the area it lies in, or leave it empty"
        problems.append(Problem(rows.at(site.id), what, mend))
    elif site.id in ancestors(site.id, rows.items, areas):
        what = f"the site {site.id} lies in itself"
        problems.append(Problem(rows.at(site.id), what, "mend the parents on the way"))


def _check_aliases(rows: Rows[Site], problems: list[Problem]) -> None:
    owner: dict[str, str] = {}
    for site in rows.items.values():
        for old in site.alias:
            taken = old if old in rows.items else owner.setdefault(old, site.id)
            if taken != site.id or old in rows.items:
                whose = "a site id" if old in rows.items else f"an alias of {taken}"
                what = f"the alias {old} is {whose} already"
                problems.append(Problem(rows.at(site.id), what, "an old id leads to one site only"))


def _via_problem(device: Device, devices: Mapping[str, Device]) -> tuple[str, str] | None:
    """(What is wrong, the mend) with who publishes for a device."""
    via = devices.get(device.via)
    if via is None:
        mend = "name the device that publishes for it, or leave it empty"
        return f"via {device.via} is no device of this file", mend
    if via.id == device.id:
        return "via names the device itself", "leave it empty: it publishes itself"
    if via.via:
        what = f"via {via.id} is published via {via.via} itself"
        return what, f"name {via.via}, which holds the connection"
    return None
