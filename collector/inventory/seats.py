"""Where a plan puts the centre, agencies, district offices, health centres and nagari, and who feeds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from collector.inventory.places import Place, World, slug
from collector.inventory.plantoml import AgencyToml, FeederToml, PlanToml
from collector.inventory.tree import Tree
from devices import geo
from devices.model import Site

_OFFICE_HOURS = "Mo-Fr 08:00-16:00"
_HEALTH_HOURS = "Mo-Sa 07:30-14:00"
_ALWAYS = "24/7"
_PRIORITY = {"nagari": 1, "district": 5, "health": 6, "centre": 9}
_PRIORITY_INPATIENT = 7


@dataclass(frozen=True, slots=True)
class Seat:
    """A site and the nagari on whose point it stands."""

    site: Site
    nagari: str


def seats(world: World, tree: Tree, plan: PlanToml) -> list[Seat]:
    """All sites but nodes, in the order of sites.csv, with their feeders."""
    found = [_centre(world, plan)]
    found += [_agency(world, plan, table) for table in plan.agency]
    found += [_office(world, tree, plan, district) for district in world.districts.values()]
    found += _health(world, plan)
    found += [_nagari(place) for place in world.nagari.values()]
    lines = feeders(world, plan.feeders)
    own = plan.centre.feeder
    return [_fed(seat, own if seat.site.kind == "centre" else lines[seat.nagari]) for seat in found]


def feeders(world: World, table: FeederToml) -> dict[str, str]:
    """The feeder of each nagari: a district's, cut across its longer side into groups of neighbours."""
    found: dict[str, str] = {}
    for district in world.districts.values():
        nagari = _along(world.of(district.code))
        groups = max(1, round(len(nagari) / table.nagari))
        for index, place in enumerate(nagari):
            group = index * groups // len(nagari) + 1
            found[place.code] = f"{table.prefix}-{slug(district.name).replace('-', '').upper()}-{group}"
    return found


def _along(places: Iterable[Place]) -> list[Place]:
    known = list(places)
    spans = [_span(place.point[axis] for place in known) for axis in (0, 1)]
    axis = 0 if spans[0] >= spans[1] else 1
    return sorted(known, key=lambda place: (place.point[axis], place.code))


def _span(values: Iterable[float]) -> float:
    known = list(values)
    return max(known, default=0.0) - min(known, default=0.0)


def _seat(place: Place, site: Site) -> Seat:
    return Seat(replace(site, lon=place.point[0], lat=place.point[1]), place.code)


def _fed(seat: Seat, feeder: str) -> Seat:
    return replace(seat, site=replace(seat.site, feeder=feeder))


def _centre(world: World, plan: PlanToml) -> Seat:
    table, place = plan.centre, world.nagari[plan.centre.nagari]
    site = Site(table.id, table.name, "centre", place.parent, table.agency, hours=_ALWAYS)
    return _seat(place, replace(site, priority=_PRIORITY["centre"]))


def _agency(world: World, plan: PlanToml, table: AgencyToml) -> Seat:
    place = world.nagari[plan.centre.nagari]
    site = Site(table.id, table.name, "agency", place.parent, table.agency)
    return _seat(place, replace(site, hours=table.hours, priority=table.priority))


def _nagari(place: Place) -> Seat:
    site = Site(place.code, place.name, "nagari", place.parent, hours=_OFFICE_HOURS)
    return _seat(place, replace(site, priority=_PRIORITY["nagari"]))


def _office(world: World, tree: Tree, plan: PlanToml, district: Place) -> Seat:
    """At the nagari of the district that the fibre reaches first: an OLT there has the rest behind it."""
    first = min(world.of(district.code), key=lambda place: (tree.km[place.code], place.code))
    name = plan.words.office.format(name=district.name)
    site = Site(district.code, name, "district", district.parent, "Kecamatan", hours=_OFFICE_HOURS)
    return _seat(first, replace(site, priority=_PRIORITY["district"]))


def _health(world: World, plan: PlanToml) -> list[Seat]:
    """One a district, at the nagari of its name or nearest its middle; a second one far from the first.

    A district that has two keeps the first open day and night.
    """
    by_size = sorted(world.districts, key=lambda code: (-len(world.of(code)), code))
    doubled = set(by_size[: plan.health.second])
    found = []
    for code, district in world.districts.items():
        nagari = world.of(code)
        first = min(nagari, key=lambda place: (place.name != district.name, _apart(place, district)))
        found.append(_health_seat(plan, first, always=code in doubled))
        if code in doubled and len(nagari) > 1:
            second = max(nagari, key=lambda place: (_apart(place, first), place.code))
            found.append(_health_seat(plan, second, always=False))
    return found


def _health_seat(plan: PlanToml, place: Place, *, always: bool) -> Seat:
    name = plan.words.health.format(name=place.name)
    ident = f"{place.parent}-puskesmas-{slug(place.name)}"
    site = Site(ident, name, "health", place.parent, plan.health.agency)
    if always:
        return _seat(place, replace(site, hours=_ALWAYS, priority=_PRIORITY_INPATIENT))
    return _seat(place, replace(site, hours=_HEALTH_HOURS, priority=_PRIORITY["health"]))


def _apart(a: Place, b: Place) -> float:
    return geo.distance_km(a.point, b.point)


def by_id(seats: Iterable[Seat]) -> Mapping[str, Seat]:
    """The seats by their site's id."""
    return {seat.site.id: seat for seat in seats}
