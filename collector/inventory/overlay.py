"""One inventory laid over another by id: rows change what is there, add what is new, rename, and replace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from collector.inventory.survey import Row
from devices import geo
from devices.geo import Point
from devices.model import Device, Link, Site
from devices.problems import Problem
from devices.region import Region

_T = TypeVar("_T", Site, Device, Link)


class Overlay:
    """Sites, devices and links, by id in the order of their files, with what was laid over them.

    `origins`: where the row that said the last word about (file, id) stands; `renamed`: old id to new, `olds`
    the other way. What cannot be is put into `problems`.
    """

    def __init__(self, region: Region, problems: list[Problem]) -> None:
        self.sites = dict(region.sites)
        self.devices = dict(region.devices)
        self.links = dict(region.links)
        self.origins: dict[tuple[str, str], str] = {}
        self.renamed: dict[str, str] = {}
        self.olds: dict[str, str] = {}
        self._region = region
        self._problems = problems

    def lay(
        self, sites: Sequence[Row], devices: Sequence[Row], links: Sequence[Row], drop: Sequence[str]
    ) -> None:
        """Lay the rows over what is there, then take away what they replace and what is dropped."""
        self._rename(sites)
        before = dict(self.sites)
        for row in sites:
            self._lay_site(row)
        self._follow(before, {row.id for row in links})
        for row in devices:
            self._lay_device(row)
        for row in links:
            self._lay_link(row)
        self._replace([*sites, *devices, *links], drop)

    def _today(self, site: str) -> str:
        """A site's new id, from any it ever had."""
        known = self._region.site_id(site)
        return self.renamed.get(known, known)

    def _rename(self, rows: Sequence[Row]) -> None:
        for row in rows:
            olds = dict.fromkeys(map(self._region.site_id, row.says.get("alias", ())))
            known = [old for old in olds if old in self._region.sites]
            if not known or self._region.site_id(row.id) in self._region.sites:
                continue
            taken = [old for old in known if old in self.renamed]
            if len(known) > 1 or taken:
                what = f"the site {row.id} cannot take the place of {' and '.join(known)}"
                mend = "name one old site in alias, which no other row names; put the others into replaces"
                self._problems.append(Problem(row.where, what, mend))
                continue
            self.renamed[known[0]] = row.id
        self.olds = {new: old for old, new in self.renamed.items()}
        self.sites = {self._today(name): self._renamed(site) for name, site in self.sites.items()}
        self.devices = {
            name: replace(device, site=self._today(device.site)) for name, device in self.devices.items()
        }
        self.links = {
            name: replace(link, a=self._today(link.a), b=self._today(link.b))
            for name, link in self.links.items()
        }

    def _renamed(self, site: Site) -> Site:
        new = self._today(site.id)
        alias = site.alias if new == site.id else (*site.alias, site.id)
        parent = self._today(site.parent) if site.parent in self._region.sites else site.parent
        return replace(site, id=new, parent=parent, alias=alias)

    def _lay_site(self, row: Row) -> None:
        says = dict(row.says)
        ident = self._today(row.id)
        if says.get("parent"):
            says["parent"] = self._today(says["parent"])
        old = self.sites.get(ident)
        alias = dict.fromkeys((*(old.alias if old else ()), *says.pop("alias", ())))
        alias.pop(ident, None)
        if old is None and not self._whole(row, "site", "name", "kind"):
            return
        says |= {"id": ident, "alias": tuple(alias)}
        self.sites[ident] = replace(old, **says) if old else Site(**says)
        self.origins["sites.csv", ident] = row.where

    def _lay_device(self, row: Row) -> None:
        says = {**row.says, "id": row.id}
        if says.get("site"):
            says["site"] = self._today(says["site"])
        old = self.devices.get(row.id)
        if old is None and not self._whole(row, "device", "site", "kind"):
            return
        self.devices[row.id] = replace(old, **says) if old else Device(**says)
        self.origins["devices.csv", row.id] = row.where

    def _lay_link(self, row: Row) -> None:
        says: dict[str, Any] = {**row.says, "id": row.id}
        says |= {end: self._today(says[end]) for end in ("a", "b") if end in says}
        if row.path is not None:
            says["path"] = row.path
            says.setdefault("length_km", round(geo.path_km(row.path), 3))
        old = self.links.get(row.id)
        if old is None and not self._whole(row, "link", "from", "to", "geometry"):
            return
        self.links[row.id] = replace(old, **says) if old else Link(**{"kind": "fibre", **says})
        self.origins["links.geojson", row.id] = row.where

    def _whole(self, row: Row, noun: str, *needed: str) -> bool:
        """Whether a row that is new says what it must."""
        there = {*row.says, *({"from"} if "a" in row.says else ()), *({"to"} if "b" in row.says else ())}
        there |= {"geometry"} if row.path is not None else set()
        missing = [name for name in needed if name not in there]
        if missing:
            what = f"the {noun} {row.id} is new, and its {' and '.join(missing)} not said"
            mend = "say it, or correct the id"
            if noun == "site":
                mend += " (a site with a new id names the old one in alias)"
            self._problems.append(Problem(row.where, what, mend))
        return not missing

    def _follow(self, before: Mapping[str, Site], said: set[str]) -> None:
        """Lines that are only planned go where their sites went; what was surveyed stays."""
        for name, link in self.links.items():
            if link.source == "as-built" or name in said:
                continue
            ends = {0: _went(before, self.sites, link.a), -1: _went(before, self.sites, link.b)}
            path = list(link.path)
            for end, point in ends.items():
                path[end] = point or path[end]
            if tuple(path) != link.path:
                self.links[name] = replace(link, path=tuple(path), length_km=_stretched(link, path))

    def _replace(self, rows: Iterable[Row], drop: Sequence[str]) -> None:
        before = self._named_by_links(self._region.links.values())
        gone = [(row.where, ident) for row in rows for ident in row.replaces]
        for where, ident in [*gone, *(("--drop", ident) for ident in drop)]:
            if not self._take_away(ident):
                what = f"{ident} is replaced, but is no site, device or link of the region"
                self._problems.append(Problem(where, what, "correct the id, or leave it out"))
        # A closure that only the replaced links came by was part of them.
        lonely = before - self._named_by_links(self.links.values())
        for name in sorted(lonely):
            if name in self.sites and self.sites[name].kind == "node":
                del self.sites[name]

    def _take_away(self, ident: str) -> bool:
        """Whether there was something of that id."""
        site = self.sites.pop(self._today(ident), None)
        return any((self.links.pop(ident, None), site, self.devices.pop(ident, None)))

    def _named_by_links(self, links: Iterable[Link]) -> set[str]:
        return {self._today(end) for link in links for end in (link.a, link.b)}


def _went(before: Mapping[str, Site], after: Mapping[str, Site], site: str) -> Point | None:
    """Where a site is now, if it moved."""
    old, new = before.get(site), after.get(site)
    if old is None or new is None or new.lon is None or new.lat is None:
        return None
    return None if (old.lon, old.lat) == (new.lon, new.lat) else (new.lon, new.lat)


def _stretched(link: Link, path: Sequence[Point]) -> float:
    """A planned length on a new line: as much longer than the line as before."""
    drawn = geo.path_km(link.path)
    return round(geo.path_km(path) * (link.length_km / drawn if drawn else 1.0), 3)
