"""The fibre of a plan: splitters at the nagari, trunk cables with their joints, drops, and LTE beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise

from collector.inventory.places import World
from collector.inventory.plantoml import FibreToml, LteToml, WordsToml
from collector.inventory.tree import Tree
from devices import geo
from devices.geo import Point
from devices.model import Link, Site


def splitter(nagari: str) -> str:
    """The id of a nagari's splitter."""
    return f"{nagari}-odp"


def splitters(world: World, words: WordsToml, owner: str) -> list[Site]:
    """One splitter a nagari, on its point."""
    return [
        Site(
            splitter(code),
            words.splitter.format(name=place.name),
            "node",
            parent=code,
            agency=owner,
            lon=place.point[0],
            lat=place.point[1],
        )
        for code, place in world.nagari.items()
    ]


def trunk(world: World, tree: Tree, fibre: FibreToml, words: WordsToml) -> tuple[list[Site], list[Link]]:
    """The joints, and the links from splitter to splitter over them.

    A cable comes on drums: a way longer than one is cut into equal pieces, with a joint between two. A joint
    and the link that ends at it are named for the nagari they lead to, and counted from the centre.
    """
    joints: list[Site] = []
    links: list[Link] = []
    for number, (start, run) in enumerate(tree.cables(), 1):
        cable = f"{fibre.cable}-{number:02d}"
        cores = _cores(tree.size[run[0]], fibre)
        for a, b in pairwise((start, *run)):
            new = _joints(world, a, b, fibre, words)
            stops = [(splitter(a), world.nagari[a].point), *_stops(new), (splitter(b), world.nagari[b].point)]
            joints += new
            links += _segments(stops, fibre, cable, cores)
    return joints, links


def drops(sites: Iterable[tuple[Site, str]], fibre: FibreToml, centre: str) -> Iterator[Link]:
    """The last metres, drawn as none, from each (site, where it is joined to) until somebody surveys them."""
    for site, joined in sites:
        if site.lon is None or site.lat is None:
            raise ValueError(f"{site.id} has no point")
        path = ((site.lon, site.lat),) * 2
        cores = fibre.cores[0] if site.id == centre else fibre.drop_cores
        yield Link(
            f"drop-{site.id}", joined, site.id, "fibre", 0.0, cores=cores, owner=fibre.owner, path=path
        )


def lte(sites: Iterable[Site], centre: Site, table: LteToml) -> Iterator[Link]:
    """A second uplink for each site, the providers in turn."""
    for index, site in enumerate(sorted(sites, key=lambda site: site.id)):
        path = (_point(site), _point(centre))
        owner = table.providers[index % len(table.providers)]
        length = round(geo.path_km(path), 3)
        yield Link(f"lte-{site.id}", site.id, centre.id, "lte", length, owner=owner, path=path)


def far_ones(tree: Tree, number: int) -> list[str]:
    """The vertices farthest from the root along the fibre."""
    return sorted(tree.order, key=lambda vertex: (-tree.km[vertex], vertex))[:number]


def _joints(world: World, a: str, b: str, fibre: FibreToml, words: WordsToml) -> list[Site]:
    ends = world.nagari[a].point, world.nagari[b].point
    pieces = math.ceil(fibre.slack * geo.distance_km(*ends) / fibre.drum_km)
    joints = []
    for number in range(1, pieces):
        lon, lat = geo.between(*ends, number / pieces)
        name = words.joint.format(name=world.nagari[b].name, number=number)
        parent = world.at((lon, lat)) or b
        joints.append(
            Site(f"{b}-jc-{number:02d}", name, "node", parent=parent, agency=fibre.owner, lon=lon, lat=lat)
        )
    return joints


def _stops(joints: Iterable[Site]) -> list[tuple[str, Point]]:
    return [(joint.id, _point(joint)) for joint in joints]


def _segments(stops: list[tuple[str, Point]], fibre: FibreToml, cable: str, cores: int) -> Iterator[Link]:
    for (a, start), (b, end) in pairwise(stops):
        length = round(fibre.slack * geo.distance_km(start, end), 3)
        yield Link(
            f"fo-{b}", a, b, "fibre", length, cable=cable, cores=cores, owner=fibre.owner, path=(start, end)
        )


def _cores(behind: int, fibre: FibreToml) -> int:
    big, middle, small = fibre.cores
    return big if behind >= fibre.nagari_behind[0] else middle if behind >= fibre.nagari_behind[1] else small


def _point(site: Site) -> Point:
    if site.lon is None or site.lat is None:
        raise ValueError(f"{site.id} has no point")
    return site.lon, site.lat


def length_of(links: Iterable[Link]) -> float:
    """Kilometres of fibre in all."""
    return round(math.fsum(link.length_km for link in links if link.kind == "fibre"), 3)
