"""The plan of a region: the same from the same map, and a first sketch that a fibre engineer would accept."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.inventory import optics, planning
from collector.inventory.places import slug
from collector.inventory.plantoml import VisibilityToml
from collector.inventory.tree import Tree, spanning
from collector.inventory.visibility import tiers
from devices import geo
from devices.model import Link
from devices.problems import Problems
from devices.region import Region, load, read_folder

FOLDER = Path(__file__).parents[2] / "deploy" / "padang-pariaman"
MAP, PLAN = (FOLDER / name for name in (planning.MAP, planning.PLAN))


@pytest.fixture(scope="module")
def region() -> Region:
    return load(read_folder(FOLDER), str(FOLDER))


def ways(region: Region) -> dict[str, tuple[str, Link | None, float]]:
    """Each site to (what comes before it from the centre, over which link, kilometres from the centre)."""
    beside = defaultdict(list)
    for link in region.links.values():
        if link.kind == "fibre":
            beside[link.a].append((link.b, link))
            beside[link.b].append((link.a, link))
    found: dict[str, tuple[str, Link | None, float]] = {region.centre: ("", None, 0.0)}
    open_ones = [region.centre]
    while open_ones:
        at = open_ones.pop()
        for other, link in beside[at]:
            if other not in found:
                found[other] = at, link, found[at][2] + link.length_km
                open_ones.append(other)
    return found


def up(site: str, found: dict[str, tuple[str, Link | None, float]]) -> list[str]:
    way = [site]
    while found[way[-1]][0]:
        way.append(found[way[-1]][0])
    return way


def test_the_folder_is_what_the_planner_makes_of_its_map() -> None:
    planned = planning.plan(MAP.read_bytes(), PLAN.read_bytes())
    for name in ("boundaries.geojson", "sites.csv", "devices.csv", "links.geojson"):
        assert planned.files[name] == (FOLDER / name).read_bytes(), name


def test_the_fibre_comes_to_what_the_regency_said() -> None:
    planned = planning.plan(MAP.read_bytes(), PLAN.read_bytes())
    assert planned.fibre_km == pytest.approx(263, rel=0.02)
    assert planned.verdict == "263 km of fibre are wanted: +0.0 %"


def test_a_plan_that_misses_the_wanted_length_is_refused() -> None:
    toml = PLAN.read_bytes().replace(b"slack = 1.012", b"slack = 1.3")
    with pytest.raises(
        Problems, match=r"the plan has 337\.9 km of fibre, fibre\.total_km is 263; mend fibre\.slack"
    ):
        planning.plan(MAP.read_bytes(), toml)


def test_what_the_plan_names_and_the_map_does_not_is_told_with_its_line() -> None:
    toml = PLAN.read_bytes().replace(b'nagari = "1305172004"', b'nagari = "1305172999"')
    toml = toml.replace(b'nagari = "1305152002"', b'nagari = "x"').replace(b"split = 32", b"split = 128")
    with pytest.raises(Problems) as refused:
        planning.plan(MAP.read_bytes(), toml, "m", "p")
    assert [str(each).partition(":")[0] for each in refused.value.problems] == ["p"]
    with pytest.raises(Problems) as refused:
        planning.plan(MAP.read_bytes(), toml.replace(b"split = 128", b"split = 64"), "m", "p")
    said = [str(each) for each in refused.value.problems]
    line = toml.decode().splitlines().index('nagari = "x"') + 1
    assert any(each.startswith(f"p:{line}: gauge.0.nagari x is no nagari of the map") for each in said), said
    assert any("centre.nagari 1305172999 is no nagari" in each for each in said)


def test_a_district_without_nagari_is_left_out() -> None:
    tree = json.loads(MAP.read_bytes())
    tree["features"] = [each for each in tree["features"] if each["properties"]["parent"] != "130513"]
    toml = PLAN.read_bytes().replace(b"total_km = 263.0", b"")
    sites = planning.plan(json.dumps(tree).encode(), toml).files["sites.csv"].decode()
    assert ",district," in sites
    assert "\n130513" not in sites


def test_a_map_without_nagari_is_refused() -> None:
    with pytest.raises(Problems, match="m: has no nagari; give its features the properties code"):
        planning.plan(b'{"type":"FeatureCollection","features":[]}', PLAN.read_bytes(), "m")


def test_there_is_every_kind_of_place(region: Region) -> None:
    kinds = Counter(site.kind for site in region.sites.values())
    assert (kinds["nagari"], kinds["district"], kinds["health"], kinds["centre"]) == (103, 17, 25, 1)
    assert kinds["agency"] == 12
    districts = {name for name, area in region.areas.items() if area.level == "district"}
    assert {site.id for site in region.sites.values() if site.kind == "district"} == districts
    health = Counter(site.parent for site in region.sites.values() if site.kind == "health")
    assert set(health) == districts
    assert sorted(health.values()) == [1] * 9 + [2] * 8


def test_an_office_stands_on_the_point_of_a_nagari_of_its_district(region: Region) -> None:
    nagari = defaultdict(set)
    for site in region.sites.values():
        if site.kind == "nagari":
            nagari[site.parent].add((site.lon, site.lat))
    for site in region.sites.values():
        if site.kind in {"district", "health"}:
            district = site.id if site.kind == "district" else site.parent
            assert (site.lon, site.lat) in nagari[district], site.id


def test_the_fibre_is_a_tree_with_a_closure_every_three_kilometres(region: Region) -> None:
    fibre = [link for link in region.links.values() if link.kind == "fibre"]
    assert len(fibre) == len(region.sites) - 1
    assert set(ways(region)) == set(region.sites)
    for link in fibre:
        assert link.length_km <= 3.001, link.id
        assert link.length_km == pytest.approx(1.012 * geo.path_km(link.path), abs=0.001)
        assert link.source == "plan"


def test_a_cable_is_one_line_and_no_branch_is_thicker_than_what_feeds_it(region: Region) -> None:
    found = ways(region)
    for site, (before, link, _) in found.items():
        feeding = found[before][1] if before else None
        if link and feeding and link.cable and feeding.cable:
            assert link.cores <= feeding.cores, site
    for cable in {link.cable for link in region.links.values()} - {""}:
        ends = Counter(
            end for link in region.links.values() if link.cable == cable for end in (link.a, link.b)
        )
        assert max(ends.values()) == 2 or len(ends) == 2
        assert sum(number == 1 for number in ends.values()) == 2, cable


def test_three_to_six_neighbours_share_a_feeder(region: Region) -> None:
    shared = Counter(site.feeder for site in region.sites.values() if site.kind == "nagari")
    assert all(3 <= number <= 6 for number in shared.values())
    assert all(" " not in feeder for feeder in shared)
    assert region.sites[region.centre].feeder not in shared


def test_lte_goes_from_offices_health_centres_and_thirty_nagari_to_the_centre(region: Region) -> None:
    lte = [link for link in region.links.values() if link.kind == "lte"]
    assert Counter(region.sites[link.a].kind for link in lte) == {"district": 17, "health": 25, "nagari": 30}
    assert {link.b for link in lte} == {region.centre}
    assert len({link.owner for link in lte}) == 2
    for link in lte:
        (router,) = [device for device in region.devices_at(link.a) if device.kind == "router"]
        assert router.via or "switch_uplink" in router.actuators


def test_every_tier_is_there_in_its_share(region: Region) -> None:
    seen: Counter[str] = Counter()
    for site in region.sites.values():
        if site.kind == "nagari":
            devices = {d.kind: d for d in region.devices_at(site.id) if d.kind not in {"river", "olt"}}
            pinged = devices["router"].via == "ping-kominfo"
            seen["ping" if pinged else " ".join(sorted(devices))] += 1
    assert seen == {"ping": 10, "router": 26, "ont router": 41, "ont power router": 26}
    assert {device.kind for device in region.devices_at("1305012001")} == {"router", "ont", "power"}


def test_light_reaches_every_ont_from_an_olt_on_its_way(region: Region) -> None:
    found = ways(region)
    ports: Counter[tuple[str, str]] = Counter()
    for ont in (device for device in region.devices.values() if device.kind == "ont"):
        olt = region.devices[ont.labels["olt"]]
        assert (olt.kind, olt.via) == ("olt", ont.via)
        spot = next(link.a if link.b == olt.site else link.b for link in region.links.values()
                    if olt.site in {link.a, link.b} and link.kind == "fibre")  # fmt: skip
        spot = spot if olt.site != region.centre else region.centre
        assert spot in up(ont.site, found), ont.id
        assert found[ont.site][2] - found[spot][2] <= 20
        ports[olt.id, ont.labels["port"]] += 1
    assert max(ports.values()) <= 64


def test_the_gauges_follow_the_river(region: Region) -> None:
    gauges = [device for device in region.devices.values() if device.kind == "river"]
    gauges.sort(key=lambda gauge: gauge.labels["order"])
    assert [gauge.labels["order"] for gauge in gauges] == list("123456")
    assert {gauge.labels["river"] for gauge in gauges} == {"batang-anai"}
    lats = [region.sites[gauge.site].lat or 0.0 for gauge in gauges]
    assert lats == sorted(lats, reverse=True)  # from the gorge in the north to the sea in the south


points = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.tuples(st.floats(100, 101), st.floats(-1, 0)),
    min_size=1,
    max_size=25,
)


@given(points)
def test_a_spanning_tree_reaches_all_and_its_cables_lay_every_edge_once(points: dict[str, geo.Point]) -> None:
    tree = spanning(points, min(points))
    assert set(tree.order) == set(points)
    assert tree.size[tree.root] == len(points)
    laid = [vertex for _, run in tree.cables() for vertex in run]
    assert sorted(laid) == sorted(tree.parent)
    for start, run in tree.cables():
        assert [tree.parent[vertex] for vertex in run] == [start, *run[:-1]]


@given(points, st.integers(0, 20))
def test_no_edge_of_a_spanning_tree_can_be_swapped_for_a_shorter_one(
    points: dict[str, geo.Point], place: int
) -> None:
    tree = spanning(points, min(points))
    if not tree.parent:
        return
    cut = sorted(tree.parent)[place % len(tree.parent)]
    behind = {vertex for vertex in points if cut in tree.up(vertex)}
    shortest = min(geo.distance_km(points[a], points[b]) for a in behind for b in points.keys() - behind)
    assert geo.distance_km(points[cut], points[tree.parent[cut]]) == pytest.approx(shortest)


@given(points, st.floats(1, 40), st.integers(1, 8))
def test_olts_reach_their_onts_and_no_port_has_too_many(
    points: dict[str, geo.Point], reach: float, split: int
) -> None:
    tree = spanning(points, min(points))
    olts = optics.olt_places(tree, set(points), set(list(points)[::3]), reach)
    found = optics.port_numbers(tree, {name: name for name in points}, olts, split)
    assert set(found) == set(points)
    for site, (olt, _) in found.items():
        assert tree.km[site] - tree.km[olt] <= reach
    assert max(Counter(found.values()).values()) <= split
    assert one_branch_a_port(tree, found)


def one_branch_a_port(tree: Tree, found: dict[str, tuple[str, int]]) -> bool:
    branches = defaultdict(set)
    for site, (olt, port) in found.items():
        way = [vertex for vertex in tree.up(site) if olt in tree.up(vertex)]
        branches[olt, port].add(way[-2] if len(way) > 1 else olt)
    return all(len(each) == 1 for each in branches.values())


@given(
    st.sets(st.text("0123456789", min_size=10, max_size=10), max_size=200),
    st.lists(st.floats(0.1, 9), min_size=4, max_size=4),
)
def test_tiers_keep_their_shares(nagari: set[str], shares: list[float]) -> None:
    found = tiers(nagari, VisibilityToml(shares=shares))
    assert set(found) == nagari
    counts = Counter(found.values())
    for tier, share in enumerate(shares):
        assert abs(counts[tier] - len(nagari) * share / sum(shares)) <= 1


@given(st.text(max_size=80))
def test_a_name_becomes_a_part_of_an_id(name: str) -> None:
    assert set(slug(name)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert len(slug(name)) <= 32
