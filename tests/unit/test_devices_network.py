"""A region is checked as a whole: what does not fit the ground or the graph is named where it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from collector.alarms.rules.ruleset import lies_in
from devices.problems import Problems
from devices.region import load, read_folder

RING = Path(__file__).parents[1] / "regions" / "ring"
REAL = Path(__file__).parents[2] / "deploy" / "padang-pariaman"


def links(files: dict[str, bytes]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(files["links.geojson"])["features"]
    return found


def written(features: list[dict[str, Any]]) -> bytes:
    lines = ",\n".join(json.dumps(each) for each in features)
    return f'{{"type":"FeatureCollection","features":[\n{lines}\n]}}\n'.encode()


def changed(link: str, **properties: object) -> dict[str, bytes]:
    files = read_folder(RING)
    features = links(files)
    for feature in features:
        if feature["properties"]["id"] == link:
            path = properties.pop("path", None)
            feature["properties"] |= properties
            if path:
                feature["geometry"]["coordinates"] = path
    return {**files, "links.geojson": written(features)}


def without(*ids: str) -> dict[str, bytes]:
    files = read_folder(RING)
    kept = [feature for feature in links(files) if feature["properties"]["id"] not in ids]
    return {**files, "links.geojson": written(kept)}


def site(ident: str, lon: float, lat: float) -> dict[str, bytes]:
    files = read_folder(RING)
    pattern = rf"(?m)^({ident},(?:[^,]*,){{4}})[^,]*,[^,]*".encode()
    sites = re.sub(pattern, rb"\g<1>" + f"{lon},{lat}".encode(), files["sites.csv"])
    return {**files, "sites.csv": sites}


def said(files: dict[str, bytes]) -> list[str]:
    with pytest.raises(Problems) as refused:
        load(files, "dir")
    return [str(problem) for problem in refused.value.problems]


@pytest.mark.parametrize("folder", [RING, REAL], ids=lambda folder: folder.name)
def test_the_folders_here_load_clean(folder: Path) -> None:
    assert load(read_folder(folder)).links


def test_cutting_one_link_of_a_ring_makes_no_island_but_cutting_a_spur_does() -> None:
    assert load(without("fo-9901012004-odp"))
    (problem,) = said(without("fo-9901022002-odp"))
    assert problem == (
        "dir/sites.csv:11: the site 9901022002 is an island with 9901022002-odp: no fibre or radio leads to "
        "9901-pusat; join it by a link in links.geojson, or delete it"
    )


def test_lte_alone_makes_no_graph_and_a_node_alone_is_an_island_too() -> None:
    (problem,) = said(without("drop-9901022004"))
    assert problem.startswith("dir/sites.csv:13: the site 9901022004 is an island: no fibre")
    files = read_folder(RING)
    files["sites.csv"] += b"pole,Pole,node,,,,,,,,\n"
    assert said(files)[0].startswith("dir/sites.csv:24: the site pole is an island: no fibre")


def test_a_region_without_links_has_no_islands() -> None:
    files = read_folder(RING)
    del files["links.geojson"]
    assert not load(files).links
    assert not load({**files, "links.geojson": written([])}).links


@pytest.mark.parametrize(
    ("files", "where", "what"),
    [
        (
            changed("fo-9901022001-odp", length_km=1.2),
            "links.geojson:7",
            "the link fo-9901022001-odp is 1.2 km long and its line 2.780 km: no route is shorter",
        ),
        (
            changed("fo-9901022001-odp", length_km=2813),
            "links.geojson:7",
            "the link fo-9901022001-odp is 2813 km long and its line 2.780 km: that is no detour any more",
        ),
        (
            changed("fo-9901022001-odp", to="9901022009-odp"),
            "links.geojson:7",
            "the link fo-9901022001-odp leads nowhere: to 9901022009-odp is not in sites.csv",
        ),
        (
            changed("fo-9901022001-odp", id="fo-9901012004-odp"),
            "links.geojson:7",
            "the link fo-9901012004-odp stands twice, first in dir/links.geojson:4",
        ),
        (
            changed("fo-9901022001-odp", path=[[100.0375, -0.5125], [100.0625, -0.52]]),
            "links.geojson:7",
            "the link fo-9901022001-odp ends 0.8 km away from 9901022001-odp; move the line's end",
        ),
        (
            changed("fo-9901022001-odp", path=[[100.0625, -0.5125], [100.0375, -0.5125]]),
            "links.geojson:7",
            "the link fo-9901022001-odp begins 2.8 km away from 9901012002-odp; swap from and to",
        ),
        (
            site("9901022001", 100.0625, -0.4),
            "sites.csv:10",
            "the site 9901022001 lies 11.1 km outside boundaries.geojson; check its lon and lat",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_its_line(files: dict[str, bytes], where: str, what: str) -> None:
    found = said(files)
    assert any(line.startswith(f"dir/{where}: {what}") for line in found), found


def test_everything_is_named_at_once() -> None:
    files = changed("fo-9901022001-odp", length_km=1.2)
    files["sites.csv"] += b"pole,Pole,node,,,,,,,,\nfar,Far,agency,,,99.0,-0.5,,,,\n"
    files["devices.csv"] += b"990101,r9,router,stranger,,\n"
    found = "\n".join(said(files))
    for what in ("links.geojson:7: ", "the site pole is an island", "far lies ", "via stranger is no device"):
        assert what in found


def test_a_site_a_stone_throw_outside_a_simplified_outline_is_let_through() -> None:
    files = site("990102", 100.0625, -0.4965)  # 0.4 km to the north of the map
    del files["links.geojson"]
    assert load(files)


def test_a_map_without_polygons_bounds_nothing() -> None:
    files = site("990102", 100.0625, -0.4)
    del files["links.geojson"]
    assert len(said(files)) == 1
    point = b'"geometry":{"type":"Point","coordinates":[100,-0.5]}'
    files["boundaries.geojson"] = re.sub(rb'"geometry":\{.*?\]\]\]\}', point, files["boundaries.geojson"])
    assert load(files).areas


def test_an_area_selects_the_office_that_bears_its_code_the_nagari_and_the_health_centres() -> None:
    region = load(read_folder(REAL))
    found = {name for name in region.sites if lies_in("130501", name, region)}
    assert {"130501", "1305012001", "130501-puskesmas-lubuk-alung"} <= found
    assert all(name.startswith("130501") for name in found if region.sites[name].kind != "node")
