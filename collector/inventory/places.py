"""The map as a planner sees it: districts with their nagari, each a point and an outline."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from devices import geo, geojson, regionfiles
from devices.geo import Outline, Point
from devices.problems import Problem


@dataclass(frozen=True, slots=True)
class Place:
    """An area of the map and the point that stands for it."""

    code: str
    name: str
    parent: str
    point: Point
    outline: Outline


@dataclass(frozen=True, slots=True)
class World:
    """Districts and nagari by code, in the order of their codes."""

    name: str
    districts: Mapping[str, Place]
    nagari: Mapping[str, Place]

    def of(self, district: str) -> list[Place]:
        """A district's nagari."""
        return [place for place in self.nagari.values() if place.parent == district]

    def at(self, point: Point) -> str:
        """The code of the nagari that holds the point; "" if none does."""
        return next((code for code, place in self.nagari.items() if place.outline.holds(point)), "")


def read(where: str, raw: bytes, problems: list[Problem]) -> World:
    """The places of boundaries.geojson: each needs polygons, and a nagari its district."""
    found = geojson.features(where, raw, problems)
    areas = regionfiles.areas(found, problems)
    levels: dict[str, dict[str, Place]] = defaultdict(dict)
    for index, feature in enumerate(found.items):
        area = areas.get(_code(feature))
        if area is None or area.level not in {"regency", "district", "nagari"}:
            continue
        outline = geojson.outline(feature["geometry"])
        if outline is None:
            what = f"the area {area.code} has no polygons in degrees"
            problems.append(Problem(found.at(index), what, "give it a Polygon or MultiPolygon in WGS 84"))
            continue
        point = _point(feature["properties"], outline)
        levels[area.level][area.code] = Place(area.code, area.name, area.parent, point, outline)
    for code, place in levels["nagari"].items():
        if place.parent not in levels["district"]:
            what = f"the nagari {code} lies in no district of the map"
            problems.append(Problem(where, what, "give its parent the district's code"))
    if not levels["nagari"]:
        mend = 'give its features the properties code, level ("district", "nagari"), name and parent'
        problems.append(Problem(where, "has no nagari", mend))
    # A district without nagari has nothing that an office could be joined to.
    used = {place.parent for place in levels["nagari"].values()}
    districts = {code: place for code, place in levels["district"].items() if code in used}
    regency = next(iter(levels["regency"].values()), None)
    return World(regency.name if regency else "", _sorted(districts), _sorted(levels["nagari"]))


def slug(name: str, longest: int = 32) -> str:
    """A name as a part of an id: `Lubuk Alung` is `lubuk-alung`. A long one is cut behind a word."""
    known = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return known if len(known) <= longest else known[: longest + 1].rpartition("-")[0] or known[:longest]


def _sorted(places: Mapping[str, Place]) -> dict[str, Place]:
    return dict(sorted(places.items()))


def _code(feature: object) -> str:
    properties = feature.get("properties") if isinstance(feature, dict) else None
    return str(properties.get("code")) if isinstance(properties, dict) else ""


def _point(properties: Mapping[str, object], outline: Outline) -> Point:
    """The point the map gives, or the centre of the first polygon."""
    lon, lat = properties.get("lon"), properties.get("lat")
    if isinstance(lon, int | float) and isinstance(lat, int | float):
        return float(lon), float(lat)
    return geo.centroid(outline.polygons[0])
