"""What a fault is aimed at: the names of a region's things as ids, and what an operator should find."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

from devices.model import Device, Link
from devices.region import Region
from simulators.network import Network

Target = Literal["link", "cable", "site", "feeder", "area", "device", "river", "provider", "everywhere"]

HINTS: Final[Mapping[str, str]] = {
    "link": "take an id of links.geojson",
    "cable": "take a cable of links.geojson",
    "site": "take an id of sites.csv that is no node",
    "feeder": "take a feeder of sites.csv",
    "area": "take a code of boundaries.geojson",
    "device": "take an id of devices.csv",
    "river": "give river gauges a label river=… in devices.csv",
    "provider": "take the owner of an lte link",
}


def _site(region: Region, name: str) -> list[str]:
    site = region.sites.get(region.site_id(name))
    return [] if site is None or site.kind == "node" else [site.id]  # nothing at a node can break but links


def _sites_in(region: Region, area: str) -> list[str]:
    return [site for site in region.sites if area == site or area in region.areas_of(site)]


def _gauges(region: Region, river: str) -> list[str]:
    def order(device: Device) -> int:
        label = device.labels.get("order", "")
        return int(label) if label.isdecimal() else 0

    found = (d for d in region.devices.values() if d.kind == "river" and d.labels.get("river") == river)
    return [device.id for device in sorted(found, key=order)]


def _cable_head(region: Region, cable: str) -> list[str]:
    """The link of the cable that lies nearest the centre: cut there, all of the cable is dark."""
    network = Network(region)

    def way(link: Link) -> float:
        return min(network.distance(region.centre, link.a), network.distance(region.centre, link.b))

    found = [link for link in region.links.values() if link.cable == cable and link.kind == "fibre"]
    return [min(found, key=lambda link: (way(link), link.id)).id] if found else []


FINDERS: Final[Mapping[str, Callable[[Region, str], list[str]]]] = {
    "link": lambda region, name: [name] if name in region.links else [],
    "cable": _cable_head,
    "site": _site,
    "feeder": lambda region, name: [site.id for site in region.sites.values() if site.feeder == name],
    "area": lambda region, name: _sites_in(region, name) if name in region.areas else [],
    "device": lambda region, name: [name] if name in region.devices else [],
    "river": _gauges,
    "provider": lambda region, name: [
        link.a for link in region.links.values() if link.kind == "lte" and link.owner == name
    ],
}


def root(kind: str, target: Target | None, names: tuple[str, ...], links: tuple[str, ...]) -> tuple[str, str]:
    """What an operator should find: a kind of root (as incidents have them) and its id."""
    if kind == "broker_restart":
        return "collector", "broker"
    if kind == "collector_link_dead":
        return "collector", "link"
    name = ";".join(names)
    return {
        "link": ("link", name),
        "cable": ("link", ";".join(links)),
        "feeder": ("power_area", name),
        "provider": ("provider", name),
        "device": ("device", name),
        "river": ("site", name),
        "area": ("power_area" if kind == "mains_out" else "site", name),
        "everywhere": ("power_area" if kind == "mains_out" else "site", "everywhere"),
    }.get(target or "", ("site", name))
