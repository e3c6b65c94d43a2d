"""A region planned from its map: sites, devices and links, the same from the same map and plan.toml."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from collector.inventory import fibre, optics, places, plantoml, visibility, writing
from collector.inventory.places import World
from collector.inventory.plantoml import PlanToml
from collector.inventory.seats import Seat, seats
from collector.inventory.tree import Tree, spanning
from devices.model import Link, Site
from devices.problems import Problem, Problems
from devices.region import Region, load

MAP = "boundaries.geojson"
PLAN = "plan.toml"
_HEAD = "region.toml"
_BUILT_IN = 1e-3  # lengths are rounded to the metre


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan: files by their name in the region folder; kilometres of fibre, and how many are wanted."""

    files: Mapping[str, bytes]
    fibre_km: float
    wanted_km: float | None

    @property
    def off_pct(self) -> float:
        """How far the fibre's length is from the wanted one, in per cent; 0 if none is wanted."""
        return 0.0 if self.wanted_km is None else (self.fibre_km / self.wanted_km - 1) * 100

    @property
    def verdict(self) -> str:
        """Whether the fibre comes to what is wanted, in words."""
        if self.wanted_km is None:
            return "plan.toml wants no length"
        return f"{self.wanted_km:g} km of fibre are wanted: {self.off_pct:+.1f} %"


def plan(boundaries: bytes, toml: bytes, at_map: str = MAP, at_plan: str = PLAN) -> Planned:
    """Plan a region. `at_map`, `at_plan`: what the two files are called in problems. Raises Problems."""
    problems: list[Problem] = []
    world = places.read(at_map, boundaries, problems)
    table = plantoml.read(at_plan, toml, set(world.nagari), problems)
    if problems or table is None:
        raise Problems(problems)
    tree = spanning({code: place.point for code, place in world.nagari.items()}, table.centre.nagari)
    found = seats(world, tree, table)
    joints, trunk = fibre.trunk(world, tree, table.fibre, table.words)
    links = [*trunk, *_drops(found, table), *_lte(found, tree, table)]
    sites = [seat.site for seat in found]
    nodes = [*fibre.splitters(world, table.words, table.fibre.owner), *joints]
    given = visibility.devices(sites, table.centre, _known(world, tree, found, table))
    files = {
        _HEAD: _region_toml(world, table),
        MAP: boundaries,
        "sites.csv": writing.sites_csv([*sites, *sorted(nodes, key=lambda node: node.id)]),
        "devices.csv": writing.devices_csv(given),
        "links.geojson": writing.links_geojson(links),
    }
    planned = Planned(files, fibre.length_of(links), table.fibre.total_km)
    if abs(planned.off_pct) > table.fibre.tolerance_pct:
        what = f"the plan has {planned.fibre_km:.1f} km of fibre, fibre.total_km is {planned.wanted_km:g}"
        raise Problems.one(at_plan, what, "mend fibre.slack, or total_km and tolerance_pct")
    return planned


def into(there: Mapping[str, bytes], planned: Planned, root: str) -> tuple[dict[str, bytes], Region]:
    """The files to write where those files are `there` already, and the region they make. Raises Problems.

    Sites, devices, links and map are written over; region.toml is written if missing, and all else stays.
    """
    files = {name: raw for name, raw in planned.files.items() if name != _HEAD or name not in there}
    return files, load({**there, **files}, root)


def _drops(found: Sequence[Seat], table: PlanToml) -> list[Link]:
    """An agency joins the centre, everybody else the splitter of their nagari."""
    joined: list[tuple[Site, str]] = []
    for seat in found:
        to = table.centre.id if seat.site.kind == "agency" else fibre.splitter(seat.nagari)
        joined.append((seat.site, to))
    return list(fibre.drops(joined, table.fibre, table.centre.id))


def _lte(found: Sequence[Seat], tree: Tree, table: PlanToml) -> list[Link]:
    """For offices, health centres, and the nagari farthest along the fibre, where most can break."""
    if not table.lte.providers:
        return []
    far = set(fibre.far_ones(tree, table.lte.nagari))
    sites = [seat.site for seat in found if seat.site.kind in {"district", "health"} or seat.site.id in far]
    return list(fibre.lte(sites, found[0].site, table.lte))


def _known(world: World, tree: Tree, found: Sequence[Seat], table: PlanToml) -> visibility.Known:
    tiers = visibility.tiers(world.nagari, table.visibility)
    onts = {
        seat.site.id: seat.nagari
        for seat in found
        if seat.site.kind == "health" or tiers.get(seat.site.id, 0) >= 2
    }
    lit = {link.a for link in _lte(found, tree, table)}
    return visibility.Known(tiers, _optics(tree, onts, found, table), lit, table.gauge)


def _optics(tree: Tree, onts: Mapping[str, str], found: Sequence[Seat], table: PlanToml) -> visibility.Optics:
    offices = {seat.nagari: seat.site.id for seat in found if seat.site.kind == "district"}
    reach = table.gpon.reach_km / table.fibre.slack - _BUILT_IN * math.sqrt(len(tree.order))
    places = optics.olt_places(tree, set(onts.values()), offices, reach)
    stands = {place: offices.get(place, place) for place in places} | {tree.root: table.centre.id}
    names = {place: f"olt-{stands[place]}" for place in places} | {tree.root: table.centre.olt}
    ports = optics.port_numbers(tree, onts, places, table.gpon.split)
    return visibility.Optics(
        {site: (names[place], port) for site, (place, port) in ports.items()},
        {stands[place]: names[place] for place in places},
    )


def _region_toml(world: World, table: PlanToml) -> bytes:
    languages = ", ".join(_quoted(language) for language in table.languages)
    return (
        f"name = {_quoted(world.name or table.centre.name)}\ntimezone = {_quoted(table.timezone)}\n"
        f"languages = [{languages}]\ncentre = {_quoted(table.centre.id)}\n"
        "holidays = []                       # days without service hours, e.g. [2027-01-01]\n"
    ).encode()


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
