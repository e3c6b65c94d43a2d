"""Geometry on the ground: kilometres between points (lon, lat) in degrees, and what lies in an outline."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

Point = tuple[float, float]
"""(lon, lat) in degrees, WGS 84."""

Ring = tuple[Point, ...]
Polygon = tuple[Ring, ...]
"""The outer ring, then its holes."""

_EARTH_KM: Final = 6371.0088  # the mean radius, IUGG
_DEGREE_KM: Final = math.radians(_EARTH_KM)


def distance_km(a: Point, b: Point) -> float:
    """The great circle's length between two points (haversine)."""
    lon, lat = math.radians(b[0] - a[0]), math.radians(b[1] - a[1])
    cosines = math.cos(math.radians(a[1])) * math.cos(math.radians(b[1]))
    root = math.sin(lat / 2) ** 2 + cosines * math.sin(lon / 2) ** 2
    return 2 * _EARTH_KM * math.asin(min(1.0, math.sqrt(root)))


def path_km(path: Iterable[Point]) -> float:
    """The length of a line drawn over the points."""
    return math.fsum(distance_km(a, b) for a, b in pairwise(path))


def between(a: Point, b: Point, share: float) -> Point:
    """The point at that share of the straight line from `a` to `b`, to 5 decimals (about a metre)."""
    return round(a[0] + (b[0] - a[0]) * share, 5), round(a[1] + (b[1] - a[1]) * share, 5)


@dataclass(frozen=True, slots=True)
class Outline:
    """What an area covers: polygons, and the box (west, south, east, north) around them."""

    polygons: tuple[Polygon, ...]
    box: tuple[float, float, float, float]

    @classmethod
    def of(cls, polygons: Sequence[Polygon]) -> Outline:
        """The outline of one polygon at least, each of one ring at least."""
        lons = [point[0] for polygon in polygons for point in polygon[0]]
        lats = [point[1] for polygon in polygons for point in polygon[0]]
        return cls(tuple(polygons), (min(lons), min(lats), max(lons), max(lats)))

    def holds(self, point: Point) -> bool:
        """Whether the point lies within; on the very edge it may be either."""
        west, south, east, north = self.box
        if not (west <= point[0] <= east and south <= point[1] <= north):
            return False
        return any(_within(point, polygon) for polygon in self.polygons)

    def edge_km(self, point: Point) -> float:
        """How far the nearest edge is."""
        edges = (pair for polygon in self.polygons for ring in polygon for pair in pairwise(ring))
        return min(_edge_km(point, a, b) for a, b in edges)


def centroid(polygon: Polygon) -> Point:
    """The outer ring's centre of area."""
    (west, south), twice, lon, lat = polygon[0][0], 0.0, 0.0, 0.0
    for (ax, ay), (bx, by) in pairwise(polygon[0]):
        cross = (ax - west) * (by - south) - (bx - west) * (ay - south)
        twice += cross
        lon += cross * (ax + bx - 2 * west)
        lat += cross * (ay + by - 2 * south)
    if not twice:
        return west, south
    return round(west + lon / (3 * twice), 5), round(south + lat / (3 * twice), 5)


def _within(point: Point, polygon: Polygon) -> bool:
    """Even-odd: a ray to the east crosses the rings an odd number of times; holes count by themselves."""
    lon, lat = point
    odd = False
    for ring in polygon:
        for (ax, ay), (bx, by) in pairwise(ring):
            if (ay > lat) != (by > lat) and lon < ax + (bx - ax) * (lat - ay) / (by - ay):
                odd = not odd
    return odd


def _edge_km(point: Point, a: Point, b: Point) -> float:
    """The distance to a segment, on a plane laid at the point: right to 0.1 % within some tens of km."""
    east = _DEGREE_KM * math.cos(math.radians(point[1]))
    ax, ay = (a[0] - point[0]) * east, (a[1] - point[1]) * _DEGREE_KM
    bx, by = (b[0] - point[0]) * east, (b[1] - point[1]) * _DEGREE_KM
    dx, dy = bx - ax, by - ay
    length = dx * dx + dy * dy
    share = 0.0 if not length else max(0.0, min(1.0, -(ax * dx + ay * dy) / length))
    return math.hypot(ax + share * dx, ay + share * dy)
