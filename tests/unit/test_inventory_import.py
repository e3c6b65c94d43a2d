"""What was built is laid over the plan: by id, all or nothing, each mistake in the words of its maker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from collector.inventory.diff import diff
from collector.inventory.importing import AsBuilt, Imported, imported
from collector.inventory.survey import Given
from devices import geo
from devices.problems import Problems
from devices.region import load, read_folder

RING = Path(__file__).parents[1] / "regions" / "ring"


def sites(text: str) -> AsBuilt:
    return AsBuilt(sites=Given("surveyed.csv", text.encode()))


def devices(text: str) -> AsBuilt:
    return AsBuilt(devices=Given("built.csv", text.encode()))


def route(path: list[list[float]] | None, **properties: object) -> str:
    geometry = {"type": "LineString", "coordinates": path} if path else None
    return json.dumps({"type": "Feature", "properties": properties, "geometry": geometry})


def routes(*features: str, drop: tuple[str, ...] = ()) -> AsBuilt:
    text = '{"type":"FeatureCollection","features":[\n' + ",\n".join(features) + "\n]}"
    return AsBuilt(links=Given("routes.geojson", text.encode()), drop=drop)


def lay(given: AsBuilt) -> Imported:
    return imported(read_folder(RING), "dir", given)


def refused(given: AsBuilt) -> list[str]:
    with pytest.raises(Problems) as caught:
        lay(given)
    return [str(problem) for problem in caught.value.problems]


def test_coordinates_move_a_site_and_its_planned_lines_but_not_what_was_surveyed() -> None:
    found = lay(sites("id,lon,lat\n9901022004,100.0905,-0.5375\n"))
    assert found.files.keys() == {"sites.csv", "links.geojson"}
    before, after = found.before, found.after
    assert after.sites["9901022004"].name == "Pesisir"  # what the file does not say stays
    assert after.sites["9901022004"].hours == before.sites["9901022004"].hours
    drop = after.links["drop-9901022004"]
    assert drop.path[-1] == (100.0905, -0.5375)
    assert drop.length_km == pytest.approx(geo.path_km(drop.path), abs=0.001)
    (moved,) = diff(before, after).sites.changed
    assert moved.moved_m == pytest.approx(333.6, abs=0.5)
    assert moved.fields == {}


def test_a_surveyed_line_is_not_moved_by_a_site() -> None:
    first, second = refused(sites("id,lat\n9901012004-odp,-0.5435\n"))
    far = "0.7 km away from 9901012004-odp"
    assert first.startswith(f"dir/links.geojson:4: the link fo-9901012004-odp ends {far}")
    assert second.startswith(f"dir/links.geojson:5: the link fo-9901012003-odp begins {far}")


def test_a_new_id_with_an_alias_renames_a_site_and_all_that_names_it_follows() -> None:
    found = lay(sites("id,alias\n9901012777,9901012003\n"))
    after = found.after
    assert "9901012003" not in after.sites
    assert after.sites["9901012777"].alias == ("9901012009", "9901012003")
    assert after.site_id("9901012003") == after.site_id("9901012009") == "9901012777"
    assert [device.id for device in after.devices_at("9901012777")] == ["router-9901012003"]
    assert after.links["drop-9901012003"].b == "9901012777"
    assert after.sites["9901012003-odp"].parent == "9901012777"
    told = diff(found.before, after)
    assert [(change.id, change.was, change.fields) for change in told.sites.changed] == [
        ("9901012777", "9901012003", {})
    ]
    assert not told.devices
    assert not told.links


def test_the_centre_can_be_renamed_too() -> None:
    found = lay(sites("id,alias\n9901-noc,9901-pusat\n"))
    assert found.after.centre == "9901-noc"
    assert b"two rings of fibre" in found.files["region.toml"]


def test_a_row_may_call_a_site_by_its_old_id() -> None:
    found = lay(sites("id,priority\n9901012009,3\n"))
    assert found.after.sites["9901012003"].priority == 3


def test_an_empty_cell_empties_and_an_absent_column_keeps() -> None:
    after = lay(sites("id,feeder\n9901012003,\n")).after
    assert (after.sites["9901012003"].feeder, after.sites["9901012003"].priority) == ("", 1)


def test_devices_are_changed_and_added() -> None:
    found = lay(
        devices("id,site,kind,labels\nrouter-9901012003,9901012003,router,rack=2\nups,9901012009,power,\n")
    )
    assert found.files.keys() == {"devices.csv"}
    after = found.after
    assert after.devices["router-9901012003"].labels == {"rack": "2"}
    assert after.devices["router-9901012003"].actuators == ("reboot", "cycle_port")
    assert after.devices["ups"].site == "9901012003"


def test_a_route_replaces_planned_links_and_the_closure_between_them() -> None:
    path = [[100.0625, -0.5125], [100.0655, -0.525], [100.0625, -0.5375]]
    replaces = ["fo-9901022003-jc-01", "fo-9901022003-odp"]
    one = route(
        path,
        **{"id": "r1", "from": "9901022001-odp", "to": "9901022003-odp", "cores": 24, "replaces": replaces},
    )
    found = lay(routes(one))
    link = found.after.links["r1"]
    assert (link.source, link.cores, link.length_km) == ("as-built", 24, 2.859)
    assert "9901022003-jc-01" not in found.after.sites
    told = diff(found.before, found.after)
    assert told.links.added == ("r1",)
    assert told.links.removed == tuple(replaces)
    assert told.sites.removed == ("9901022003-jc-01",)
    assert told.as_built_km[1] - told.as_built_km[0] == pytest.approx(2.859)


def test_a_route_of_a_known_id_becomes_as_built_and_keeps_what_it_does_not_say() -> None:
    found = lay(routes(route(None, id="fo-9901022001-odp", length_km=3.0)))
    link = found.after.links["fo-9901022001-odp"]
    assert (link.source, link.length_km, link.cable, link.owner) == ("as-built", 3.0, "KBL-02", "Diskominfo")
    assert link.path == found.before.links[link.id].path


def test_sites_and_routes_that_need_each_other_come_together() -> None:
    both = AsBuilt(
        Given("s.csv", b"id,name,kind,lon,lat\nkubu,Kubu,nagari,100.09,-0.53\n"),
        None,
        Given(
            "r.geojson",
            b'{"type":"FeatureCollection","features":['
            + route(
                [[100.0875, -0.5375], [100.09, -0.53]], **{"id": "k", "from": "9901022004-odp", "to": "kubu"}
            ).encode()
            + b"]}",
        ),
    )
    assert lay(both).after.links["k"].kind == "fibre"


def test_nothing_said_changes_nothing() -> None:
    assert lay(sites("id,name\n9901012003,Barat\n")).files == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (sites("id,lon\n9901012003,east\n"), "surveyed.csv:2: lon 'east' is no number"),
        (sites("id,remark\n"), "surveyed.csv:1: there is no column 'remark'"),
        (sites("name\nX\n"), "surveyed.csv:1: the column 'id' is missing"),
        (sites("id,lon\n9901012003,\n"), "surveyed.csv:2: has only one of lon and lat"),
        (
            sites("id,lon,lat\nnew,100.01,-0.51\n"),
            "surveyed.csv:2: the site new is new, and its name and kind not said",
        ),
        (
            sites("id,name\n9901012003,A\n9901012003,B\n"),
            "surveyed.csv:3: the site 9901012003 stands in surveyed.csv:2",
        ),
        (
            sites("id,alias\nx,9901012003;9901012004\n"),
            "surveyed.csv:2: the site x cannot take the place of 990101",
        ),
        (
            sites("id,alias\nx,9901012003\ny,9901012003\n"),
            "surveyed.csv:3: the site y cannot take the place of 9901",
        ),
        (sites("id,lon,lat\n9901012003,101,-0.51\n"), "surveyed.csv:2: the site 9901012003 lies 100."),
        (sites("id,name,kind\nhut,Hut,node\n"), "surveyed.csv:2: the site hut is an island"),
        (
            sites("id,replaces\n9901012003,xyz\n"),
            "surveyed.csv:2: xyz is replaced, but is no site, device or link",
        ),
        (devices("id,via\nrouter-9901012003,x9\n"), "built.csv:2: via x9 is no device of this file"),
        (devices("id,kind\nups,power\n"), "built.csv:2: the device ups is new, and its site not said"),
        (
            routes(route(None, id="r1")),
            "routes.geojson:2: the link r1 is new, and its from and to and geometry not",
        ),
        (routes(route([[1, 2]], id="r1")), "routes.geojson:2: the link r1 is not a LineString in degrees"),
        (
            routes(route(None, id="r1", colour="red")),
            "routes.geojson:2: colour is not a key; one of id, from, to",
        ),
        (
            routes(
                route(
                    [[100.0125, -0.5125], [100.0375, -0.5125]],
                    **{"id": "r1", "from": "9901012001", "to": "x"},
                )
            ),
            "routes.geojson:2: the link r1 leads nowhere: to x is not in sites.csv",
        ),
        (
            routes(route(None, id="fo-9901022001-odp", length_km=99)),
            "routes.geojson:2: the link fo-9901022001-odp is 99 km long and its line",
        ),
        (AsBuilt(drop=("xyz",)), "--drop: xyz is replaced, but is no site, device or link"),
        (AsBuilt(drop=("9901012003",)), "dir/devices.csv:21: the site 9901012003 is not in sites.csv"),
    ],
)
def test_a_mistake_is_named_where_it_was_made(given: AsBuilt, said: str) -> None:
    found = refused(given)
    assert any(line.startswith(said) for line in found), found


def test_mistakes_of_all_files_are_named_at_once() -> None:
    given = AsBuilt(
        Given("a.csv", b"id,lon\nx,east\n"), Given("b.csv", b"id\n!\n"), Given("c.geojson", b"{"), ("xyz",)
    )
    assert [line.partition(":")[0] for line in refused(given)] == [
        "a.csv",
        "b.csv",
        "c.geojson",
        "a.csv",
        "--drop",
    ]


def test_a_region_differs_from_itself_in_nothing() -> None:
    region = load(read_folder(RING))
    assert not diff(region, region)


def test_a_diff_turned_round_is_the_diff_turned_round() -> None:
    found = lay(AsBuilt(Given("s", b"id,priority\n9901012003,7\n"), drop=("climate-990101",)))
    there, back = diff(found.before, found.after), diff(found.after, found.before)
    assert there.devices.removed == back.devices.added == ("climate-990101",)
    (one,), (other,) = there.sites.changed, back.sites.changed
    assert one.fields == {"priority": ("1", "7")}
    assert other.fields == {"priority": ("7", "1")}
