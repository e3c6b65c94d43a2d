"""Power: what a cut silences and what lives on, batteries that drain and fill, people who pull the plug."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from simulators.world import Battery
from tests.unit.sims import DAY, HOUR, MONDAY, Story

FEEDER = {"kind": "mains_out", "feeder": "PLN-LINGKAR-1", "at": "10m", "lasts": "20m"}
BARE = "9901012002"  # no power sensor, so no battery
WATCHED = "9901012001"


def gasps(story: Story) -> dict[str, float]:
    found = {}
    for device in story.region.devices:
        for at, payload in story.sent(device, "event"):
            assert b'"event":"dying_gasp"' in payload
            assert device not in found
            found[device] = at
    return found


def test_terminals_that_lose_power_gasp_and_their_site_falls_silent_until_it_has_booted() -> None:
    story = Story(FEEDER).play(2400)
    assert gasps(story).keys() <= {"ont-9901012002", "ont-9901012004"}
    assert gasps(story)
    assert all(600 < at < 602 for at in gasps(story).values())
    assert story.tele("router-9901012002", 600, 1860) == []
    assert story.tele("ont-9901012002", 600, 1830) == []
    (_, _), (gone, offline), (back, online) = story.states("router-9901012002")
    assert (gone, offline, online) == (622.5, "offline", "online")
    assert 1800 + 60 < back < 1800 + 125


def test_nine_in_ten_gasps_are_heard() -> None:
    heard = sum(len(gasps(Story(FEEDER, seed=seed, every=300).play(700))) for seed in range(100))
    assert 160 < heard < 196


def test_what_has_booted_counts_its_uptime_anew_and_knows_why_it_was_down() -> None:
    story = Story(FEEDER).play(2400)
    ont = "ont-9901012002"
    before, after = story.values(ont, "uptime_s", 0, 600), story.values(ont, "uptime_s", 1800)
    assert before[-1] - before[0] == 30 * (len(before) - 1)
    assert after[0] < 60
    assert set(story.values(ont, "last_down_cause", 0, 600)) == {0}
    assert set(story.values(ont, "last_down_cause", 1800)) == {2}


def test_what_was_not_sent_before_the_power_went_is_lost_with_it() -> None:
    cut = {"kind": "fibre_cut", "link": "drop-9901012002", "at": "5m", "lasts": "20m"}
    story = Story(cut, FEEDER).play(2400)
    measured = [(p["ts"] - story.sim.start_ms) / 1000 for _, p in story.tele("router-9901012002")]
    assert [each for each in measured if 300 < each < 1800] == []
    assert measured[-1] > 2300


def test_a_battery_carries_a_site_on_and_the_sensor_says_so() -> None:
    story = Story(FEEDER).play(2400)
    power = f"power-{WATCHED}"
    assert [state for _, state in story.states(f"router-{WATCHED}")] == ["online"]
    assert not any(story.values(power, "on_battery", 0, 600))
    assert all(story.values(power, "on_battery", 601, 1800))
    assert not any(story.values(power, "on_battery", 1801))
    assert set(story.values(power, "mains_v", 601, 1800)) == {0}
    assert 198 < min(story.values(power, "mains_v", 1801)) < 231
    assert story.values(power, "battery_v", 0, 600)[0] > 13
    assert max(story.values(power, "battery_v", 601, 1800)) < 12.8
    levels = story.values(power, "battery_pct", 601, 1800)
    assert levels == sorted(levels, reverse=True)
    assert story.values("power-9901022001", "on_battery") == [False] * len(story.tele("power-9901022001"))


def test_a_battery_drains_in_hours_the_site_goes_dark_when_it_is_empty_and_it_fills_again() -> None:
    story = Story({**FEEDER, "lasts": "8h"}, every=60).play(20 * HOUR)
    power = f"power-{WATCHED}"
    ((state, down, back),) = story.outages(WATCHED)
    assert state == "down"
    assert 600 + 2 * HOUR < down < 600 + 7 * HOUR
    assert 600 + 8 * HOUR < back < 600 + 8 * HOUR + 70  # type: ignore[operator]
    levels = story.values(power, "battery_pct", 600, down)
    assert levels == sorted(levels, reverse=True)
    assert levels[-1] <= 1
    assert story.values(power, "battery_v", 600, down)[-1] < 10.8
    assert story.tele(power, down, back) == []  # type: ignore[arg-type]
    filling = story.values(power, "battery_pct", back)  # type: ignore[arg-type]
    assert filling == sorted(filling)
    assert filling[0] < 5
    assert filling[-1] == 100
    assert f"ont-{WATCHED}" in gasps(story)


def test_mains_that_flicker_do_not_fill_a_battery() -> None:
    flicker = {**FEEDER, "lasts": "59m", "every": "60m", "at": "1m"}
    story = Story(flicker, every=60, duration="9h").play(9 * HOUR)
    assert [state for state, *_ in story.outages(WATCHED)][:1] == ["down"]


def test_the_centre_has_a_generator_and_a_room_without_mains_gets_warm() -> None:
    story = Story({**FEEDER, "lasts": "3h"}).play(1.5 * HOUR)
    assert story.outages("9901-pusat") == []
    room = "climate-990101"
    assert max(story.values(room, "temperature_c", 0, 600)) < 25
    assert story.values(room, "temperature_c", 1.4 * HOUR)[-1] > 29
    assert max(story.values("climate-990102", "temperature_c")) < 25
    cooler = Story({**FEEDER, "lasts": "1h"}).play(1.5 * HOUR)
    assert max(cooler.values(room, "temperature_c", 600 + HOUR)) < 25


def test_a_dark_centre_silences_everybody_and_then_they_all_come_at_once() -> None:
    story = Story({"kind": "dark", "site": "9901-pusat", "at": "10m", "lasts": "10m"}).play(1800)
    said = [item for item in story.items if item.what == "publish" and 600_000 <= item.at < 1_200_000]
    assert said == []
    assert {site for site in story.sim.world.places if not story.outages(site)} == set()
    for publisher in story.sim.publishers:
        # Who has a terminal waits for the OLT at the centre to boot; with LTE it does not wait.
        assert [state for _, state in story.states(publisher)][:3] == ["online", "offline", "online"]
    seqs = [payload["seq"] for _, payload in story.tele("router-9901022003")]
    assert seqs == list(range(len(seqs)))


def test_two_power_cuts_at_once_end_when_both_are_over() -> None:
    site = {"kind": "mains_out", "site": BARE, "at": "15m", "lasts": "30m"}
    story = Story(FEEDER, site).play(HOUR)
    ((_, down, back),) = story.outages(BARE)
    assert down == 600
    assert 2700 < back < 2800  # type: ignore[operator]


def test_a_battery_is_exact_about_when_it_will_be_empty() -> None:
    battery = Battery(hours=3.7, refill=8.0)
    battery.turn(1_000, draining=True)
    empty = battery.empty_at()
    assert battery.level(empty) == 0
    assert battery.level(empty - 2) > 0
    battery.turn(empty // 2, load=0.45)
    assert battery.empty_at() > empty
    battery.turn(battery.empty_at(), draining=False)
    assert battery.level(battery.since + 8 * 3_600_000) == 100
    assert battery.level(battery.since + 80 * 3_600_000) == 100


def off(story: Story) -> list[tuple[str, float, float | None]]:
    return [(r.root["id"], r.at, r.until) for r in story.sim.truth.broken if r.ambient]


def test_people_switch_off_after_work_and_on_in_the_morning_and_it_is_known_as_no_fault() -> None:
    story = Story(habits=1.0, every=300).play(6.9 * DAY)
    assert story.broken == []
    spells = off(story)
    # Only where nobody watches a battery: four nagari of eight.
    assert {site for site, *_ in spells} == {
        "9901012002",
        "9901012003",
        "9901012004",
        "9901022002",
        "9901022003",
    }
    local = [
        ((at + 8 * HOUR) / HOUR % 24, (until + 8 * HOUR) / HOUR % 24) for _, at, until in spells if until
    ]
    assert all(16 <= closed <= 16.7 and 7.5 < opened < 8.2 for closed, opened in local)
    site = [(at, until) for name, at, until in spells if name == BARE]
    assert len(site) == 5
    assert site[-1][1] is None  # Friday evening to Monday morning
    for at, until in site:
        assert story.tele(f"router-{BARE}", at, (until or 6.9 * DAY) + 60) == []
    assert all(record.cause == record.fault == "switched_off" for record in story.sim.truth.broken)


def test_an_evening_begins_with_those_switched_off_who_have_left() -> None:
    story = Story(habits=1.0, start=MONDAY + timedelta(hours=12)).play(600)
    assert len(off(story)) == 5
    assert story.states(f"router-{BARE}") == []
    assert [state for _, state in story.states("router-990101")] == ["online"]


def test_habits_are_as_common_as_the_scenario_says() -> None:
    assert off(Story(habits=0.0, every=3600).play(DAY)) == []
    some = [len(off(Story(habits=0.4, every=3600, seed=seed).play(DAY))) for seed in range(40)]
    assert 50 < sum(some) < 110


def test_a_site_that_was_off_for_another_reason_when_people_came_stays_off_and_comes_back() -> None:
    # The plug is pulled on Monday before closing and put in on Tuesday at noon, long after people have come.
    pulled = {"kind": "switched_off", "site": BARE, "at": "7h", "lasts": "21h"}
    story = Story(pulled, habits=1.0, every=60).play(30 * HOUR)
    ((_, down, back),) = story.outages(BARE)
    assert down == 7 * HOUR
    assert 28 * HOUR < back < 28 * HOUR + 130  # type: ignore[operator]
    assert story.broken[0].until == 28 * HOUR


@pytest.mark.parametrize("seconds", [5, 15])
def test_a_flicker_makes_what_has_no_battery_start_anew_and_nothing_else(seconds: int) -> None:
    flicker = {"kind": "mains_out", "everywhere": True, "at": "10m", "lasts": seconds}
    story = Story(flicker).play(900)
    times = [at for at, _ in story.tele("router-990101")]
    assert max(later - at for at, later in pairwise(times)) == pytest.approx(10)
    silent = [at for at, _ in story.tele("router-9901012002") if 600 <= at < 660]
    assert silent == []
    assert story.tele("router-9901012002", 740)
