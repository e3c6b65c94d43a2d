"""What is different between two states of a region's inventory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from collector.inventory import sums, writing
from devices import geo
from devices.model import Device, Link, Site
from devices.region import Region

_T = TypeVar("_T")
Fields = Mapping[str, tuple[object, object]]
"""Old and new value by field."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is there before and after. `was`: its old id; `moved_m`: by how far a site moved."""

    id: str
    fields: Fields
    was: str = ""
    moved_m: float | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What is different among the sites, the devices or the links: ids, and changes."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True, slots=True)
class Diff:
    """What is different; kilometres of fibre before and after, in all and as-built."""

    sites: Part
    devices: Part
    links: Part
    fibre_km: tuple[float, float]
    as_built_km: tuple[float, float]

    @property
    def parts(self) -> Mapping[str, Part]:
        """The three parts by what they are about."""
        return {"site": self.sites, "device": self.devices, "link": self.links}

    def __bool__(self) -> bool:
        return any(self.parts.values())


def diff(before: Region, after: Region) -> Diff:
    """What is different. A site is renamed where its alias names an id that is gone; references follow it."""
    renamed = {
        old: site.id
        for site in after.sites.values()
        for old in site.alias
        if old in before.sites and old not in after.sites and site.id not in before.sites
    }
    sites = {renamed.get(site.id, site.id): _site(site, renamed) for site in before.sites.values()}
    devices = {device.id: _device(device, renamed) for device in before.devices.values()}
    links = {link.id: _link(link, renamed) for link in before.links.values()}
    olds = {new: old for old, new in renamed.items()}
    return Diff(
        _part(sites, after.sites, lambda a, b: _site_change(a, b, olds.get(b.id, ""))),
        _part(devices, after.devices, lambda a, b: Change(b.id, _fields(_device_row(a), _device_row(b)))),
        _part(links, after.links, lambda a, b: Change(b.id, _fields(_link_row(a), _link_row(b)))),
        (sums.fibre_km(before), sums.fibre_km(after)),
        (sums.fibre_km(before, "as-built"), sums.fibre_km(after, "as-built")),
    )


def _part(before: Mapping[str, _T], after: Mapping[str, _T], change: Callable[[_T, _T], Change]) -> Part:
    both = [change(before[name], after[name]) for name in after if name in before]
    return Part(
        tuple(name for name in after if name not in before),
        tuple(name for name in before if name not in after),
        tuple(each for each in both if each.fields or each.was or each.moved_m is not None),
    )


def _site_change(before: Site, after: Site, was: str) -> Change:
    old, new = dict(writing.site_row(before)), dict(writing.site_row(after))
    moved = _moved_m(before, after)
    for row in (old, new):
        del row["id"]
        if moved is not None:
            del row["lon"], row["lat"]
    if was:
        old["alias"] = ";".join(dict.fromkeys([*before.alias, was]))
        if set(before.alias) | {was} == set(after.alias):
            del old["alias"], new["alias"]
    return Change(after.id, _fields(old, new), was, moved)


def _moved_m(before: Site, after: Site) -> float | None:
    """By how many metres a site moved; None if it did not, or has no place before or after."""
    if before.lon is None or before.lat is None or after.lon is None or after.lat is None:
        return None
    if (before.lon, before.lat) == (after.lon, after.lat):
        return None
    return round(geo.distance_km((before.lon, before.lat), (after.lon, after.lat)) * 1000, 1)


def _fields(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


def _device_row(device: Device) -> Mapping[str, object]:
    return writing.device_row(device)


def _link_row(link: Link) -> Mapping[str, object]:
    return {**writing.properties(link), "path": [list(point) for point in link.path]}


def _site(site: Site, renamed: Mapping[str, str]) -> Site:
    return replace(site, id=renamed.get(site.id, site.id), parent=renamed.get(site.parent, site.parent))


def _device(device: Device, renamed: Mapping[str, str]) -> Device:
    return replace(device, site=renamed.get(device.site, device.site))


def _link(link: Link, renamed: Mapping[str, str]) -> Link:
    return replace(link, a=renamed.get(link.a, link.a), b=renamed.get(link.b, link.b))
