"""The shortest tree over points, rooted at one of them: which way the fibre goes, and what hangs on what."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from devices import geo
from devices.geo import Point


@dataclass(frozen=True, slots=True)
class Tree:
    """A rooted tree. `parent` leaves the root out; `km`: drawn, from the root; `size`: with all behind it.

    `order` begins at the root and names no vertex before its parent.
    """

    root: str
    parent: Mapping[str, str]
    children: Mapping[str, tuple[str, ...]]
    km: Mapping[str, float]
    size: Mapping[str, int]
    order: tuple[str, ...]

    def up(self, vertex: str) -> Iterator[str]:
        """The vertex itself and what lies on its way to the root, the root last."""
        yield vertex
        while vertex != self.root:
            vertex = self.parent[vertex]
            yield vertex

    def cables(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Each cable as (where it begins, the vertices it runs to).

        A cable runs on along the child with the most behind it; the other children begin cables of their own,
        the bigger first.
        """
        heads = deque((self.root, child) for child in self._heaviest(self.root))
        while heads:
            start, at = heads.popleft()
            run = [at]
            while self.children[at]:
                first, *others = self._heaviest(at)
                heads.extend((at, child) for child in others)
                run.append(first)
                at = first
            yield start, tuple(run)

    def _heaviest(self, vertex: str) -> list[str]:
        return sorted(self.children[vertex], key=lambda child: (-self.size[child], child))


def spanning(points: Mapping[str, Point], root: str) -> Tree:
    """The minimum spanning tree over the points by great-circle distance (Prim's; ties by name)."""
    best = {name: (geo.distance_km(points[root], point), root) for name, point in points.items()}
    del best[root]
    parent: dict[str, str] = {}
    km = {root: 0.0}
    while best:
        name = min(best, key=lambda each: (best[each][0], each))
        length, parent[name] = best.pop(name)
        km[name] = km[parent[name]] + length
        for other, (known, _) in best.items():
            length = geo.distance_km(points[name], points[other])
            if length < known:
                best[other] = length, name
    return _rooted(root, parent, km)


def _rooted(root: str, parent: Mapping[str, str], km: Mapping[str, float]) -> Tree:
    children: dict[str, list[str]] = defaultdict(list)
    for child in sorted(parent):
        children[parent[child]].append(child)
    order = (root, *parent)  # Prim's adds nothing before its parent
    size = dict.fromkeys(order, 1)
    for vertex in reversed(order[1:]):
        size[parent[vertex]] += size[vertex]
    return Tree(root, parent, {each: tuple(children[each]) for each in order}, km, size, order)
