"""The map in a real Chromium: what stands where, how it is, and the way from there to devices and charts."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from devices.region import read_folder
from tests.bench.rig import HOST, Rig
from tests.browser.conftest import LivePage, open_page
from tests.unit import api_desk

CENTRE = "9901-pusat"
TENGAH = "9901012002"  # shares its point with the district's office
OFFICE = "990101"
MUARA = "9901022003"  # stands alone
SOON = 20_000  # ms: how the devices stand is asked every 12 s


@pytest.fixture
def desk(tmp_path: Path, region_ring: Path) -> Iterator[Any]:
    """The ring region: some of it heard, some fallen silent, the rest never heard."""
    desk = api_desk.Desk(tmp_path, files=read_folder(region_ring))
    now = time.time_ns()
    for site in (CENTRE, OFFICE, TENGAH, "9901022001"):
        for device in desk.region.devices_at(site):
            metric = {"host": "cpu_pct", "olt": "cpu_pct", "ont": "rx_dbm", "power": "mains_v"}
            name = metric.get(device.kind, "temperature_c" if device.kind == "climate" else "latency_ms")
            desk.readings(
                device.id, name, [(now - back * 10**9, 20.0 + back % 7) for back in range(60, 0, -5)]
            )
    desk.readings("router-9901022002", "latency_ms", [(now - 3600 * 10**9, 9.0)])
    yield desk
    desk.close()


def at(page: Page, *sites: str) -> Locator:
    """The marker of just these sites; the first named is the most senior."""
    return page.locator(f'.site[data-ids="{" ".join(sites)}"]')


def reveal(page: Page, site: str) -> Locator:
    """The site's own marker, after opening the one it shares as often as needed."""
    own = at(page, site)
    for _ in range(6):
        if own.count():
            break
        page.locator(f'.site[data-ids~="{site}"]').click()
        page.wait_for_timeout(900)
    expect(own).to_have_count(1)
    return own


def test_the_map_shows_areas_sites_and_how_they_stand(live_page: LivePage) -> None:
    page = live_page.page
    expect(page.locator(".area.district")).to_have_count(2)
    expect(page.locator(".area.small")).to_have_count(8)
    expect(at(page, "9901022002")).to_have_attribute("data-state", "silent")
    expect(at(page, MUARA)).to_have_attribute("data-state", "unknown")
    expect(at(page, MUARA)).to_have_attribute(
        "aria-label", "Muara: Nagari · Belum pernah terdengar · 0 dari 2 perangkat terdengar"
    )
    legend = page.locator("#legend-states")
    expect(legend.locator('[data-state="silent"]')).to_contain_text("Diam1")
    expect(legend.locator('[data-state="ok"]')).to_contain_text("Baik4")
    shapes = page.eval_on_selector_all(".face .mark use", "all => all.map(one => one.getAttribute('href'))")
    assert {"#ok", "#silent", "#unknown"} <= set(shapes), "a state has a shape, not only a colour"
    assert live_page.complaints == []


def test_a_marker_turns_with_its_worst_alert_and_back(live_page: LivePage) -> None:
    page, desk = live_page.page, live_page.live.desk
    marker = at(page, MUARA)
    expect(marker).to_have_attribute("data-state", "unknown")
    begun = time.monotonic()
    major = live_page.do(desk.raise_alert("ont-9901022003", site=MUARA, severity="major"))
    expect(marker).to_have_attribute("data-state", "major")
    assert time.monotonic() - begun < 1.0
    critical = live_page.do(desk.raise_alert("router-9901022003", "loss_pct", 100.0, "critical", MUARA))
    expect(marker).to_have_attribute("data-state", "critical")
    expect(marker).to_have_attribute("aria-label", re.compile("Kritis · 2 alarm terbuka"))
    expect(marker.locator("use").last).to_have_attribute("href", "#critical")
    expect(page.locator('#legend-states [data-state="critical"] .count')).to_have_text("1")

    live_page.do(desk.clear(critical.id))
    expect(marker).to_have_attribute("data-state", "major")
    live_page.do(desk.clear(major.id))
    expect(marker).to_have_attribute("data-state", "returned")
    expect(marker.locator(".mark.soft")).to_have_count(1)
    for alert in (critical, major):
        page.locator(f'[data-id="{alert.id}"] .ack').click()
        page.locator("#act-ack").click()
    expect(marker).to_have_attribute("data-state", "unknown")
    assert live_page.complaints == []


def test_only_the_marker_that_changed_is_touched(live_page: LivePage) -> None:
    page, desk = live_page.page, live_page.live.desk
    expect(at(page, MUARA)).to_have_count(1)
    page.evaluate(
        """() => { window.touched = new Set();
        new MutationObserver((all) => all.forEach((one) => {
          const site = (one.target.closest ? one.target : one.target.parentNode).closest(".site");
          if (site) window.touched.add(site.dataset.ids);
        })).observe(document.querySelector(".leaflet-marker-pane"),
          { subtree: true, childList: true, attributes: true, characterData: true }); }"""
    )
    live_page.do(desk.raise_alert("ont-9901022003", site=MUARA))
    expect(at(page, MUARA)).to_have_attribute("data-state", "major")
    assert page.evaluate("[...window.touched]") == [MUARA]


def test_presence_follows_without_a_reload(live_page: LivePage) -> None:
    page, desk = live_page.page, live_page.live.desk
    marker = at(page, MUARA)
    expect(marker).to_have_attribute("data-state", "unknown")
    desk.reading("router-9901022003", "latency_ms", 9.0)
    expect(marker).to_have_attribute("data-state", "ok", timeout=SOON)
    expect(marker).to_have_attribute("aria-label", re.compile("1 dari 2 perangkat terdengar"))


def test_a_site_that_is_clicked_shows_its_devices_chart_and_alerts(live_page: LivePage) -> None:
    page, desk = live_page.page, live_page.live.desk
    elsewhere = live_page.do(desk.raise_alert("ont-9901022003", site=MUARA, severity="critical"))
    here = live_page.do(desk.raise_alert("ont-9901012002", site=TENGAH, severity="minor"))
    reveal(page, TENGAH).click()
    expect(page.locator("#place-name")).to_have_text("Tengah")
    expect(page.locator("#place-words")).to_contain_text("Nagari · Minor · 1 alarm terbuka")
    expect(page.locator(".device")).to_have_count(2)
    expect(page.locator(".device").first).to_contain_text("ont, Daring")
    page.locator('[data-device="router-9901012002"]').click()
    expect(page.locator("#chart-title")).to_contain_text("Latensi · router-9901012002")
    expect(page.locator("#chart canvas")).to_be_visible()
    expect(at(page, TENGAH)).to_have_attribute("aria-current", "true")

    expect(page.locator(".alert.here")).to_have_attribute("data-id", here.id)
    page.locator("#only").click()
    expect(page.locator(".alert")).to_have_count(1)
    page.locator("#only").click()
    expect(page.locator(f'[data-id="{elsewhere.id}"]')).to_be_visible()
    page.locator("#map-home").click()
    page.locator("#map").focus()
    page.keyboard.press("Escape")
    expect(page.locator("#only")).to_be_hidden()
    expect(page.locator('.site[aria-current="true"]')).to_have_count(0)
    assert live_page.complaints == []


def test_sites_on_one_point_can_all_be_opened(live_page: LivePage) -> None:
    page = live_page.page
    shared = page.locator(f'.site[data-ids~="{OFFICE}"]')
    expect(shared).to_have_count(1)
    for site, name in ((OFFICE, "Kantor Camat Lingkar Barat"), (TENGAH, "Tengah")):
        reveal(page, site).click()
        expect(page.locator("#place-name")).to_have_text(name)
    boxes = [at(page, site).bounding_box() for site in (OFFICE, TENGAH)]
    assert all(boxes)
    assert abs(boxes[0]["x"] - boxes[1]["x"]) > 15, "they stand beside each other"  # type: ignore[index]


def test_a_shared_marker_shows_the_worst_and_how_many(browser: Browser, live: Any) -> None:
    token = live.desk.token("operator")
    context, opened = open_page(browser, live, token, viewport={"width": 390, "height": 844})
    page = opened.page
    page.wait_for_selector("#link.live")
    shared = page.locator(f'.site[data-ids~="{TENGAH}"]')
    for _ in range(4):
        if shared.locator(".many").count():
            break
        page.locator("#map-out").click()
        page.wait_for_timeout(700)
    live.do(live.desk.raise_alert("ont-9901012002", site=TENGAH, severity="critical"))
    expect(shared).to_have_attribute("data-state", "critical")
    count = len(str(shared.get_attribute("data-ids")).split())
    expect(shared.locator(".many")).to_have_text(str(count))
    expect(shared).to_have_attribute("aria-label", re.compile(rf"^{count} lokasi di .*; terburuk: Kritis$"))
    assert opened.complaints == []
    context.close()


def test_the_keyboard_reaches_a_site_and_opens_it(live_page: LivePage) -> None:
    page = live_page.page
    expect(at(page, MUARA)).to_have_count(1)
    page.locator("#map").focus()
    page.keyboard.press("Tab")
    seen = [page.evaluate("document.activeElement.dataset.ids")]
    assert seen[0], "Tab leads from the map to a site"
    for _ in range(12):
        if MUARA in seen[-1].split():
            break
        x = "document.activeElement.getBoundingClientRect()"
        here = page.evaluate(f"[{x}.x, {x}.y]")
        box = at(page, MUARA).bounding_box()
        assert box is not None
        dx, dy = box["x"] - here[0], box["y"] - here[1]
        key = (
            ("ArrowRight" if dx > 0 else "ArrowLeft")
            if abs(dx) > abs(dy)
            else ("ArrowDown" if dy > 0 else "ArrowUp")
        )
        page.keyboard.press(key)
        seen.append(page.evaluate("document.activeElement.dataset.ids"))
    assert MUARA in seen[-1].split(), seen
    page.keyboard.press("Enter")
    expect(page.locator("#place-name")).to_have_text("Muara")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("Muara: ")
    assert page.locator('.site[tabindex="0"]').count() == 1, (
        "the other sites are no stops on the way to the list"
    )


def test_an_alert_leads_to_its_site(live_page: LivePage) -> None:
    page, desk = live_page.page, live_page.live.desk
    alert = live_page.do(desk.raise_alert("ont-9901012002", site=TENGAH))
    page.locator(f'[data-id="{alert.id}"] .summary').click()
    expect(page.locator("#dialog")).to_be_visible()
    expect(at(page, TENGAH)).to_have_attribute("aria-current", "true")
    page.keyboard.press("Escape")
    expect(page.locator("#place-name")).to_have_text("Tengah")
    box, frame = at(page, TENGAH).bounding_box(), page.locator("#map").bounding_box()
    assert box is not None
    assert frame is not None
    assert frame["x"] < box["x"] < frame["x"] + frame["width"]


def test_the_language_changes_the_legend_and_the_markers(live_page: LivePage) -> None:
    page = live_page.page
    expect(page.locator("#legend-states")).to_contain_text("Belum pernah terdengar")
    page.click('.top [data-lang="en"]')
    expect(page.locator("#legend-states")).to_contain_text("Never heard")
    expect(page.locator("#legend-states")).not_to_contain_text("Belum pernah")
    expect(at(page, MUARA)).to_have_attribute("aria-label", re.compile("^Muara: Nagari · Never heard"))
    page.click("#legend-open")
    expect(page.locator("#legend-more")).to_contain_text("Fibre, as built")
    expect(page.locator("#legend-more")).to_contain_text("Fibre, planned")


def test_lte_is_hidden_until_it_is_wanted(live_page: LivePage) -> None:
    page = live_page.page
    expect(at(page, MUARA)).to_have_count(1)
    page.click("#legend-open")
    page.wait_for_timeout(600)
    assert lines(page, "--lte") == 0
    assert lines(page, "--fibre") > 100
    page.click('[data-layer="lte"]')
    page.wait_for_timeout(300)
    assert lines(page, "--lte") > 20
    page.click('[data-layer="fibre"]')
    page.wait_for_timeout(300)
    assert lines(page, "--fibre") < 40  # the closures' rims, if they show


def lines(page: Page, name: str) -> int:
    """How many points of the lines' canvas have the colour of that name."""
    return int(
        page.evaluate(
            """(name) => { const c = document.querySelector(".leaflet-links-pane canvas");
            const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
            const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
            const want = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
            let n = 0;
            for (let i = 0; i < d.length; i += 4)
              if (d[i + 3] > 120 && want.every((v, k) => Math.abs(d[i + k] - v) < 14)) n += 1;
            return n; }""",
            name,
        )
    )


def test_nothing_is_asked_of_anybody_else(browser: Browser, live: Any) -> None:
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{live.url}/#token={live.desk.token('viewer')}")
    expect(at(page, MUARA)).to_have_count(1)
    page.locator("#map-in").click()
    reveal(page, TENGAH).click()
    expect(page.locator("#place-name")).to_have_text("Tengah")
    page.click("#theme")
    assert [url for url in asked if not url.startswith((live.url, "data:"))] == []
    assert not [url for url in asked if url.endswith((".png", ".map"))]
    assert complaints == []
    page.reload()
    with page.expect_response("**/api/v1/boundaries") as answer:
        pass
    assert answer.value.status in {200, 304}
    context.close()


def test_a_region_without_places_has_no_map_and_all_the_rest(browser: Browser, tmp_path: Path) -> None:
    bare = {
        **api_desk.FILES,
        "sites.csv": re.sub(rb"100\.\d+,-0\.\d+", b",", api_desk.FILES["sites.csv"]),
    }
    desk = api_desk.Desk(tmp_path, files=bare)
    with api_desk.serving(desk) as live:
        context, opened = open_page(browser, live, desk.token("operator"))
        page = opened.page
        page.wait_for_selector("#link.live")
        live.do(desk.raise_alert())
        expect(page.locator(".alert")).to_have_count(1)
        expect(page.locator("#map-panel")).to_be_hidden()
        page.select_option("#site", "1305012001")
        expect(page.locator(".device")).to_have_count(2)
        assert opened.complaints == []
        context.close()
    desk.close()


RULE = b"""
[[rule]]
name = "slow"
select = { kind = "router", metric = "latency_ms" }
when = { above = 100.0, clear_below = 90.0 }
severity = "critical"
summary = { id = "{site} lambat: {value} ms", en = "{site} is slow: {value} ms" }
"""


@pytest.fixture
def rig(tmp_path: Path, region_ring: Path) -> Iterator[Rig]:
    """A real broker and a real collector over the ring region."""
    rig = Rig(tmp_path / "rig", sites=1)
    shutil.rmtree(rig.folder / "region")
    shutil.rmtree(region_ring / "rules")
    (region_ring / "rules").mkdir()
    (region_ring / "rules" / "slow.toml").write_bytes(RULE)
    shutil.copytree(region_ring, rig.folder / "region")
    rig.broker.start()
    rig.start()
    yield rig
    rig.end()


def test_from_a_devices_message_to_its_marker(rig: Rig, browser: Browser) -> None:
    live = SimpleNamespace(url=f"http://{HOST}:{rig.http}")
    context, opened = open_page(browser, live, rig.make_token("operator"))
    marker = at(opened.page, MUARA)
    expect(marker).to_have_attribute("data-state", "unknown")
    send(rig, 9.0)
    expect(marker).to_have_attribute("data-state", "ok", timeout=SOON)
    send(rig, 140.0)
    begun = time.monotonic()
    expect(marker).to_have_attribute("data-state", "critical")
    assert time.monotonic() - begun < 1.5
    send(rig, 9.0)
    expect(marker).to_have_attribute("data-state", "returned")
    marker.click()
    expect(opened.page.locator("#chart-title")).to_contain_text("Latensi · router-9901022003")
    assert opened.complaints == []
    context.close()


def send(rig: Rig, latency: float) -> None:
    """A reading of Muara's router, as the device would send it."""
    code = (
        "import sys, paho.mqtt.publish as p;"
        "p.single(sys.argv[1], sys.argv[2], qos=1, hostname=sys.argv[3], port=int(sys.argv[4]))"
    )
    host, port = rig.broker.url.removeprefix("mqtt://").split(":")
    topic = f"nagari/v1/{MUARA}/router-9901022003/tele"
    body = f'{{"values": {{"latency_ms": {latency}}}}}'
    subprocess.run([sys.executable, "-c", code, topic, body, host, port], check=True)
