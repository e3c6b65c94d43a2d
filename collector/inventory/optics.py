"""Where OLTs stand, so that light reaches every ONT, and which of their ports an ONT hangs on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from collector.inventory.tree import Tree


def olt_places(tree: Tree, onts: Collection[str], offices: Collection[str], reach_km: float) -> list[str]:
    """The vertices that need an OLT, the root first. `onts`: vertices with ONTs; `reach_km` as `tree.km`.

    The farthest ONT that no OLT serves gets one on its way to the root, as near the root as it reaches, at a
    district's office if one is there: a staffed room with power beats a roadside.
    """
    places = [tree.root]
    open_ones = {vertex for vertex in onts if tree.km[vertex] > reach_km}
    while open_ones:
        farthest = max(open_ones, key=lambda vertex: (tree.km[vertex], vertex))
        near = [each for each in tree.up(farthest) if tree.km[farthest] - tree.km[each] <= reach_km]
        chosen = ([each for each in near if each in offices] or near)[-1]
        places.append(chosen)
        open_ones -= {each for each in open_ones if _reaches(tree, chosen, each, reach_km)}
    return places


def serving(tree: Tree, places: Collection[str], vertex: str) -> str:
    """The OLT's vertex that serves an ONT: the first on its way to the root."""
    return next(each for each in tree.up(vertex) if each in places)


def port_numbers(
    tree: Tree, onts: Mapping[str, str], places: Collection[str], split: int
) -> dict[str, tuple[str, int]]:
    """The (OLT's vertex, port from 1) of each ONT; `onts` maps its site to its vertex.

    A port lights one branch that leaves the OLT, and `split` ONTs at most, in the order of the tree.
    """
    place = {vertex: index for index, vertex in enumerate(tree.order)}
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for site, vertex in sorted(onts.items(), key=lambda item: (place[item[1]], item[0])):
        olt = serving(tree, places, vertex)
        groups[olt][_branch(tree, olt, vertex)].append(site)
    found: dict[str, tuple[str, int]] = {}
    for olt, branches in groups.items():
        port = 0
        for sites in branches.values():
            for index, site in enumerate(sites):
                port += index % split == 0
                found[site] = olt, port
    return found


def _reaches(tree: Tree, olt: str, vertex: str, reach_km: float) -> bool:
    return olt in tree.up(vertex) and tree.km[vertex] - tree.km[olt] <= reach_km


def _branch(tree: Tree, olt: str, vertex: str) -> str:
    """The child of the OLT's vertex that leads to `vertex`; the OLT's own vertex for what stands there."""
    last = vertex
    for each in tree.up(vertex):
        if each == olt:
            return last
        last = each
    raise ValueError(f"{olt} is not on the way of {vertex}")
