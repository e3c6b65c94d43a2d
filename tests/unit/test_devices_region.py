"""Region folders: what a good one says, and everything that is wrong with a bad one at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devices.catalogue import CLOCK_WRONG, KINDS
from devices.model import Link, Person
from devices.problems import Problems
from devices.region import content_hash, load, read_folder

REAL = Path(__file__).parents[2] / "deploy" / "padang-pariaman"
MAP = b'{"type":"FeatureCollection","features":[]}'
GOOD = {
    "region.toml": b'name = "R"\ntimezone = "Asia/Jakarta"\nlanguages = ["id", "en"]\ncentre = "c"\n'
    b"holidays = [2027-01-01]\n",
    "boundaries.geojson": b'{"type":"FeatureCollection","features":[{"type":"Feature","properties":'
    b'{"code":"13","name":"A","level":"regency"},"geometry":{"type":"Point","coordinates":[1,1]}}]}',
    "sites.csv": b"id,name,kind,parent,agency,lon,lat,feeder,hours,priority,alias\n"
    b"c,Centre,centre,13,Kominfo,100.1,-0.5,F1,24/7,9,old-c;older-c\n"
    b's1,"One, first",nagari,c,,,,,Mo-Fr 08:00-16:00;Sa 08:00-12:00,,\n',
    "devices.csv": b"site,id,kind,via,actuators,labels\n"
    b"c,agent,host,,,\ns1,r1,router,agent,relay,area=north;row=2\ns1,r2,router,,,\n",
}


def link(**changes: object) -> bytes:
    properties = {"id": "l1", "from": "c", "to": "s1", "kind": "fibre", "length_km": 15.9, **changes}
    line = {"type": "LineString", "coordinates": [[100.1, -0.5], [100.2, -0.6]]}
    feature = {"type": "Feature", "geometry": line, "properties": properties}
    return json.dumps({"type": "FeatureCollection", "features": [feature]}).encode()


def problems(files: dict[str, bytes]) -> list[str]:
    with pytest.raises(Problems) as refused:
        load(files, "dir")
    assert all("\n" not in str(problem) for problem in refused.value.problems)
    return [str(problem) for problem in refused.value.problems]


def test_padang_pariaman_is_whole() -> None:
    region = load(read_folder(REAL), str(REAL))
    nagari = [site for site in region.sites.values() if site.kind == "nagari"]
    assert len(nagari) == 103
    for site in nagari:
        assert region.devices_at(site.id)[0].kind == "router"
        assert site.id in region.areas
        assert region.areas_of(site.id)[-1] == "1305"
    assert region.sites[region.centre].kind == "centre"
    assert region.areas_of(region.centre) == ("130517", "1305")
    spoken_for = [device.id for device in region.published_by("agent-kominfo")]
    assert spoken_for[0] == "agent-kominfo"
    assert len(spoken_for) >= 2
    assert json.loads(region.boundaries)["attribution"]


def test_an_office_that_bears_its_districts_code_lies_in_the_regency_and_not_in_itself() -> None:
    region = load(read_folder(REAL), str(REAL))
    assert region.sites["130501"].kind == "district"
    assert region.areas_of("130501") == ("1305",)
    assert region.areas_of("1305012001") == ("130501", "1305")
    named_itself = {**GOOD, **site("13,Office,district,13,,,,,,,")}
    assert load(named_itself).areas_of("13") == ()


def test_the_files_say_what_they_say() -> None:
    region = load({**GOOD, "links.geojson": link(cores=24), "people.toml": b'[[person]]\nname = "P"\n'})
    assert region.name == "R"
    assert region.holidays[0].isoformat() == "2027-01-01"
    assert region.sites["s1"].name == "One, first"
    assert (region.sites["c"].lon, region.sites["s1"].lon) == (100.1, None)
    assert region.site_id("old-c") == region.site_id("older-c") == region.site_id("c") == "c"
    assert region.devices["r1"].labels == {"area": "north", "row": "2"}
    assert region.devices["r1"].actuators == ("relay",)
    assert [device.id for device in region.devices_at("s1")] == ["r1", "r2"]
    assert region.devices_at("nowhere") == ()
    assert [device.id for device in region.published_by("agent")] == ["agent", "r1"]
    assert region.areas_of("s1") == ("c", "13")
    path = ((100.1, -0.5), (100.2, -0.6))
    assert region.links["l1"] == Link("l1", "c", "s1", "fibre", 15.9, cores=24, path=path)
    assert region.people == {"P": Person("P", "id", (), "24/7")}


def test_a_folder_gives_its_rules_as_they_are(tmp_path: Path) -> None:
    for name, text in {**GOOD, "rules/a.toml": b"not = = toml", "notes.txt": b"x"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(text)
    files = read_folder(tmp_path)
    assert "notes.txt" not in files
    assert load(files).rules == {"rules/a.toml": b"not = = toml"}


def test_the_hash_names_the_content_and_not_the_order() -> None:
    region = load(GOOD)
    assert region.hash == load(dict(reversed(GOOD.items()))).hash == content_hash(GOOD)
    assert load({**GOOD, "rules/a.toml": b""}).hash != region.hash
    assert load({**GOOD, "region.toml": GOOD["region.toml"] + b"\n"}).hash != region.hash
    assert content_hash({"a": b"bc"}) != content_hash({"ab": b"c"})


def test_a_folder_that_is_not_there_is_refused() -> None:
    with pytest.raises(Problems, match="/nowhere: is no folder; name the region folder"):
        read_folder(Path("/nowhere"))


def test_missing_files_are_all_named() -> None:
    said = "\n".join(problems({}))
    for name in ("region.toml", "boundaries.geojson", "sites.csv", "devices.csv"):
        assert f"dir/{name}: the file is missing" in said


def test_everything_wrong_is_said_at_once() -> None:
    said = problems(
        {
            "region.toml": b'name = 3\ncentre = "c"\ntimezone = "Asia/Jakarta"\nlanguages = ["id"]\n',
            "boundaries.geojson": b"{",
            "sites.csv": GOOD["sites.csv"] + b"c,Again,centre,,,,,,,,\n",
            "devices.csv": GOOD["devices.csv"] + b"s9,r9,router,,,\n",
            "people.toml": b"[[person]]\n",
            "links.geojson": link(to="s9"),
        }
    )
    for where in ("region.toml:1", "boundaries.geojson:1", "sites.csv:4", "devices.csv:5", "people.toml:1"):
        assert any(line.startswith(f"dir/{where}: ") for line in said), where
    assert any(
        line.startswith("dir/links.geojson:1: the link l1 leads nowhere: to s9 is not in sites.csv")
        for line in said
    )


def site(row: str) -> dict[str, bytes]:
    return {"sites.csv": GOOD["sites.csv"] + row.encode() + b"\n"}


def device(row: str) -> dict[str, bytes]:
    return {"devices.csv": GOOD["devices.csv"] + row.encode() + b"\n"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (site("s2,Two,village,,,,,,,,"), "sites.csv:4: kind 'village' is no site kind; use one of nagari"),
        (site("s 2,Two,nagari,,,,,,,,"), "sites.csv:4: id 's 2' is no id; use 1 to 64"),
        (site("s2,,nagari,,,,,,,,"), "sites.csv:4: name is empty; fill it in"),
        (site("s2,T\x07wo,nagari,,,,,,,,"), "sites.csv:4: name holds a control character"),
        (site("s1,Two,nagari,,,,,,,,"), "sites.csv:4: the site s1 stands in line 3 already"),
        (site("s2,Two,nagari,x9,,,,,,,"), "the parent x9 is neither a site nor an area"),
        (site("s2,Two,nagari,s2,,,,,,,"), "the site s2 lies in itself"),
        (site("s2,Two,nagari,s3,,,,,,,\ns3,Three,nagari,s2,,,,,,,"), "the site s3 lies in itself"),
        (site("s2,Two,nagari,,,-0.5,100.2,,,,"), "sites.csv:4: lat 100.2 is outside ±90 degrees"),
        (site("s2,Two,nagari,,,east,-0.5,,,,"), "sites.csv:4: lon 'east' is no number"),
        (site("s2,Two,nagari,,,nan,-0.5,,,,"), "sites.csv:4: lon nan is outside"),
        (site("s2,Two,nagari,,,100.2,,,,,"), "sites.csv:4: has only one of lon and lat"),
        (site("s2,Two,nagari,,,,,,8-16,,"), "sites.csv:4: hours '8-16' are no hours; write them like"),
        (site("s2,Two,nagari,,,,,,Mo 08:00-25:00,,"), "sites.csv:4: hours 'Mo 08:00-25:00'"),
        (site("s2,Two,nagari,,,,,,,high,"), "sites.csv:4: priority 'high' is no whole number"),
        (site("s2,Two,nagari,,,,,,,,s1"), "sites.csv:4: the alias s1 is a site id already"),
        (site("s2,Two,nagari,,,,,,,,old-c"), "sites.csv:4: the alias old-c is an alias of c already"),
        (site("s2,Two"), "sites.csv:4: has 2 cells, the header has 11"),
        (site('s2,"Two'), "sites.csv:4: is not CSV"),
        ({"sites.csv": b"id;name;kind\n"}, "sites.csv:1: the columns are parted by ;"),
        ({"sites.csv": b"id,name\nx,X\n"}, "sites.csv:1: the column 'kind' is missing"),
        ({"sites.csv": b"id,name,kind,colour\n"}, "sites.csv:1: there is no column 'colour'"),
        ({"sites.csv": b"id,name,kind,id\n"}, "sites.csv:1: the column 'id' stands twice"),
        ({"sites.csv": b""}, "sites.csv:1: has no header; begin with id,name,kind"),
        ({"sites.csv": b"id,name,kind\nx,\xe9,nagari\n"}, "sites.csv:2: is not UTF-8"),
        (device("s1,r2,router,,,"), "devices.csv:5: the device r2 stands in line 4 already"),
        (device("s1,r3,toaster,,,"), "devices.csv:5: kind 'toaster' is no device kind; use one of ont"),
        (device("s9,r3,router,,,"), "devices.csv:5: the site s9 is not in sites.csv"),
        (device("s1,r3,router,r9,,"), "devices.csv:5: via r9 is no device of this file"),
        (device("s1,r3,router,r3,,"), "devices.csv:5: via names the device itself"),
        (device("s1,r3,router,r1,,"), "via r1 is published via agent itself; name agent"),
        (device("s1,r3,router,,Fan!,"), "devices.csv:5: actuators 'Fan!' is no name"),
        (device("s1,r3,router,,,north"), "devices.csv:5: labels 'north' is no label"),
        (device("s1,r3,router,,,a=1;a=2"), "devices.csv:5: labels the label a stands twice"),
        (
            {**site("n1,N,node,,,,,,,,"), **device("n1,r3,router,,,")},
            "devices.csv:5: the site n1 is a node, which has no devices",
        ),
        ({"region.toml": b"name = \n"}, "region.toml:1: is not TOML"),
        ({"region.toml": GOOD["region.toml"] + b"colour = 1\n"}, "region.toml:6: colour is not a key"),
        ({"region.toml": b'name = "R"\n'}, "region.toml:1: centre is missing"),
        (
            {"region.toml": GOOD["region.toml"].replace(b"Asia/Jakarta", b"Mars")},
            "region.toml:2: timezone: 'Mars' is no time zone here",
        ),
        (
            {"region.toml": GOOD["region.toml"].replace(b'"id"', b'"Indonesia"')},
            "region.toml:3: languages: 'Indonesia' is no language",
        ),
        (
            {"region.toml": GOOD["region.toml"].replace(b'"c"', b'"s1"')},
            "region.toml: centre: centre s1 is a nagari; name a site of kind centre",
        ),
        (
            {"region.toml": GOOD["region.toml"].replace(b'"c"', b'"x"')},
            "centre x is not in sites.csv",
        ),
        ({"boundaries.geojson": b"[]"}, "boundaries.geojson: is not a GeoJSON FeatureCollection"),
        ({"boundaries.geojson": b'{"a":1,\n}'}, "boundaries.geojson:2: is not JSON"),
        ({"boundaries.geojson": b"[" * 100_000}, "boundaries.geojson:1: is not JSON"),
        (
            {"boundaries.geojson": MAP.replace(b"[]", b'[{"type":"Feature"}]')},
            "boundaries.geojson:1: the feature has no properties or no geometry",
        ),
        (
            {"links.geojson": link(kind="copper")},
            "links.geojson:1: the link l1: kind: input should be 'fibre'",
        ),
        (
            {"links.geojson": link(length_km=-1)},
            "links.geojson:1: the link l1: length_km: input should be greater",
        ),
        (
            {"links.geojson": link(colour="red")},
            "the link l1: colour is not a key; one of id, from, to, kind",
        ),
        ({"links.geojson": link(to="c")}, "the link l1 ends where it begins"),
        (
            {"links.geojson": link().replace(b"LineString", b"Point")},
            "links.geojson:1: the link l1 is not a LineString",
        ),
        ({"links.geojson": link().replace(b"100.2", b"300.2")}, "the link l1 is not a LineString in degrees"),
        ({"people.toml": b'[[person]]\nname = "P"\nroster = "always"\n'}, "people.toml:3: person.0.roster"),
        ({"people.toml": b'[[person]]\nname="P"\n[[person]]\nname="P"\n'}, "people.toml:4: 'P' stands twice"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(change: dict[str, bytes], said: str) -> None:
    found = problems({**GOOD, **change})
    assert any(said in line and line.startswith("dir/") for line in found), found


def test_a_bad_cell_makes_no_strangers_of_others() -> None:
    bad = {"sites.csv": GOOD["sites.csv"].replace(b"100.1,-0.5", b"-0.5,100.1")}
    assert len(problems({**GOOD, **bad})) == 1


def test_files_from_a_spreadsheet_are_read() -> None:
    windows = {
        name: b"\xef\xbb\xbf" + GOOD[name].replace(b"\n", b"\r\n") for name in ("sites.csv", "devices.csv")
    }
    assert load({**GOOD, **windows}).sites == load(GOOD).sites


def test_the_catalogue_is_what_every_part_counts_on() -> None:
    field = {name: kind for name, kind in KINDS.items() if name != "collector"}
    assert all(CLOCK_WRONG in kind.metrics for kind in field.values())
    sent = {
        name: [metric for metric in kind.metrics if metric != CLOCK_WRONG] for name, kind in field.items()
    }
    assert {name: " ".join(metrics) for name, metrics in sent.items()} == {
        "ont": "rx_dbm tx_dbm olt_rx_dbm distance_m temperature_c uptime_s last_down_cause",
        "olt": "cpu_pct temperature_c ports_up uptime_s",
        "router": "latency_ms loss_pct jitter_ms rx_bps tx_bps cpu_pct on_lte",
        "power": "mains_v on_battery battery_pct battery_v load_w",
        "climate": "temperature_c humidity_pct door_open smoke water_leak",
        "river": "level_cm rain_mm_h",
        "host": "cpu_pct mem_pct disk_pct load1 rx_bps tx_bps",
    }
    commands = {name: kind.commands for name, kind in KINDS.items() if kind.commands}
    assert commands == {
        "ont": ("reboot",),
        "router": ("reboot", "switch_uplink", "cycle_port"),
        "power": ("shed_load", "restore_load"),
        "climate": ("fan",),
        "river": ("siren",),
    }
    assert KINDS["ont"].events == ("dying_gasp",)
    for kind in KINDS.values():
        for name, metric in kind.metrics.items():
            assert name == metric.name
            assert metric.low is None or metric.high is None or metric.low < metric.high
