"""What only the whole of a region shows: links that do not fit the ground, islands, sites off the map."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from devices import geo
from devices.geo import Outline, Point
from devices.model import Link, Site
from devices.problems import Problem
from devices.regionrows import Rows

_CARRIES: Final = frozenset({"fibre", "radio"})
_SHORT: Final = 0.98, 0.01  # a drawn line zigzags a little where it was traced by hand; 10 m for rounding
_LONG: Final = (
    3.0,
    0.5,
)  # slack, detours not drawn, coils in joints: beyond it the figure or the line is wrong
_END_KM: Final = 0.5  # a yard, or a pole across the road
_OUTSIDE_KM: Final = 0.5  # outlines are simplified, and a coast or a river bank moves


def check_links(links: Rows[Link], sites: Rows[Site], centre: str, problems: list[Problem]) -> None:
    """Every link against the ground, and every site against the graph, if there is any link at all."""
    for link in links.items.values():
        for what, mend in _shape_problems(link, sites.items):
            problems.append(Problem(links.at(link.id), what, mend))
    if links.items and centre in sites.items:
        problems += _islands(links.items.values(), sites, centre)


def check_places(sites: Rows[Site], outlines: Iterable[Outline], problems: list[Problem]) -> None:
    """Every site but nodes against the map, if it has polygons: a cable may go round by the neighbours."""
    known = sorted(outlines, key=_area, reverse=True)
    for site in sites.items.values() if known else ():
        point = _point(site)
        if point is None or site.kind == "node" or any(outline.holds(point) for outline in known):
            continue
        off = min(outline.edge_km(point) for outline in known)
        if off > _OUTSIDE_KM:
            what = f"the site {site.id} lies {off:.1f} km outside boundaries.geojson"
            mend = "check its lon and lat, or add the area to the map"
            problems.append(Problem(sites.at(site.id), what, mend))


def _shape_problems(link: Link, sites: Mapping[str, Site]) -> Iterator[tuple[str, str]]:
    """(What is wrong, the mend) with a link's length and the line drawn for it."""
    drawn = geo.path_km(link.path)
    if link.kind in _CARRIES:
        least, most = _SHORT[0] * drawn - _SHORT[1], _LONG[0] * drawn + _LONG[1]
        said = f"the link {link.id} is {link.length_km:g} km long and its line {drawn:.3f} km"
        if link.length_km < least:
            yield (
                f"{said}: no route is shorter than its line",
                "write the route's length_km, or mend the line",
            )
        if link.length_km > most:
            yield f"{said}: that is no detour any more", "draw the way it takes, or mend length_km"
    off = _ends_off(link.path, link, sites)
    if any(off):
        turned = not any(_ends_off(link.path[::-1], link, sites))
        for key, end, far in (("begins", link.a, off[0]), ("ends", link.b, off[1])):
            if far:
                mend = "swap from and to" if turned else "move the line's end, or the site's lon and lat"
                yield f"the link {link.id} {key} {far:.1f} km away from {end}", mend


def _ends_off(path: Sequence[Point], link: Link, sites: Mapping[str, Site]) -> tuple[float, float]:
    """How far the line's ends are from its two sites, 0 for what is near enough or nowhere."""
    off = []
    for point, end in ((path[0], link.a), (path[-1], link.b)):
        place = _point(sites[end]) if end in sites else None
        far = geo.distance_km(point, place) if place else 0.0
        off.append(far if far > _END_KM else 0.0)
    return off[0], off[1]


def _islands(links: Iterable[Link], sites: Rows[Site], centre: str) -> Iterator[Problem]:
    """One problem for each group of sites that hear each other, but not the centre."""
    beside: dict[str, list[str]] = defaultdict(list)
    for link in links:
        if link.kind in _CARRIES:
            beside[link.a].append(link.b)
            beside[link.b].append(link.a)
    seen = _reached(centre, beside)
    for site in sites.items:
        if site in seen:
            continue
        group = _reached(site, beside)
        seen |= group
        others = _others(site, group, sites.items)
        what = f"the site {site} is an island{others}: no fibre or radio leads to {centre}"
        yield Problem(sites.at(site), what, "join it by a link in links.geojson, or delete it")


def _reached(start: str, beside: Mapping[str, Sequence[str]]) -> set[str]:
    found, open_ones = {start}, [start]
    while open_ones:
        for other in beside.get(open_ones.pop(), ()):
            if other not in found:
                found.add(other)
                open_ones.append(other)
    return found


def _others(first: str, group: set[str], sites: Mapping[str, Site]) -> str:
    """Who else is on the island: three by name."""
    known = [site for site in sites if site in group and site != first] if len(group) > 1 else []
    if not known:
        return ""
    more = f" and {len(known) - 3} more" if len(known) > 3 else ""
    return f" with {', '.join(known[:3])}{more}"


def _point(site: Site) -> Point | None:
    return None if site.lon is None or site.lat is None else (site.lon, site.lat)


def _area(outline: Outline) -> float:
    west, south, east, north = outline.box
    return (east - west) * (north - south)
