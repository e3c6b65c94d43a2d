"""The network as a graph: which sites hear each other over fibre and radio, with what is cut."""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Mapping

from devices.model import Link
from devices.region import Region

_CARRIES = frozenset({"fibre", "radio"})


class Network:
    """Links that carry, whole or cut. Ways are the shortest by length; they are kept until a link changes.

    Of a region that names no such link nothing is known: every site is taken to reach every other.
    """

    def __init__(self, region: Region) -> None:
        self._links = {link.id: link for link in region.links.values() if link.kind in _CARRIES}
        self._beside: dict[str, list[Link]] = defaultdict(list)
        for link in self._links.values():
            self._beside[link.a].append(link)
            self._beside[link.b].append(link)
        self._cuts: Counter[str] = Counter()
        self._trees: dict[str, Mapping[str, tuple[float, Link | None]]] = {}

    def cut(self, link: str) -> None:
        """One more thing cuts the link."""
        self._cuts[link] += 1
        self._trees.clear()

    def mend(self, link: str) -> None:
        """One thing fewer cuts it."""
        self._cuts[link] -= 1
        self._trees.clear()

    def reaches(self, start: str, site: str) -> bool:
        """Whether light goes from one to the other."""
        return start == site or not self._links or site in self._tree(start)

    def distance(self, start: str, site: str) -> float:
        """Kilometres of the way; infinite if there is none."""
        found = self._tree(start).get(site)
        return found[0] if found else math.inf

    def way(self, start: str, site: str) -> tuple[Link, ...]:
        """The links from `start` to `site`, none if there is no way."""
        tree = self._tree(start)
        links: list[Link] = []
        while site in tree and (link := tree[site][1]) is not None:
            links.append(link)
            site = link.a if link.b == site else link.b
        return tuple(reversed(links))

    def _tree(self, start: str) -> Mapping[str, tuple[float, Link | None]]:
        """Site to (kilometres, last link) from `start`: Dijkstra's."""
        known = self._trees.get(start)
        if known is not None:
            return known
        tree: dict[str, tuple[float, Link | None]] = {}
        heap: list[tuple[float, int, str, Link | None]] = [(0.0, 0, start, None)]
        order = 0
        while heap:
            km, _, site, link = heapq.heappop(heap)
            if site in tree:
                continue
            tree[site] = (km, link)
            for each in self._beside[site]:
                other = each.b if each.a == site else each.a
                if other not in tree and self._cuts[each.id] <= 0:
                    order += 1
                    heapq.heappush(heap, (km + each.length_km, order, other, each))
        self._trees[start] = tree
        return tree
