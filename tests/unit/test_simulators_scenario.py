"""Scenarios: what is written is what breaks; every mistake gets its own sentence with line and mend."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from devices.problems import Problems
from simulators import scenario
from simulators.scenario import FORMS, POISONS, Scenario, find, load, parse
from tests.unit.sims import SHIPPED, regency, ring, toml


def complaints(text: str | bytes) -> list[str]:
    raw = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(Problems) as caught:
        parse(raw, ring(), "mine.toml")
    return [str(problem) for problem in caught.value.problems]


def fault(*lines: str) -> str:
    return "\n".join(['name = "x"', "", "[[fault]]", *lines, ""])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (fault('kind = "earthquake"'), "4: kind: 'earthquake' is no kind of fault; use one of mains_out, "),
        (fault('device = "router-990101"'), "3: kind is missing; write it"),
        (fault('kind = "hung"'), "3: hung is aimed at 0 things; give one of device"),
        (fault('kind = "hung"', 'site = "990101"'), "3: hung is not aimed at a site; aim it at device"),
        (
            fault('kind = "fibre_cut"', 'link = "drop-990101"', 'cable = "KBL-01"'),
            "3: fibre_cut is aimed at 2 things; give one of link or cable",
        ),
        (fault('kind = "broker_restart"', "everywhere = true"), "is not aimed at everywhere; delete every"),
        (
            fault('kind = "hung"', 'device = "who"'),
            "3: there is no device who in the region; take an id of de",
        ),
        (
            fault('kind = "dark"', 'site = "1"'),
            "3: there is no site 1 in the region; take an id of sites.csv",
        ),
        (fault('kind = "dark"', 'site = "9901012001-odp"'), "take an id of sites.csv that is no node"),
        (fault('kind = "fibre_cut"', 'link = "fo"'), "3: there is no link fo in the region; take an id of l"),
        (
            fault('kind = "fibre_cut"', 'cable = "K"'),
            "3: there is no cable K in the region; take a cable of ",
        ),
        (
            fault('kind = "mains_out"', 'feeder = "F"'),
            "3: there is no feeder F in the region; take a feeder ",
        ),
        (fault('kind = "mains_out"', 'area = "13"'), "3: there is no area 13 in the region; take a code of "),
        (
            fault('kind = "lte_down"', 'provider = "P"'),
            "there is no provider P in the region; take the owner",
        ),
        (
            fault('kind = "flood"', 'river = "anai"', "peak_cm = 300"),
            "3: there is no river anai in the region; give river gauges a label river=… in devices.csv",
        ),
        (
            fault('kind = "dirty_splice"', 'link = "drop-990101"'),
            "3: dirty_splice needs db; write db = …",
        ),
        (fault('kind = "mains_out"', "everywhere = true", "db = 3"), "3: mains_out knows no db; delete it"),
        (
            fault('kind = "dark"', 'ste = "990101"'),
            "5: ste is not a key; one of kind, name, at, for, every, ",
        ),
        (
            fault('kind = "hung"', 'device = "router-990101"', 'for = "5m"', 'every = "5m"'),
            "3: it comes again before it ends; give a `for` shorter than `every`",
        ),
        (
            fault('kind = "hung"', 'device = "router-990101"', 'every = "5m"'),
            "3: it comes again before it ends; give a `for` shorter than `every`",
        ),
        (
            fault('kind = "hung"', 'device = "router-990101"', 'for = "10ms"', 'every = "20ms"'),
            "3: it comes more than 10,000 times; give a longer `every`",
        ),
        (
            fault('kind = "mass_reconnect"', "everywhere = true", 'at = "2h"'),
            "3: it begins after the end (36",
        ),
        (fault('kind = "dark"', 'site = "990101"', 'at = "soon"'), "6: at: 'soon' is no duration; write it"),
        (fault('kind = "dark"', 'site = "990101"', 'for = "0s"'), "6: for: input should be greater than 0; "),
        (fault('kind = "dark"', "site = 7"), '5: site: 7 is no name; write it like "ID" or ["ID", "ID"]'),
        (
            fault('kind = "stuck"', 'device = "power-990101"', 'metric = "rx_dbm"'),
            "3: power-990101 has no metric rx_dbm; use one of mains_v, on_battery, battery_pct, ",
        ),
        (
            fault('kind = "stuck"', 'device = "power-990101"', 'metric = "clock_wrong"'),
            "3: power-990101 has no metric clock_wrong; use one of",
        ),
        (
            fault('kind = "optical_decay"', 'device = "router-990101"', "db = 3"),
            "3: optical_decay hits ONTs, router-990101 is a router; name an ont or a link",
        ),
        (
            fault('kind = "dirty_splice"', 'link = "lte-990101"', "db = 3"),
            "3: dirty_splice hits fibre, lte-990101 is lte; name a link of kind fibre",
        ),
        (
            fault('kind = "poller_dead"', 'device = "ont-9901012001"'),
            "3: ont-9901012001 publishes nothing itself; name poller-pusat",
        ),
        (
            fault('kind = "poison"', 'device = "router-990101"', 'payload = "tea"'),
            "6: payload: 'tea' is no payload; use one of not_json, not_utf8, nan, ",
        ),
        (
            fault('kind = "wrong_clock"', 'device = "router-990101"', 'offset = "200000d"'),
            "6: offset: input should be less than or equal to",
        ),
        (
            fault('kind = "wrong_clock"', 'device = "router-990101"', 'offset = "-soon"'),
            "6: offset: 'soon' is no duration; write it like",
        ),
        (
            'name = "x"\nfault = 3\n',
            "2: fault: faults are a list of tables; write each of them under a [[fau",
        ),
        ('name = "x"\n[fault]\nkind = "hung"\n', "2: fault: faults are a list of tables; write each of them"),
        (
            'name = "x"\nfault = [{ kind = "hung", device = "who" }]\n',
            "2: there is no device who in the region; take an id of devices.csv",
        ),
        (
            'name = "x"\n[every]\nrooter = "1m"\n',
            "2: every.rooter is no device kind; use one of ont, olt, ro",
        ),
        ('name = "x"\n[habits]\nswitched_off = 2\n', "2: habits.switched_off: input should be less than or "),
        ('name = "x"\nduration = "long"\n', "2: duration: 'long' is no duration; write it like"),
        ('name = "x"\nstart = "2026-01-01"\n', "2: start: input should have timezone info"),
        ("", "1: name is missing; write it"),
        ("name = x\n", "1: is not TOML: "),
        (b'name = "\xff"\n', "1: is not UTF-8"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_its_mend(text: str | bytes, said: str) -> None:
    found = complaints(text)
    assert len(found) == 1, found
    assert found[0].startswith("mine.toml:")
    assert said in found[0]
    assert "; " in found[0]


def test_all_mistakes_are_named_at_once() -> None:
    found = complaints(
        'name = "x"\nduration = "long"\n\n'
        '[[fault]]\nkind = "hung"\ndevice = ["who", "router-990101", "where"]\n\n'
        '[[fault]]\nkind = "flod"\n\n'
        '[[fault]]  # the third\nkind = "stuck"\ndevice = "power-990101"\nmetric = "rx_dbm"\nat = "2h"\n'
    )
    assert [line.partition(": ")[0] for line in found] == [
        "mine.toml:2",
        "mine.toml:4",
        "mine.toml:4",
        "mine.toml:9",
        "mine.toml:11",
    ]
    assert "no device who" in found[1]
    assert "no device where" in found[2]


def only(**keys: object) -> scenario.Fault:
    (found,) = parse(toml(keys, duration="1h"), ring()).faults
    return found


@pytest.mark.parametrize(
    ("keys", "links", "sites", "devices", "root", "cause"),
    [
        (
            {"kind": "fibre_cut", "link": "drop-990101"},
            ("drop-990101",),
            (),
            (),
            ("link", "drop-990101"),
            "fibre",
        ),
        (
            {"kind": "fibre_cut", "cable": "KBL-03"},
            ("fo-9901022002-odp",),
            (),
            (),
            ("link", "fo-9901022002-odp"),
            "fibre",
        ),
        (
            {"kind": "mains_out", "feeder": "PLN-LINGKAR-2"},
            (),
            ("990102", "9901022001", "9901022002", "9901022003", "9901022004"),
            (),
            ("power_area", "PLN-LINGKAR-2"),
            "power",
        ),
        (
            {"kind": "lte_down", "provider": "Seluler-B"},
            (),
            ("990101-puskesmas-selatan", "9901022002"),
            (),
            ("provider", "Seluler-B"),
            "upstream",
        ),
        ({"kind": "dark", "site": "9901012009"}, (), ("9901012003",), (), ("site", "9901012009"), "power"),
        (
            {"kind": "poller_dead", "device": ["poller-pusat", "ping-pusat"]},
            (),
            (),
            ("poller-pusat", "ping-pusat"),
            ("device", "poller-pusat;ping-pusat"),
            "blind",
        ),
        ({"kind": "broker_restart"}, (), (), (), ("collector", "broker"), "upstream"),
        ({"kind": "collector_link_dead"}, (), (), (), ("collector", "link"), "blind"),
    ],
)
def test_what_a_fault_is_aimed_at_becomes_ids_and_what_an_operator_should_find(
    keys: dict[str, object],
    links: tuple[str, ...],
    sites: tuple[str, ...],
    devices: tuple[str, ...],
    root: tuple[str, str],
    cause: str,
) -> None:
    found = only(**keys)
    assert (found.links, found.sites, found.devices) == (links, sites, devices)
    assert (found.root, found.cause) == (root, cause)


def test_an_area_and_everywhere_hit_every_place_in_it() -> None:
    assert {"990101", "9901012001", "990101-puskesmas-selatan"} <= set(
        only(kind="mains_out", area="990101").sites
    )
    assert "990102" not in only(kind="mains_out", area="990101").sites
    everywhere = set(only(kind="mains_out", everywhere=True).sites)
    assert everywhere == {site.id for site in ring().sites.values() if site.kind != "node"}


def test_a_fault_comes_again_until_the_end() -> None:
    text = toml({"kind": "dark", "site": "990101", "at": "10m", "lasts": "5m", "every": "20m"}, duration="1h")
    assert [(each.at, each.until) for each in parse(text, ring()).faults] == [
        (600, 900),
        (1800, 2100),
        (3000, 3300),
    ]


def test_faults_stand_in_the_order_in_which_they_begin_and_keep_their_words() -> None:
    text = toml(
        {"kind": "dark", "site": "990101", "at": "9m", "name": "second", "say": {}},
        {"kind": "dark", "site": "990102", "at": "1m", "lasts": "90s", "name": "first"},
    )
    first, second = parse(text, ring()).faults
    assert (first.name, first.at, first.until) == ("first", 60, 150)
    assert (second.name, second.at, second.until) == ("second", 540, None)


def test_a_scenario_says_its_start_its_length_its_rhythm_and_its_habits() -> None:
    head = 'name = "x"\nstart = 2026-03-01T22:00:00+07:00\nduration = "90m"\n'
    found = parse(f'{head}[every]\nont = "5m"\n[habits]\nswitched_off = 0.3\n'.encode(), ring())
    assert found.start == datetime(2026, 3, 1, 15, tzinfo=UTC)
    assert (found.duration, found.every, found.switched_off) == (5400, {"ont": 300}, 0.3)
    plain = parse(b'name = "x"', ring())
    assert plain == Scenario("x", start=plain.start, switched_off=plain.switched_off)
    assert plain.start.utcoffset() is not None


def test_every_kind_of_fault_can_be_written_down() -> None:
    more: dict[str, dict[str, object]] = {
        "dirty_splice": {"db": 3},
        "optical_decay": {"db": 3},
        "stuck": {"metric": "level_cm"},
        "wrong_clock": {"offset": "-1h"},
        "late": {"delay": "7m"},
        "flood": {"peak_cm": 300},
    }
    names = {"device": "river-katapiang", "link": "fo-1305032001-odp", "river": "batang-anai"}
    for kind, form in FORMS.items():
        target = form.targets[0] if form.targets else ""
        aim = {target: names.get(target, "130501")} if target else {}
        (found,) = parse(toml({"kind": kind, **aim, **more.get(kind, {})}), regency()).faults
        assert found.kind == kind
    assert POISONS.keys() >= {"not_json", "not_utf8", "nan", "deep", "large", "empty"}


def test_a_scenario_is_found_by_name_or_by_path_and_otherwise_the_names_are_said(tmp_path: Path) -> None:
    assert find("blackout", SHIPPED) == SHIPPED / "scenarios" / "blackout.toml"
    (tmp_path / "mine.toml").write_text('name = "mine"\n')
    assert find(str(tmp_path / "mine.toml"), SHIPPED) == tmp_path / "mine.toml"
    with pytest.raises(
        Problems, match=r"^blckout: is no scenario; name a TOML file, .*ageing, blackout, demo"
    ):
        find("blckout", SHIPPED)
    with pytest.raises(Problems, match=r"\(none\)"):
        find("blackout", tmp_path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(Problems, match=r"nowhere\.toml: cannot be read \(No such file or directory\); name"):
        load(tmp_path / "nowhere.toml", ring())
