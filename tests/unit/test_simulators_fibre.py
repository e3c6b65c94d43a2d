"""Fibre: what a cut does to a ring, to those behind it, to LTE and to what was measured; and weak light."""

from __future__ import annotations

from itertools import pairwise
from statistics import mean

import pytest

from tests.unit.sims import DAY, HOUR, WHOLE_RING, Story, ring

BEHIND = "router-9901012002"  # no LTE
HULU = "router-9901012001"  # at the centre's end of the ring
LTE = "router-990101"
CUT = {"kind": "fibre_cut", "link": list(WHOLE_RING), "at": "10m", "lasts": "20m"}
ONTS = (
    "ont-9901012001",
    "ont-9901012002",
    "ont-9901012004",
    "ont-990101-puskesmas-selatan",
    "ont-9901022001",
    "ont-9901022003",
    "ont-9901022004",
)


@pytest.mark.parametrize("link", WHOLE_RING)
def test_a_ring_survives_one_cut(link: str) -> None:
    story = Story({"kind": "fibre_cut", "link": link, "at": "10m"}).play(1800)
    assert story.sim.truth.outages == []
    assert story.broken[0].sites == []
    for publisher in story.sim.publishers:
        assert [state for _, state in story.states(publisher)] == ["online"]


def test_a_second_cut_takes_everything_behind_it_and_the_first_mend_brings_it_back() -> None:
    first, second = WHOLE_RING
    story = Story(
        {"kind": "fibre_cut", "link": first, "at": "5m", "lasts": "20m"},
        {"kind": "fibre_cut", "link": second, "at": "10m", "lasts": "30m"},
    ).play(3600)
    assert story.broken[0].sites == []
    assert len(story.broken[1].sites) == 10
    assert "9901012001" not in story.broken[1].sites
    assert story.outages("9901012002") == [("down", 600, 1500)]
    assert story.outages("9901012001") == []


def test_a_link_that_two_things_cut_is_whole_when_both_are_mended() -> None:
    spur = {"kind": "fibre_cut", "link": "drop-9901012003"}
    story = Story({**spur, "at": "1m", "lasts": "10m"}, {**spur, "at": "5m", "lasts": "10m"}).play(1800)
    assert story.outages("9901012003") == [("down", 60, 900)]


def test_whoever_is_cut_off_is_offline_by_its_will_after_one_and_a_half_keepalives_and_comes_back() -> None:
    story = Story(CUT).play(2400)
    (_, online), (gone, offline), (back, again) = story.states(BEHIND)
    assert (online, offline, again) == ("online", "offline", "online")
    assert gone == 622.5
    assert 1800 < back < 1805
    assert story.states(HULU)[1:] == []
    assert story.tele(BEHIND, 600, 1800) == []


def test_a_cut_too_short_for_the_keepalive_is_no_absence() -> None:
    story = Story({**CUT, "lasts": "20s"}).play(900)
    assert [state for _, state in story.states(BEHIND)] == ["online"]
    times = [payload["ts"] for _, payload in story.tele(BEHIND)]
    assert {later - before for before, later in pairwise(times)} == {10_000}


def test_what_was_measured_meanwhile_comes_afterwards_with_its_own_times_in_order_nothing_twice_or_lost() -> (
    None
):
    story = Story(CUT).play(2400)
    heard = story.tele(BEHIND)
    assert [payload["seq"] for _, payload in heard] == list(range(len(heard)))
    backlog = [(at, (payload["ts"] - story.sim.start_ms) / 1000) for at, payload in heard if 600 < at < 1810]
    old = [measured for at, measured in backlog if at - measured > 10]
    assert len(old) >= 119
    assert 600 < old[0] < 611
    assert 1780 < old[-1] < 1800
    assert {round(later - before, 3) for before, later in pairwise(old)} == {10.0}
    assert all(at < 1806 for at, measured in backlog if measured < 1795)


def test_a_buffer_that_is_full_drops_its_oldest_and_counts_them() -> None:
    others = [device.id for device in ring().devices.values() if not device.via and device.id != BEHIND]
    story = Story({**CUT, "lasts": "30h"}, skip=others).play(600 + 31 * HOUR)
    publisher = story.sim.publishers[BEHIND]
    heard = [payload["seq"] for _, payload in story.tele(BEHIND)]
    assert publisher.dropped > 500
    assert heard == sorted(set(heard))
    gap = max(later - before for before, later in pairwise(heard))
    assert gap == publisher.dropped + 1


def test_a_site_with_lte_is_back_in_seconds_says_so_and_returns_to_fibre_once_that_has_held_a_minute() -> (
    None
):
    story = Story(CUT).play(2400)
    (down, gone, on_lte), (lte, since, until) = story.outages("990101")
    assert (down, lte, gone, until) == ("down", "lte", 600, 1860)
    assert since == on_lte
    assert 606 <= since <= 614
    assert [state for _, state in story.states(LTE)] == ["online", "offline", "online", "offline", "online"]
    assert story.values(LTE, "on_lte", 630, 1860) == [True] * len(story.values(LTE, "on_lte", 630, 1860))
    assert not any(story.values(LTE, "on_lte", 1870))
    assert not any(story.values(LTE, "on_lte", 0, 600))
    assert mean(story.values(LTE, "latency_ms", 630, 1860)) > 40 > max(story.values(LTE, "latency_ms", 1870))
    assert [payload["seq"] for _, payload in story.tele(LTE)] == list(range(len(story.tele(LTE))))


def test_fibre_that_flaps_does_not_tempt_a_router_off_lte() -> None:
    flapping = {**CUT, "lasts": "40s", "every": "80s", "at": "10m"}
    story = Story(flapping, duration="20m").play(1500)
    lte = [each for each in story.outages("990101") if each[0] == "lte"]
    assert len(lte) == 1
    assert lte[0][1] < 615
    assert lte[0][2] == pytest.approx(story.broken[-1].until + 60)  # type: ignore[operator]


def test_without_mobile_network_a_cut_takes_lte_sites_too_one_provider_or_all() -> None:
    story = Story(CUT, {"kind": "lte_down", "provider": "Seluler-A", "at": "15m", "lasts": "5m"}).play(2400)
    assert [each[0] for each in story.outages("990101")] == ["down", "lte", "down", "lte"]
    assert [each[0] for each in story.outages("990101-puskesmas-selatan")] == ["down", "lte"]
    assert story.outages("990101")[2][1:] == (900, 1200)


def test_a_router_that_is_only_pinged_answers_or_not_and_over_lte_slowly() -> None:
    story = Story(CUT, {"kind": "lte_down", "provider": "Seluler-B", "at": "20m", "lasts": "5m"}).play(2400)
    pinged = "router-9901022002"
    assert set(story.values(pinged, "loss_pct", 0, 600)) == {0}
    assert max(story.values(pinged, "latency_ms", 0, 600)) < 5
    assert min(story.values(pinged, "latency_ms", 630, 1200)) > 40
    assert set(story.values(pinged, "loss_pct", 1205, 1500)) == {100}
    assert story.values(pinged, "latency_ms", 1205, 1500) == []
    assert max(story.values(pinged, "latency_ms", 1900)) < 5


def test_a_terminal_without_light_is_not_read_and_says_afterwards_why() -> None:
    story = Story(CUT).play(2400)
    for ont in ONTS[1:]:
        assert story.tele(ont, 600, 1800) == []
        assert set(story.values(ont, "last_down_cause", 0, 600)) == {0}
        assert set(story.values(ont, "last_down_cause", 1800)) == {1}
        assert story.sent(ont, "event") == []
    assert len(story.tele(ONTS[0], 600, 1800)) == 40


def rx(story: Story, ont: str, begin: float, end: float) -> float:
    return mean(story.values(ont, "rx_dbm", begin, end))


def test_a_dirty_splice_weakens_exactly_the_terminals_behind_it_and_is_gone_when_it_is_cleaned() -> None:
    # Every way to Simpang, Muara and Pesisir leaves the first ring over one of two links.
    splice = {"kind": "dirty_splice", "link": "fo-9901022004-odp", "db": 4, "at": "1h", "lasts": "1h"}
    story = Story(splice).play(3 * HOUR)
    for ont in ONTS:
        before, while_dirty = rx(story, ont, 0, HOUR), rx(story, ont, HOUR, 2 * HOUR)
        after = rx(story, ont, 2 * HOUR, 3 * HOUR)
        assert after == pytest.approx(before, abs=0.3)
        assert before - while_dirty == pytest.approx(4.0 if ont == "ont-9901022004" else 0.0, abs=0.6)
    assert story.sim.truth.outages == []


def test_a_splice_bad_enough_loses_packets_and_one_worse_darkens_the_site() -> None:
    link = "drop-9901012004"
    bad = Story({"kind": "dirty_splice", "link": link, "db": 15, "at": "10m"}).play(1200)
    assert max(bad.values("router-9901012004", "loss_pct", 0, 600)) == 0
    assert mean(bad.values("router-9901012004", "loss_pct", 610)) > 5
    assert max(bad.values("ont-9901012004", "rx_dbm", 630)) < -27
    assert max(bad.values("router-9901012001", "loss_pct")) == 0
    worse = Story({"kind": "dirty_splice", "link": link, "db": 25, "at": "10m", "lasts": "5m"}).play(1200)
    assert worse.outages("9901012004") == [("down", 600, 900)]
    assert worse.tele("ont-9901012004", 601, 900) == []


def test_water_in_a_drop_cable_weakens_one_terminal_day_by_day() -> None:
    decay = {"kind": "optical_decay", "device": "ont-9901012004", "db": 10, "at": "1d", "lasts": "5d"}
    story = Story(decay, every=900.0).play(7 * DAY)
    days = [rx(story, "ont-9901012004", day * DAY, (day + 1) * DAY) for day in range(7)]
    losses = [days[0] - each for each in days]
    assert losses == pytest.approx([0, 1, 3, 5, 7, 9, 0], abs=0.4)
    for other in set(ONTS) - {"ont-9901012004"}:
        assert rx(story, other, 5 * DAY, 6 * DAY) == pytest.approx(rx(story, other, 0, DAY), abs=0.3)


def test_a_terminal_ages_a_little_in_a_year() -> None:
    story = Story(every=DAY / 4, duration="400d").play(365 * DAY)
    sent = [mean(story.values("ont-9901012001", "tx_dbm", d * DAY, (d + 20) * DAY)) for d in (0, 345)]
    assert 0.1 < sent[0] - sent[1] < 0.4
