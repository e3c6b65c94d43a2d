"""Devices that misbehave: each fault does what it says to whom it says, and ends."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import pytest

from devices.payload import native
from devices.topics import parse
from simulators.scenario import POISONS
from simulators.virtual import line
from tests.unit.sims import HOUR, Story, regency

ROUTER = "router-9901012001"
AT, END = 600.0, 1200.0
SPAN = {"at": "10m", "lasts": "10m"}


def clock(story: Story, device: str, begin: float, end: float) -> set[int]:
    """How far a device's clock is off, in whole seconds."""
    heard = story.tele(device, begin, end)
    return {round((payload["ts"] - story.sim.start_ms) / 1000 - at) for at, payload in heard}


def test_a_hung_router_is_silent_and_offline_with_what_is_behind_it_until_it_is_restarted() -> None:
    story = Story({"kind": "hung", "device": ROUTER, **SPAN}).play(1800)
    assert story.tele(ROUTER, AT, END + 60) == []
    assert story.tele("power-9901012001", AT, END + 60) == []
    (_, _), (gone, offline), (back, _) = story.states(ROUTER)
    assert (gone, offline) == (AT + 22.5, "offline")
    assert END + 60 < back < END + 120
    assert story.outages("9901012001") == []
    assert story.sent("ont-9901012001", "event") == []
    assert len(story.tele("ont-9901012001", AT, END)) == 20


def test_a_hung_terminal_takes_its_sites_fibre_and_a_hung_olt_that_of_all_its_terminals() -> None:
    terminal = Story({"kind": "hung", "device": "ont-9901012002", **SPAN}).play(1800)
    ((_, down, back),) = terminal.outages("9901012002")
    assert down == AT
    assert END + 30 < back < END + 65  # type: ignore[operator]
    assert terminal.values("ont-9901012002", "uptime_s", back)[0] < 60  # type: ignore[arg-type]
    olt = Story({"kind": "hung", "device": "olt-pusat", **SPAN}).play(1800)
    with_terminal = {d.site for d in olt.region.devices.values() if d.kind == "ont"}
    assert {each.site for each in olt.sim.truth.outages} == with_terminal
    assert olt.tele("olt-pusat", AT, END + 100) == []
    assert olt.values("olt-pusat", "uptime_s", END)[0] < 60


def test_an_olt_counts_its_ports_with_light() -> None:
    cut = {"kind": "fibre_cut", "link": "fo-9901022001-odp", **SPAN}
    other = {"kind": "fibre_cut", "link": "fo-9901022003-odp-4", **SPAN}
    story = Story(cut, other).play(1800)
    assert set(story.values("olt-pusat", "ports_up", 0, AT)) == {2}
    assert set(story.values("olt-pusat", "ports_up", AT + 30, END)) == {1}
    assert set(story.values("olt-pusat", "ports_up", END + 60)) == {2}


def test_a_stuck_sensor_says_the_same_again_and_again_while_its_neighbours_move() -> None:
    story = Story({"kind": "stuck", "device": "power-990101", "metric": "mains_v", **SPAN}).play(1800)
    stuck = story.values("power-990101", "mains_v", AT, END)
    assert len(stuck) == 60
    assert len(set(stuck)) == 1
    for begin in (0, END):
        assert len(set(story.values("power-990101", "mains_v", begin, begin + AT))) > 10
    assert len(set(story.values("power-990101", "load_w", AT, END))) > 3


@pytest.mark.parametrize(("offset", "seconds"), [("-1h", -3600), ("+90s", 90), ("10m", 600)])
def test_a_wrong_clock_dates_everything_that_far_off_and_goes_right_again(offset: str, seconds: int) -> None:
    story = Story({"kind": "wrong_clock", "device": ROUTER, "offset": offset, **SPAN}).play(1800)
    for device in (ROUTER, "power-9901012001"):
        assert clock(story, device, 0, AT) == {0}
        assert clock(story, device, AT, END) == {seconds}
        assert clock(story, device, END, 1800) == {0}
    assert clock(story, "router-9901012002", 0, 1800) == {0}


def test_a_device_behind_a_poller_can_have_a_wrong_time_of_its_own() -> None:
    story = Story({"kind": "wrong_clock", "device": "ont-9901012001", "offset": "-2h", **SPAN}).play(1800)
    assert clock(story, "ont-9901012001", AT, END) == {-7200}
    assert clock(story, "ont-9901012002", AT, END) == {0}


def test_after_a_power_cut_it_is_1970_until_a_time_server_answers() -> None:
    story = Story({"kind": "epoch_1970", "device": ROUTER, "at": "10m", "lasts": "20m"}).play(2400)
    silent = story.tele(ROUTER, AT, AT + 100)
    assert silent == []
    found = [payload["ts"] for _, payload in story.tele(ROUTER, AT, 1800)]
    assert len(found) > 90
    assert all(0 <= ts < 20 * 60_000 for ts in found)
    assert all(before < later for before, later in pairwise(found))
    assert clock(story, ROUTER, 1800, 2400) == {0}
    power = [payload["ts"] for _, payload in story.tele("power-9901012001", AT, 1800)]
    assert max(power) < 20 * 60_000


@pytest.mark.parametrize("name", POISONS)
def test_poison_is_what_no_reader_takes_and_hits_one_device_only(name: str) -> None:
    story = Story({"kind": "poison", "device": ROUTER, "payload": name, **SPAN}).play(1800)
    while_bad = [payload for at, payload in story.sent(ROUTER) if AT <= at < END]
    assert while_bad == [POISONS[name]] * 60
    with pytest.raises(native.PayloadError):
        native.parse_tele_checked(POISONS[name])
    rest = [item for item in story.items if item.topic.endswith("/tele") and item.payload != POISONS[name]]
    for item in rest:
        native.parse_tele_checked(item.payload, parse(item.topic))
    assert len(story.tele(ROUTER, END)) == len(story.tele(ROUTER, 0, AT)) == 60


def test_duplicates_are_the_same_bytes_again_in_their_share() -> None:
    story = Story({"kind": "duplicate", "area": "990101", "share": 0.5, **SPAN}).play(1800)

    def twice(device: str, begin: float, end: float) -> tuple[int, int]:
        counted = Counter(payload for at, payload in story.sent(device) if begin <= at < end)
        return sum(number == 2 for number in counted.values()), max(counted.values())

    doubled = sum(twice(f"router-{site}", AT, END)[0] for site in ("990101", "9901012001", "9901012002"))
    assert 60 < doubled < 120
    assert twice("router-990101", AT, END)[1] == 2
    assert twice("router-990101", 0, AT) == twice("router-990101", END + 5, 1800) == (0, 1)
    assert twice("router-990102", AT, END) == (0, 1)
    everything = Story({"kind": "duplicate", "device": ROUTER, **SPAN}).play(1800)
    assert Counter(Counter(everything.sent(ROUTER)).values()).keys() == {1}
    assert len(everything.sent(ROUTER)) == 60 + 120 + 60


def test_what_is_late_comes_with_its_own_time_that_much_later_and_in_order() -> None:
    story = Story({"kind": "late", "device": ROUTER, "delay": "7m", **SPAN}).play(2400)
    heard = [((payload["ts"] - story.sim.start_ms) / 1000, at) for at, payload in story.tele(ROUTER)]
    late = [(measured, at) for measured, at in heard if AT <= measured < END]
    assert len(late) == 60
    assert {round(at - measured) for measured, at in late} == {420}
    assert {round(at - measured) for measured, at in heard if not AT <= measured < END} == {0}
    assert sorted(p["seq"] for _, p in story.tele(ROUTER)) == list(range(240))


def test_two_faults_of_one_kind_on_one_device_each_end_at_their_own_time() -> None:
    first, second = {"at": "10m", "lasts": "10m"}, {"at": "15m", "lasts": "10m"}
    aim = {"device": ROUTER}
    late = Story(
        {"kind": "late", "delay": "2m", **aim, **first}, {"kind": "late", "delay": "1m", **aim, **second}
    )
    late.play(2400)
    delays = [round(at - (p["ts"] - late.sim.start_ms) / 1000) for at, p in late.tele(ROUTER)]
    assert Counter(delays) == {0: 150, 120: 60, 60: 30}
    poison = [{"kind": "poison", "payload": name, **aim} for name in ("nan", "empty")]
    story = Story({**poison[0], **first}, {**poison[1], **second}).play(2400)
    bad = Counter(
        payload for _, payload in story.sent(ROUTER) if payload in (POISONS["nan"], POISONS["empty"])
    )
    assert bad == {POISONS["nan"]: 30, POISONS["empty"]: 60}
    stuck = {"kind": "stuck", "metric": "cpu_pct", **aim}
    story = Story({**stuck, **first}, {**stuck, **second}).play(2400)
    assert len(set(story.values(ROUTER, "cpu_pct", 600, 1500))) == 1
    assert len(set(story.values(ROUTER, "cpu_pct", 1500, 2400))) > 3


def test_a_dead_poller_leaves_those_behind_it_unknown_and_reads_nothing_for_later() -> None:
    story = Story({"kind": "poller_dead", "device": "poller-pusat", **SPAN}).play(1800)
    behind = [d.id for d in story.region.devices.values() if d.via == "poller-pusat"]
    for device in (*behind, "poller-pusat"):
        heard = story.tele(device)
        assert story.tele(device, AT, END) == []
        assert all(at - (payload["ts"] - story.sim.start_ms) / 1000 < 1 for at, payload in heard)
        assert story.tele(device, END, END + 40)
    assert [state for _, state in story.states("poller-pusat")] == ["online", "offline", "online"]
    assert story.sim.truth.outages == []
    assert len(story.tele(ROUTER, AT, END)) == 60


def test_a_mass_reconnect_breaks_every_connection_within_a_second_and_loses_nothing() -> None:
    story = Story({"kind": "mass_reconnect", "everywhere": True, "at": "10m"}).play(900)
    for publisher in story.sim.publishers:
        (_, _), (gone, offline), (back, online) = story.states(publisher)
        assert (offline, online) == ("offline", "online")
        assert AT <= gone <= AT + 1
        assert AT + 2 < back < AT + 6
        seqs = [payload["seq"] for _, payload in story.tele(publisher)]
        assert seqs == list(range(len(seqs)))
    part = Story({"kind": "mass_reconnect", "area": "990102", "at": "10m"}).play(900)
    moved = {p for p in part.sim.publishers if len(part.states(p)) > 1}
    assert moved == {"router-990102", "router-9901022001", "router-9901022003", "router-9901022004"}


def test_a_broker_restart_is_told_and_drops_everybody_who_then_returns() -> None:
    story = Story({"kind": "broker_restart", "at": "10m"}).play(900)
    told = [item for item in story.items if item.what == "broker_restart"]
    assert [(item.at, item.publisher, item.topic) for item in told] == [(600_000, "", "")]
    for publisher in story.sim.publishers:
        assert [state for _, state in story.states(publisher)] == ["online", "offline", "online"]
    assert (story.broken[0].cause, story.broken[0].root["kind"]) == ("upstream", "collector")


def test_the_collectors_own_link_is_cut_and_healed_and_the_devices_do_not_notice() -> None:
    story = Story({"kind": "collector_link_dead", **SPAN}).play(1800)
    told = [(item.what, item.at) for item in story.items if item.what.startswith("collector")]
    assert told == [("collector_cut", 600_000), ("collector_whole", 1_200_000)]
    calm = Story().play(1800)
    assert [item for item in story.items if not item.what.startswith("collector")] == calm.items


def test_a_flood_rises_gauge_by_gauge_after_rain_and_falls_again() -> None:
    wave = {"kind": "flood", "river": "batang-anai", "peak_cm": 390, "at": "1h", "lasts": "6h"}
    story = Story(wave, region=regency(), every=60, skip=not_gauges()).play(9 * HOUR)
    gauges = story.scenario.faults[0].devices
    peaks = []
    for gauge in gauges:
        calm = story.values(gauge, "level_cm", 0, HOUR)
        heard = [(payload["values"]["level_cm"], at) for at, payload in story.tele(gauge)]
        peak, when = max(heard)
        assert peak - calm[0] == pytest.approx(390, abs=30)
        peaks.append(when)
        assert story.values(gauge, "level_cm", 7.5 * HOUR)[-1] - calm[0] < 40
        assert max(story.values(gauge, "rain_mm_h", HOUR, when)) > 20
        assert story.sim.publishers[gauge].connected
    assert peaks == sorted(peaks)
    assert peaks[-1] - peaks[0] > HOUR


def not_gauges() -> list[str]:
    return [d.id for d in regency().devices.values() if not d.via and d.kind != "river"]


def test_a_message_is_written_as_json_even_if_it_is_none() -> None:
    story = Story({"kind": "poison", "device": ROUTER, "payload": "not_utf8", **SPAN}).play(700)
    lines = [json.loads(line(item)) for item in story.items]
    (bad, *_) = [each for each in lines if "payload_hex" in each]
    assert bytes.fromhex(bad["payload_hex"]) == POISONS["not_utf8"]
    assert "payload" not in bad
