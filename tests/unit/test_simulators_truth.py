"""The truth: what was broken, where, from when to when, and whom it hit: what alarms are measured against."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from devices.problems import Problems
from simulators import truth
from simulators.scenario import Fault
from simulators.simulation import Simulation
from simulators.truth import Broken, Truth
from tests.unit.sims import WHOLE_RING, Story, toml

SPAN = {"at": "10m", "lasts": "5m"}


def only(**fault: object) -> Broken:
    (record,) = Story({**SPAN, **fault}).play(1200).broken
    return record


def test_a_fault_is_told_with_what_where_and_when_it_was() -> None:
    record = only(kind="wrong_clock", device="router-990101", offset="-1h", name="clock")
    assert (record.fault, record.name, record.cause) == ("wrong_clock", "clock", "device")
    assert (record.at, record.until) == (600, 900)
    assert record.root == {"kind": "device", "id": "router-990101"}
    assert (record.sites, record.devices) == (["990101"], ["router-990101"])
    assert record.params == {"offset": -3600}
    assert not record.ambient


def test_a_fault_that_is_not_over_has_no_end() -> None:
    (record,) = Story({"kind": "dark", "site": "990101", "at": "10m"}).play(1200).broken
    assert (record.at, record.until) == (600, None)


def test_a_fault_that_never_came_is_not_told() -> None:
    assert Story({"kind": "dark", "site": "990101", "at": "10m"}).play(599).broken == []


def test_what_a_cut_took_is_told_also_what_was_saved_by_lte_but_not_what_the_ring_saved() -> None:
    record = only(kind="fibre_cut", link="fo-9901022004-odp")
    assert record.root == {"kind": "link", "id": "fo-9901022004-odp"}
    assert record.sites == ["9901022004"]
    story = Story({**SPAN, "kind": "fibre_cut", "link": list(WHOLE_RING)}).play(1200)
    assert {each.site for each in story.sim.truth.outages} == set(story.broken[0].sites)
    assert only(kind="fibre_cut", link=WHOLE_RING[0]).sites == []


def test_a_power_cut_hits_every_site_on_its_feeder_with_a_battery_or_without() -> None:
    record = only(kind="mains_out", feeder="PLN-LINGKAR-2")
    assert record.root == {"kind": "power_area", "id": "PLN-LINGKAR-2"}
    assert record.sites == ["990102", "9901022001", "9901022002", "9901022003", "9901022004"]
    whole = only(kind="mains_out", everywhere=True)
    assert whole.root == {"kind": "power_area", "id": "everywhere"}
    assert len(whole.sites) == 12


def test_an_outage_is_told_for_each_site_and_each_way_it_was_served() -> None:
    story = Story({**SPAN, "kind": "fibre_cut", "link": list(WHOLE_RING)}).play(1200)
    rows: list[dict[str, Any]] = story.sim.truth.document()["outages"]  # type: ignore[assignment]
    mine = [row for row in rows if row["site"] == "990101"]
    assert [(row["state"], row["from"], row["until" if "until" in row else "to"]) for row in mine] == [
        ("down", 600, mine[1]["from"]),
        ("lte", mine[1]["from"], 960),
    ]
    assert [row["from"] for row in rows] == sorted(row["from"] for row in rows)


def test_a_site_that_is_still_down_has_no_end() -> None:
    told = Truth()
    told.service("a", "down", 1_500)
    told.service("b", "lte", 2_000)
    told.service("a", "fibre", 2_500)
    assert told.document(scenario="x") == {
        "scenario": "x",
        "faults": [],
        "outages": [
            {"site": "a", "state": "down", "from": 1.5, "to": 2.5},
            {"site": "b", "state": "lte", "from": 2.0, "to": None},
        ],
    }


def test_whoever_listens_hears_of_each_beginning_and_each_end() -> None:
    story = Story({**SPAN, "kind": "dark", "site": "990101", "say": {"en": "Look there"}})
    heard: list[tuple[str, float | None, str]] = []

    def news(fault: Fault, record: Broken) -> None:
        heard.append((record.root["id"], record.until, fault.say["en"]))

    sim = Simulation(story.region, story.scenario, news=news)
    for _ in sim.until(1_200_000):
        pass
    assert heard == [("990101", None, "Look there"), ("990101", 900, "Look there")]


def test_the_document_is_written_whole(tmp_path: Path) -> None:
    file = tmp_path / "truth.json"
    file.write_text("before")
    truth.check(file)
    assert file.read_text() == "before"
    truth.write(file, Truth().document(seed=7, region="Lingkar – ä"))
    assert json.loads(file.read_text("utf-8")) == {
        "seed": 7,
        "region": "Lingkar – ä",
        "faults": [],
        "outages": [],
    }
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("place", ["nowhere/truth.json", "."])
def test_a_place_where_it_cannot_be_written_is_named_before_and_after(tmp_path: Path, place: str) -> None:
    file = tmp_path / place
    with pytest.raises(Problems, match=r"cannot be written .*; name another file"):
        truth.check(file)
    with pytest.raises(Problems, match=r"cannot be written .*; name another file"):
        truth.write(file, {})


def test_a_scenarios_words_for_a_fault_are_its_name() -> None:
    assert b'name = "third dig"' in toml({"kind": "dark", "site": "990101", "name": "third dig"})
    assert only(kind="dark", site="990101", name="third dig").name == "third dig"
    assert only(kind="dark", site="990101").name == "dark"
