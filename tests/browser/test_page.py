"""The operators' page in a real Chromium: what somebody on a night shift sees and does."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

from playwright.sync_api import Browser, expect


def test_an_alert_appears_by_itself_and_is_acknowledged_with_a_comment(live_page: Any) -> None:
    page, desk = live_page.page, live_page.live.desk
    expect(page.locator("#none")).to_have_text("Tidak ada alarm. Semua normal.")
    assert "token" not in page.url, "the token leaves the address bar"

    alert = live_page.do(desk.raise_alert())
    row = page.locator(f'[data-id="{alert.id}"]')
    expect(row).to_contain_text("Nilai rx_dbm -28.5 di lubuk-alung-ont")
    expect(row).to_contain_text("Lubuk Alung")
    expect(row).to_contain_text("Mayor")
    expect(row).to_contain_text("Aktif, belum ditanggapi")
    expect(page).to_have_title("(1) Nagari")

    row.get_by_role("button", name="Tanggapi").click()
    expect(page.locator("#comment")).to_be_focused()
    page.keyboard.type("Tim sudah berangkat <b>")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(row).to_contain_text("Aktif, sudah ditanggapi")
    expect(page).to_have_title("Nagari")
    steps = desk.state.trail(alert.id)
    assert [(s.decision.change, s.decision.by, s.decision.comment) for s in steps][1:] == [
        ("acked", "Rina", "Tim sudah berangkat <b>")
    ]

    row.locator(".summary").click()
    expect(page.locator("#trail")).to_contain_text("Ditanggapi · Rina")
    expect(page.locator("#trail")).to_contain_text("Tim sudah berangkat <b>")
    page.keyboard.press("Escape")
    live_page.do(desk.clear(alert.id))
    expect(row).to_have_count(0)
    assert live_page.complaints == []


def test_a_shelved_alert_is_not_announced_until_it_leaves_the_shelf(live_page: Any) -> None:
    page, desk = live_page.page, live_page.live.desk
    held = live_page.do(desk.raise_alert(holds=("shelved",)))
    expect(page.locator(f'[data-id="{held.id}"]')).to_contain_text("Nilai rx_dbm -28.5")
    expect(page.locator("#news")).to_have_text("")
    live_page.do(desk.unshelve(held.id))
    expect(page.locator("#news")).to_contain_text("Nilai rx_dbm -28.5")


def test_the_chart_draws_and_follows_live(live_page: Any) -> None:
    page, desk = live_page.page, live_page.live.desk
    page.select_option("#site", "1305012001")
    expect(page.locator("#chart canvas")).to_be_visible()
    expect(page.locator("#chart-title")).to_contain_text("Daya terima · lubuk-alung-ont")
    assert _inked(page) > 200
    desk.reading("lubuk-alung-ont", "rx_dbm", -23.45)
    expect(page.locator('[data-metric="rx_dbm"] .metric-value')).to_have_text("-23,45 dBm")
    expect(page.locator("#chart-title")).to_contain_text("-23,45 dBm")
    page.click('[data-range="86400"]')
    expect(page.locator("#chart-note")).to_contain_text("bidang samar")
    assert _inked(page) > 50
    assert live_page.complaints == []


def _inked(page: Any) -> int:
    return int(
        page.evaluate(
            """() => { const c = document.querySelector("#chart canvas");
            const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
            let n = 0;
            const accent = getComputedStyle(document.documentElement).getPropertyValue("--accent").trim();
            const want = [1, 3, 5].map((i) => parseInt(accent.slice(i, i + 2), 16));
            for (let i = 0; i < d.length; i += 4)
              if (d[i + 3] > 200 && want.every((v, k) => Math.abs(d[i + k] - v) < 24)) n += 1;
            return n; }"""
        )
    )


def test_a_lost_connection_is_said_loudly_and_mends_itself(browser: Browser, live_page: Any) -> None:
    page, desk = live_page.page, live_page.live.desk
    page.context.set_offline(True)
    live_page.live.loop.call_soon_threadsafe(_cut_streams, desk.hub)
    expect(page.locator("#lost")).to_contain_text("terputus sejak", timeout=15_000)
    expect(page.locator("#link")).to_have_text("Terputus")
    assert "is-lost" in (page.locator("body").get_attribute("class") or "")
    missed = live_page.do(desk.raise_alert())
    page.context.set_offline(False)
    expect(page.locator("#link")).to_have_text("Langsung", timeout=20_000)
    expect(page.locator("#lost")).to_be_hidden()
    expect(page.locator(f'[data-id="{missed.id}"]')).to_be_visible()


def _cut_streams(hub: Any) -> None:
    hub.close()
    # The streams end at their next step; then the hub takes clients again, as a restarted collector would.
    asyncio.get_running_loop().call_later(0.5, setattr, hub, "closed", False)


def test_a_part_in_trouble_is_named_with_its_reason(live_page: Any) -> None:
    live_page.live.desk.parts["store"] = "tidak menulis: disk penuh"
    tile = live_page.page.locator(".tile.bad")
    expect(tile).to_contain_text("Penyimpanan")
    expect(tile).to_contain_text("tidak menulis: disk penuh")
    expect(live_page.page.locator(".tile.ok")).to_have_count(2)


def test_the_storage_is_one_figure_where_there_is_a_contract(live_page: Any) -> None:
    page, desk = live_page.page, live_page.live.desk
    expect(page.locator("#health")).not_to_contain_text("Kapasitas")
    desk.storage_stats = {"storage_used_pct": 81.3, "storage_alarm": 1}
    expect(page.locator("#health .tile.bad")).to_contain_text("81,3")


def test_the_other_language_and_theme_are_chosen_and_kept(live_page: Any) -> None:
    page = live_page.page
    alert = live_page.do(live_page.live.desk.raise_alert())
    page.click('.top [data-lang="en"]')
    row = page.locator(f'[data-id="{alert.id}"]')
    expect(row).to_contain_text("rx_dbm is -28.5 at lubuk-alung-ont")
    expect(row).to_contain_text("Active, not acknowledged")
    before = page.locator("html").get_attribute("data-theme")
    page.click("#theme")
    page.reload()
    expect(page.locator("#link")).to_have_text("Live")
    expect(row).to_contain_text("Active, not acknowledged")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    assert page.locator("html").get_attribute("data-theme") != before
    assert not re.search(r"\{\w+\}|undefined|null|NaN", page.locator("#desk").inner_text())


def test_the_filters_narrow_the_list(live_page: Any) -> None:
    page, desk = live_page.page, live_page.live.desk
    live_page.do(desk.raise_alert(severity="critical"))
    live_page.do(desk.raise_alert("pasie-laweh-ont", site="1305012002", severity="minor"))
    expect(page.locator(".alert")).to_have_count(2)
    expect(page.locator(".alert").first).to_contain_text("Kritis")
    page.locator("#severities").get_by_role("button", name=re.compile("Kritis")).click()
    expect(page.locator(".alert")).to_have_count(1)
    page.fill("#search", "lubuk")
    expect(page.locator("#none")).to_have_text("Tidak ada alarm yang cocok dengan saringan.")
    page.fill("#search", "pasie laweh")
    expect(page.locator(".alert")).to_have_count(1)


def test_a_viewer_sees_everything_and_is_offered_nothing_to_do(browser: Browser, live: Any) -> None:
    context = _open(browser, live, live.desk.token("viewer", "Andi"))
    page = context.pages[0]
    alert = live.do(live.desk.raise_alert())
    page.locator(f'[data-id="{alert.id}"] .summary').click()
    expect(page.locator("#trail")).to_contain_text("Alarm timbul")
    expect(page.locator("#dialog-act")).to_be_hidden()
    expect(page.locator(".ack")).to_have_count(0)
    context.close()


def _open(browser: Browser, live: Any, token: str) -> Any:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(f"{live.url}/#token={token}")
    page.wait_for_selector("#link.live")
    return context


def test_signing_in_by_hand_and_out_again(browser: Browser, live: Any) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(live.url)
    page.get_by_label("Token").fill("salah")
    page.get_by_role("button", name="Masuk").click()
    expect(page.locator("#signin-error")).to_contain_text("Token ini tidak berlaku")
    page.get_by_label("Token").fill(live.desk.token("operator", "Rina"))
    page.keyboard.press("Enter")
    expect(page.locator("#who")).to_have_text("Rina · operator")
    page.reload()
    expect(page.locator("#who")).to_have_text("Rina · operator")
    page.click("#signout")
    expect(page.locator("#signin")).to_be_visible()
    page.reload()
    expect(page.locator("#signin")).to_be_visible()
    context.close()


def test_a_revoked_token_ends_the_page_with_a_word(browser: Browser, live_page: Any) -> None:
    state = live_page.live.desk.state
    for token in state.list_tokens():
        state.revoke(token.id, time.time_ns())
    live_page.live.loop.call_soon_threadsafe(_cut_streams, live_page.live.desk.hub)
    expect(live_page.page.locator("#signin-error")).to_have_text(
        "Sesi berakhir. Silakan masuk lagi.", timeout=20_000
    )


def test_a_name_from_the_field_is_text_and_never_markup(live_page: Any) -> None:
    page = live_page.page
    live_page.do(live_page.live.desk.raise_alert(device="<img src=x onerror=alert(1)>"))
    expect(page.locator(".alert")).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator(".alert img").count() == 0
    assert live_page.complaints == []


def test_nothing_is_wider_than_a_phone(browser: Browser, live: Any) -> None:
    for _ in range(3):
        live.do(
            live.desk.raise_alert(device="a-very-long-device-name-that-goes-on-and-on-and-on-for-64-letters")
        )
    context = _open(browser, live, live.desk.token("operator"))
    page = context.pages[0]
    expect(page.locator(".alert")).to_have_count(3)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()
