"""GeoJSON as region folders hold it: a FeatureCollection whose features are named by their line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from devices.geo import Outline, Point, Polygon
from devices.problems import Problem
from devices.regiontables import decode

_BLANK = re.compile(r"[ \t\r\n]*")


class Features:
    """The features of a file, in its order, as JSON has them; none if the file is no FeatureCollection."""

    def __init__(self, where: str, content: str, items: list[Any]) -> None:
        self.where = where
        self.items = items
        self._content = content

    def at(self, index: int) -> str:
        """Where a feature begins: file:line. The lines are counted only when somebody asks."""
        return f"{self.where}:{self._lines[index]}" if index < len(self._lines) else self.where

    @cached_property
    def _lines(self) -> list[int]:
        lines, line, last = [], 1, 0
        for start in _starts(self._content):
            line += self._content.count("\n", last, start)
            last = start
            lines.append(line)
        return lines


def features(where: str, raw: bytes, problems: list[Problem]) -> Features:
    """The features of a GeoJSON file."""
    content = decode(where, raw, problems)
    nothing = Features(where, "", [])
    if not content and raw:
        return nothing
    try:
        tree = json.loads(content)
    except (json.JSONDecodeError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        what = f"is not JSON ({getattr(error, 'msg', 'it is nested too deep')})"
        problems.append(Problem(f"{where}:{line}", what, "export it as GeoJSON again"))
        return nothing
    items = tree.get("features") if isinstance(tree, dict) else None
    if not isinstance(items, list) or tree.get("type") != "FeatureCollection":
        problems.append(Problem(where, "is not a GeoJSON FeatureCollection", "export it as one, in WGS 84"))
        return nothing
    return Features(where, content, items)


def line_path(geometry: object) -> tuple[Point, ...] | None:
    """The points of a LineString in degrees; None if it is none."""
    if not isinstance(geometry, dict) or geometry.get("type") != "LineString":
        return None
    return _points(geometry.get("coordinates"), 2)


def outline(geometry: object) -> Outline | None:
    """What a Polygon or MultiPolygon covers; None if it is none, or not in degrees."""
    if not isinstance(geometry, dict) or geometry.get("type") not in {"Polygon", "MultiPolygon"}:
        return None
    shape = geometry.get("coordinates")
    parts = [shape] if geometry["type"] == "Polygon" else shape
    polygons = [_polygon(part) for part in parts] if isinstance(parts, list) else []
    good = [polygon for polygon in polygons if polygon]
    return Outline.of(good) if good and len(good) == len(polygons) else None


def _polygon(part: object) -> Polygon:
    rings = [_points(ring, 4) for ring in part] if isinstance(part, list) else []
    good = tuple(ring for ring in rings if ring)
    return good if len(good) == len(rings) else ()


def _points(points: object, least: int) -> tuple[Point, ...] | None:
    if not isinstance(points, list) or len(points) < least:
        return None
    path = tuple((point[0], point[1]) for point in points if _is_point(point))
    return path if len(path) == len(points) else None


def _is_point(point: object) -> bool:
    return (
        isinstance(point, list)
        and len(point) >= 2
        and all(type(value) in {int, float} for value in point[:2])
        and -180 <= point[0] <= 180
        and -90 <= point[1] <= 90
    )


def _starts(content: str) -> Iterator[int]:
    """Where each element of the top object's `features` begins, in a text that is known to be good JSON."""
    decoder = json.JSONDecoder()
    at = _skip(content, _skip(content, 0) + 1)
    while content[at] != "}":
        key, at = decoder.raw_decode(content, at)
        at = _skip(content, _skip(content, at) + 1)
        if key == "features":
            yield from _elements(content, at, decoder)
            return
        at = _skip(content, decoder.raw_decode(content, at)[1])
        at = _skip(content, at + 1) if content[at] == "," else at


def _elements(content: str, start: int, decoder: json.JSONDecoder) -> Iterator[int]:
    at = _skip(content, start + 1)
    while content[at] != "]":
        yield at
        at = _skip(content, decoder.raw_decode(content, at)[1])
        at = _skip(content, at + 1) if content[at] == "," else at


def _skip(content: str, at: int) -> int:
    found = _BLANK.match(content, at)
    return found.end() if found else at
