"""Commands change the simulated world as they would the real one; nonsense is refused in words."""

from __future__ import annotations

import pytest

from tests.unit.sims import HOUR, WHOLE_RING, Story, regency

ROUTER, LTE = "router-9901012001", "router-990101"
FEEDER = {"kind": "mains_out", "feeder": "PLN-LINGKAR-1", "at": "10m", "lasts": "10h"}


def test_a_router_told_to_reboot_goes_away_and_comes_back() -> None:
    story = Story().play(600)
    assert "restarting, about" in story.obey(ROUTER, "reboot")
    story.play(1200)
    assert [state for _, state in story.states(ROUTER)] == ["online", "offline", "online"]
    assert story.tele(ROUTER, 600, 670) == []
    assert story.states(ROUTER)[2][0] < 730


def test_a_reboot_cures_a_router_that_hangs() -> None:
    story = Story({"kind": "hung", "device": ROUTER, "at": "5m", "lasts": "1h"}).play(600)
    story.obey(ROUTER, "reboot")
    story.play(2 * HOUR)
    assert story.states(ROUTER)[2][0] < 730
    assert len(story.states(ROUTER)) == 3


def test_a_terminal_told_to_reboot_takes_its_site_down_for_less_than_a_minute_and_begins_to_count_anew() -> (
    None
):
    story = Story().play(600)
    story.obey("ont-9901012001", "reboot")
    story.play(900)
    ((state, down, back),) = story.outages("9901012001")
    assert state == "down"
    assert 600 <= down < 601
    assert 630 < back < 670  # type: ignore[operator]
    assert story.values("ont-9901012001", "uptime_s", back)[0] < 60  # type: ignore[arg-type]


def test_a_router_cycles_the_port_of_its_terminal() -> None:
    story = Story().play(600)
    assert story.obey(ROUTER, "cycle_port", port=2) == "port 2 was off for 3 s"
    story.play(900)
    assert story.values("ont-9901012001", "uptime_s", 670)[0] < 60
    assert [state for state, *_ in story.outages("9901012001")] == ["down"]


def test_an_uplink_is_switched_to_lte_back_to_fibre_and_left_to_itself() -> None:
    story = Story({"kind": "fibre_cut", "link": list(WHOLE_RING), "at": "20m", "lasts": "10m"}).play(600)
    assert story.obey(LTE, "switch_uplink", to="lte") == "uplink lte"
    story.play(660)
    assert story.values(LTE, "on_lte", 610) == [True] * 5
    story.obey(LTE, "switch_uplink", to="fibre")
    story.play(900)
    assert not any(story.values(LTE, "on_lte", 670))
    story.play(1500)
    assert story.outages("990101")[-1][0] == "down"  # fibre is cut, and it may not use LTE
    story.obey(LTE, "switch_uplink", to="auto")
    story.play(1600)
    assert story.outages("990101")[-1][0] == "lte"
    story.play(2400)
    assert story.outages("990101")[-1][2] == pytest.approx(1860)


def test_a_site_that_sheds_load_lives_longer_on_its_battery() -> None:
    def life(*, shed: bool) -> float:
        story = Story(FEEDER, every=60).play(700)
        if shed:
            assert story.obey("power-9901012001", "shed_load") == "load shed"
        story.play(11 * HOUR)
        return story.outages("9901012001")[0][1] if story.outages("9901012001") else 11 * HOUR

    assert life(shed=True) - 600 > 1.8 * (life(shed=False) - 600)


def test_shed_load_is_measured_and_restored() -> None:
    story = Story().play(600)
    story.obey("power-990101", "shed_load")
    story.play(1200)
    assert story.obey("power-990101", "restore_load") == "load restored"
    story.play(1800)
    before, shed, after = (story.values("power-990101", "load_w", at, at + 590) for at in (0, 610, 1210))
    assert max(shed) < 0.6 * min(before)
    assert min(after) > 1.5 * max(shed)


def test_shedding_load_does_not_cool_a_room() -> None:
    story = Story({**FEEDER, "lasts": "3h"}).play(1.5 * HOUR)
    story.obey("power-990101", "shed_load")
    story.play(1.6 * HOUR)
    assert min(story.values("climate-990101", "temperature_c", 1.5 * HOUR)) > 28


def test_a_fan_cools_a_room_whose_cooling_has_stopped() -> None:
    story = Story(FEEDER).play(2 * HOUR)
    assert story.obey("climate-990101", "fan", on=True) == "fan on"
    story.play(2.2 * HOUR)
    warm = story.values("climate-990101", "temperature_c", 1.9 * HOUR, 2 * HOUR)
    cool = story.values("climate-990101", "temperature_c", 2.01 * HOUR)
    assert max(cool) < min(warm)
    assert story.obey("climate-990101", "fan", on=False) == "fan off"


def test_a_siren_sounds() -> None:
    assert Story(region=regency(), every=600).obey("river-katapiang", "siren") == "siren sounded"


@pytest.mark.parametrize(
    ("device", "name", "args", "said"),
    [
        (ROUTER, "siren", {}, "a router knows no siren"),
        ("power-990101", "reboot", {}, "a power knows no reboot"),
        (ROUTER, "switch_uplink", {"to": "lte"}, "router-9901012001 has no actuator for switch_uplink"),
        ("router-9901022002", "reboot", {}, "router-9901022002 has no actuator for reboot"),
        ("climate-990101-puskesmas-selatan", "fan", {}, "has no actuator for fan"),
        (LTE, "switch_uplink", {"to": "moon"}, "to is 'moon'; it is one of lte, fibre, auto"),
        (LTE, "switch_uplink", {}, "to is None; it is one of"),
        (LTE, "switch_uplink", {"to": ["lte"]}, "to is ['lte']; it is one of"),
        ("climate-990101", "fan", {"on": "yes"}, "on is 'yes'; it is true or false"),
        ("climate-990101", "fan", {"on": 1}, "on is 1; it is true or false"),
    ],
)
def test_nonsense_is_refused_and_changes_nothing(
    device: str, name: str, args: dict[str, object], said: str
) -> None:
    story, calm = Story().play(600), Story().play(600)
    with pytest.raises(ValueError, match=said.replace("[", r"\[")):
        story.obey(device, name, **args)
    assert story.play(900).items == calm.play(900).items


def test_what_has_no_power_hangs_or_has_no_light_does_not_answer() -> None:
    dark = Story({"kind": "switched_off", "site": "9901012002", "at": "1m"}).play(120)
    for device in ("router-9901012002", "ont-9901012002"):
        with pytest.raises(ValueError, match="does not answer"):
            dark.obey(device, "reboot")
    hung = Story({"kind": "hung", "device": LTE, "at": "1m"}).play(120)
    with pytest.raises(ValueError, match="does not answer"):
        hung.obey(LTE, "switch_uplink", to="lte")
    unlit = Story({"kind": "fibre_cut", "link": "drop-9901012002", "at": "1m"}).play(180)
    with pytest.raises(ValueError, match="does not answer"):
        unlit.obey("ont-9901012002", "reboot")
