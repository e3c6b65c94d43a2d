"""The devices of a plan, by how much is seen of a site: tier 0 ping, 1 router, 2 ONT, 3 power as well."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from collector.inventory.plantoml import CentreToml, GaugeToml, VisibilityToml
from devices.model import Device, Site


@dataclass(frozen=True, slots=True)
class Optics:
    """`onts`: site to (its OLT's device id, port); `olts`: site to the id of the OLT that stands there."""

    onts: Mapping[str, tuple[str, int]]
    olts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Known:
    """What is decided before devices are given out. `lte`: sites with a second uplink."""

    tiers: Mapping[str, int]
    optics: Optics
    lte: Collection[str]
    gauges: Iterable[GaugeToml]


def tiers(nagari: Iterable[str], table: VisibilityToml) -> dict[str, int]:
    """The tier of each nagari. Shares hold to the nearest whole; a hash says whose is which, so it stays."""
    known = sorted(nagari, key=lambda code: hashlib.blake2b(code.encode(), digest_size=8).digest())
    room = _counts(len(known), table.shares)
    found = {code: tier for code, tier in table.fixed.items() if code in known}
    for tier in found.values():
        room[tier] -= 1
    rest = [code for code in known if code not in found]
    order = [tier for tier, left in enumerate(room) for _ in range(left)]
    return found | dict(zip(rest, order, strict=False))


def devices(sites: Iterable[Site], centre: CentreToml, known: Known) -> Iterator[Device]:
    """The devices of all sites, site after site."""
    gauges = defaultdict(list)
    for order, gauge in enumerate(known.gauges, 1):
        gauges[gauge.nagari].append(_gauge(gauge, order))
    olts = enumerate(known.optics.olts.values())
    pollers = {olt: centre.pollers[index % len(centre.pollers)] for index, olt in olts}
    for site in sites:
        if site.kind == "centre":
            yield from _centre(centre)
        elif site.kind == "nagari":
            yield from _nagari(site.id, centre, known, pollers)
        else:
            yield from _house(site, known, pollers)
        if site.id in known.optics.olts:
            olt = known.optics.olts[site.id]
            yield Device(site.id, olt, "olt", via=pollers[olt])
        yield from gauges[site.id]


def _counts(total: int, shares: Iterable[float]) -> list[int]:
    """Whole numbers in proportion to the shares, `total` in sum."""
    known = list(shares)
    ends = [round(total * sum(known[: index + 1]) / sum(known)) for index in range(len(known))]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _centre(centre: CentreToml) -> Iterator[Device]:
    for each in centre.device:
        yield Device(centre.id, each.id, each.kind, each.via, tuple(each.actuators), dict(each.labels))


def _nagari(site: str, centre: CentreToml, known: Known, pollers: Mapping[str, str]) -> Iterator[Device]:
    tier = known.tiers[site]
    if tier == 0:
        yield Device(site, f"router-{site}", "router", via=centre.ping)
        return
    yield _router(site, known)
    if tier >= 2:
        yield _ont(site, known, pollers)
    if tier >= 3:
        yield _power(site)


def _house(site: Site, known: Known, pollers: Mapping[str, str]) -> Iterator[Device]:
    yield _router(site.id, known)
    if site.kind == "health":
        yield _ont(site.id, known, pollers)
    if site.kind in {"health", "district"}:
        yield _power(site.id)
        yield _climate(site)


def _router(site: str, known: Known) -> Device:
    switch = ("switch_uplink",) if site in known.lte else ()
    return Device(site, f"router-{site}", "router", actuators=("reboot", "cycle_port", *switch))


def _ont(site: str, known: Known, pollers: Mapping[str, str]) -> Device:
    olt, port = known.optics.onts[site]
    labels = {"olt": olt, "port": str(port)}
    return Device(site, f"ont-{site}", "ont", pollers[olt], ("reboot",), labels)


def _power(site: str) -> Device:
    return Device(site, f"power-{site}", "power", f"router-{site}", ("shed_load", "restore_load"))


def _climate(site: Site) -> Device:
    """In the server room, which has a fan to switch; at a health centre in the room of the vaccine fridge."""
    room = site.kind == "health"
    labels = {"place": "vaccine-room" if room else "server-room"}
    return Device(
        site.id, f"climate-{site.id}", "climate", f"router-{site.id}", () if room else ("fan",), labels
    )


def _gauge(gauge: GaugeToml, order: int) -> Device:
    labels = {"river": gauge.river, "order": str(order)}
    return Device(gauge.nagari, gauge.id, "river", actuators=("siren",) if gauge.siren else (), labels=labels)
