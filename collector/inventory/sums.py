"""What a region comes to, in a few figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from collector.inventory.fibre import length_of
from devices.region import Region


@dataclass(frozen=True, slots=True)
class Sums:
    """Sites and devices by kind, the most first; kilometres of fibre by source; LTE uplinks; feeders."""

    sites: Mapping[str, int]
    devices: Mapping[str, int]
    fibre_km: Mapping[str, float]
    lte: int
    feeders: int

    def __str__(self) -> str:
        sites = f"{sum(self.sites.values())} sites ({_counted(self.sites)})"
        devices = f"{sum(self.devices.values())} devices ({_counted(self.devices)})"
        parts = ", ".join(f"{km:.1f} {source}" for source, km in self.fibre_km.items())
        fibre = f"{sum(self.fibre_km.values()):.1f} km of fibre" + (f" ({parts})" if parts else "")
        return f"{sites}, {devices}, {fibre}, {self.lte} LTE uplinks, {self.feeders} feeders"


def sums(region: Region) -> Sums:
    """The figures of a region."""
    links = region.links.values()
    sources = sorted({link.source for link in links if link.kind == "fibre"})
    return Sums(
        _most_first(Counter(site.kind for site in region.sites.values())),
        _most_first(Counter(device.kind for device in region.devices.values())),
        {source: fibre_km(region, source) for source in sources},
        sum(link.kind == "lte" for link in links),
        len({site.feeder for site in region.sites.values() if site.feeder}),
    )


def fibre_km(region: Region, source: str | None = None) -> float:
    """Kilometres of fibre, of one source or of all."""
    return length_of(link for link in region.links.values() if source in {None, link.source})


def _most_first(counted: Counter[str]) -> dict[str, int]:
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in kinds.items())
