"""The scenarios that we ship: all load, and each breaks what its name says."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from simulators.scenario import Fault, find, load
from tests.unit.sims import SHIPPED, regency

NAMED = sorted(file.stem for file in (SHIPPED / "scenarios").glob("*.toml"))


@pytest.mark.parametrize("name", NAMED)
def test_a_scenario_that_we_ship_loads_and_is_called_like_its_file(name: str) -> None:
    found = load(find(name, SHIPPED), regency())
    assert found.name == name
    assert set(found.summary) == {"id", "en"}
    assert all(set(each.say) in (set(), {"id", "en"}) for each in found.faults)
    assert max((each.until or each.at for each in found.faults), default=0) <= found.duration


def faults(name: str) -> dict[str, list[Fault]]:
    found: dict[str, list[Fault]] = {}
    for each in load(find(name, SHIPPED), regency()).faults:
        found.setdefault(each.kind, []).append(each)
    return found


def local(name: str, second: float) -> datetime:
    begun = load(find(name, SHIPPED), regency()).start
    return (begun + timedelta(seconds=second)).astimezone(
        datetime.fromisoformat("2026-01-01T00+07:00").tzinfo
    )


def test_the_trunk_is_cut_at_night() -> None:
    (cut,) = faults("trunk-cut")["fibre_cut"]
    assert local("trunk-cut", cut.at).hour in (22, 23, 0, 1, 2, 3, 4)


def test_mains_are_out_over_a_whole_district() -> None:
    (out,) = faults("pln-district")["mains_out"]
    (area,) = {regency().areas_of(site)[0] for site in out.sites if regency().sites[site].kind == "nagari"}
    inside = {s.id for s in regency().sites.values() if s.kind == "nagari" and s.parent == area}
    assert inside <= set(out.sites)


def test_the_blackout_and_the_earthquake_hit_every_site_and_the_earthquake_darkens_the_centre() -> None:
    everywhere = {site.id for site in regency().sites.values() if site.kind != "node"}
    for name in ("blackout", "earthquake"):
        assert set(faults(name)["mains_out"][0].sites) == everywhere
    assert faults("earthquake")["dark"][0].sites == (regency().centre,)
    assert faults("earthquake")["fibre_cut"]


def test_a_contractor_digs_three_times_in_three_places() -> None:
    cuts = faults("digger")["fibre_cut"]
    assert len({cut.links for cut in cuts}) == len(cuts) == 3
    assert all(8 <= local("digger", cut.at).hour < 18 for cut in cuts)


def test_a_flood_goes_down_the_river_gauge_by_gauge() -> None:
    (wave,) = faults("flood")["flood"]
    assert [regency().devices[gauge].labels["order"] for gauge in wave.devices] == list("123456")


def test_an_office_is_switched_off_every_evening() -> None:
    spells = faults("switched-off")["switched_off"]
    assert len(spells) >= 3
    for spell in spells:
        assert local("switched-off", spell.at).hour >= 16
        assert local("switched-off", spell.until or 0).hour <= 8


def test_lightning_and_the_restart_of_everything_are_there_and_the_gremlins() -> None:
    assert {"mains_out", "hung", "lte_down", "epoch_1970", "stuck"} <= faults("lightning").keys()
    assert {"broker_restart", "mass_reconnect", "poller_dead", "mains_out"} <= faults("restart").keys()
    gremlins = {"stuck", "wrong_clock", "epoch_1970", "poison", "duplicate", "late", "collector_link_dead"}
    assert gremlins <= faults("gremlins").keys()
    assert {"optical_decay", "dirty_splice"} <= faults("ageing").keys()
