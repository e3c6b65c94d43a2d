"""Whatever breaks, in whatever order: time goes forward, nothing crashes, what is mended is whole again."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from devices.catalogue import KINDS as CATALOGUE
from devices.payload.native import PayloadError, parse_tele_checked
from simulators.scenario import FORMS, POISONS, START
from tests.unit.sims import MONDAY, Story, ring

MENDED = 600  # seconds: by then every fault is over
WHOLE = 1500  # and by then its consequences, too: reboots, LTE, backlogs, late deliveries

REGION = ring()
FIBRE = sorted(link.id for link in REGION.links.values() if link.kind == "fibre")
NAMES = {
    "link": FIBRE,
    "cable": ["KBL-01", "KBL-02", "KBL-03", "KBL-04"],
    "site": sorted(site.id for site in REGION.sites.values() if site.kind != "node"),
    "feeder": ["PLN-LINGKAR-1", "PLN-LINGKAR-2"],
    "area": ["990101", "990102"],
    "device": sorted(REGION.devices),
    "provider": ["Seluler-A", "Seluler-B"],
}
ONTS = sorted(device.id for device in REGION.devices.values() if device.kind == "ont")
PUBLISHERS = sorted(device.id for device in REGION.devices.values() if not device.via)
KINDS = sorted(FORMS.keys() - {"flood"})  # the ring has no river


@st.composite
def faults(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(KINDS))
    begin = draw(st.integers(0, MENDED - 2))
    fault: dict[str, Any] = {"kind": kind, "at": begin, "lasts": draw(st.integers(1, MENDED - begin - 1))}
    if FORMS[kind].targets:
        target = draw(st.sampled_from([name for name in FORMS[kind].targets if name != "river"]))
        names = NAMES.get(target, [])
        if target == "device":
            names = {"optical_decay": ONTS, "poller_dead": PUBLISHERS}.get(kind, names)
        fault[target] = draw(st.sampled_from(names)) if names else True
    for key in FORMS[kind].keys:
        fault[key] = draw(_keys(key, REGION.devices[fault["device"]].kind if "device" in fault else ""))
    return fault


def _keys(key: str, kind: str) -> st.SearchStrategy[object]:
    metrics = {
        "router": ["latency_ms", "on_lte"],
        "ont": ["rx_dbm"],
        "olt": ["cpu_pct"],
        "power": ["mains_v", "on_battery"],
        "climate": ["temperature_c"],
        "host": ["load1"],
    }
    return {
        "db": st.floats(0.5, 40),
        "metric": st.sampled_from(metrics.get(kind, [""])),
        "offset": st.sampled_from(["-1h", "+1h", "-30000d", "90s"]),
        "payload": st.sampled_from(sorted(POISONS)),
        "share": st.floats(0.1, 1),
        "delay": st.integers(1, 400),
    }[key]


ARGUMENTS: dict[str, list[dict[str, object]]] = {
    "switch_uplink": [{"to": "lte"}, {"to": "fibre"}, {"to": "auto"}],
    "fan": [{"on": True}],
}
ORDERS = sorted(
    (device.id, name, number)
    for device in REGION.devices.values()
    for name in CATALOGUE[device.kind].commands
    for number in range(len(ARGUMENTS.get(name, [{}])))
)
WITH_LTE = sorted(link.a for link in REGION.links.values() if link.kind == "lte")


def give(story: Story, device: str, name: str, number: int) -> None:
    with suppress(ValueError):  # it may be down just now
        story.obey(device, name, **ARGUMENTS.get(name, [{}])[number])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(faults(), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, MENDED), st.sampled_from(ORDERS)), max_size=5),
    st.integers(0, 9),
)
def test_after_any_faults_and_commands_everybody_is_connected_over_fibre_again_and_measures_as_before(
    broken: list[Mapping[str, object]], orders: list[tuple[int, tuple[str, str, int]]], seed: int
) -> None:
    story = Story(*broken, seed=seed, every=30)
    for second, order in sorted(orders):
        give(story.play(second), *order)
    story.play(MENDED + 400)
    for site in WITH_LTE:
        if f"router-{site}" in story.sim.publishers:
            story.obey(f"router-{site}", "switch_uplink", to="auto")
    story.play(WHOLE + 100)
    assert all(before.at <= after.at for before, after in pairwise(story.items))
    for item in story.items:
        if item.topic.endswith("/tele") and item.payload not in POISONS.values():
            parse_tele_checked(item.payload)
    sim = story.sim
    assert [name for name, each in sim.publishers.items() if not each.connected] == []
    assert [name for name, place in sim.world.places.items() if place.path != "fibre"] == []
    assert [each for each in sim.truth.outages if each.until is None] == []
    assert [record for record in story.broken if record.until is None] == []
    assert len(story.broken) == len(broken)
    for device in REGION.devices:
        heard = story.tele(device, WHOLE)
        assert 3 <= len(heard) <= 4, device
        for at, payload in heard:
            assert abs(payload["ts"] - sim.start_ms - at * 1000) < 1, device


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["9901012002", "9901012003", "9901022003"]),
            st.integers(0, 40 * 60),
            st.integers(1, 30 * 60),
        ),
        max_size=4,
    ),
    st.integers(0, 5),
)
def test_whoever_is_switched_off_and_on_at_whatever_hour_is_there_when_work_begins(
    spells: list[tuple[str, int, int]], seed: int
) -> None:
    broken = [
        {"kind": "switched_off", "site": site, "at": f"{begin}m", "lasts": f"{length}m"}
        for site, begin, length in spells
    ]
    # From Monday 15:30; the last spell ends within 70 hours, and at 10:00 on Friday everybody is at work.
    story = Story(*broken, seed=seed, habits=1.0, every=3600, start=START + timedelta(hours=7.5))
    story.play((24 * 4 - 5.5) * 3600)
    assert [name for name, place in story.sim.world.places.items() if place.path is None] == []
    assert [name for name, each in story.sim.publishers.items() if not each.connected] == []
    assert all(record.until is not None for record in story.sim.truth.broken)


@settings(max_examples=15, deadline=None)
@given(st.integers(), st.integers(0, 7 * 24))
def test_whatever_the_seed_and_the_hour_every_reading_is_one_that_a_reader_takes(
    seed: int, hour: int
) -> None:
    story = Story(seed=seed, every=60, start=MONDAY + timedelta(hours=hour)).play(600)
    refused = []
    for item in story.items:
        try:
            if item.what == "publish":
                parse_tele_checked(item.payload)
        except PayloadError as error:
            refused.append((item.topic, str(error)))
    assert refused == []
    assert len(story.items) > 9 * len(story.region.devices)
