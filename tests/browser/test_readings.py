"""The readings' panel in a real Chromium: what stands under a site's name is that site's."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import expect

LUBUK_ALUNG, PASIE_LAWEH, CENTRE = "1305012001", "1305012002", "1305-kominfo"


def test_while_a_sites_devices_are_on_their_way_none_of_another_stand_under_its_name(live_page: Any) -> None:
    page = live_page.page
    page.select_option("#site", LUBUK_ALUNG)
    expect(page.locator("#chart-title")).to_contain_text("lubuk-alung-ont")
    page.evaluate(
        """() => { const real = fetch; window.fetch = async (url, options) => {
          if (String(url).includes("/devices")) await new Promise((done) => setTimeout(done, 4000));
          return real(url, options); }; }"""
    )
    page.select_option("#site", CENTRE)
    expect(page.locator("#place-name")).to_have_text("Pusat data Kominfo")
    expect(page.locator("#chart-note")).to_have_text("Memuat perangkat lokasi ini…")
    for part in ("#devices", "#metrics", "#chart-title", "#chart"):
        expect(page.locator(part)).to_have_text("", timeout=100)
    expect(page.locator("#chart-title")).to_contain_text("centre-host")
    expect(page.locator("#devices button")).to_have_count(1)


def test_of_two_sites_chosen_in_turn_the_last_one_is_shown_however_late_the_first_comes(
    live_page: Any,
) -> None:
    page = live_page.page
    page.evaluate(
        """() => { const real = fetch; window.fetch = async (url, options) => {
          if (String(url).includes("site=1305012001")) await new Promise((done) => setTimeout(done, 1500));
          return real(url, options); }; }"""
    )
    page.select_option("#site", LUBUK_ALUNG)
    page.select_option("#site", PASIE_LAWEH)
    expect(page.locator("#devices")).to_contain_text("pasie-laweh-ont")
    page.wait_for_timeout(2500)
    expect(page.locator("#devices")).not_to_contain_text("lubuk-alung")
    expect(page.locator("#place-name")).to_have_text("Pasie Laweh")


def test_devices_that_cannot_be_had_are_said_so_and_come_by_themselves_later(live_page: Any) -> None:
    page = live_page.page
    page.route(lambda url: "/api/v1/devices" in url, lambda route: route.abort())
    page.select_option("#site", LUBUK_ALUNG)
    expect(page.locator("#chart-note")).to_have_text(
        "Perangkat lokasi ini tidak dapat dimuat: kolektor tidak terjangkau"
    )
    page.unroute_all()
    expect(page.locator("#chart-title")).to_contain_text("lubuk-alung-ont", timeout=25_000)


def test_an_action_without_an_answer_ends_with_a_word_that_says_it_may_have_been_done(live_page: Any) -> None:
    page = live_page.page
    alert = live_page.do(live_page.live.desk.raise_alert())
    page.click('.top [data-lang="en"]')
    page.evaluate(
        "AbortSignal.timeout = () => { const end = new AbortController();"
        "setTimeout(() => end.abort(new DOMException('late', 'TimeoutError')), 500); return end.signal; }"
    )
    page.locator(f'[data-id="{alert.id}"] .ack').click()
    page.evaluate(
        """() => { const real = fetch; window.fetch = (url, options) => String(url).endsWith("/ack")
          ? new Promise((_, no) => options.signal.addEventListener("abort", () => no(options.signal.reason)))
          : real(url, options); }"""
    )
    page.click("#act-ack")
    expect(page.locator("#dialog-error")).to_contain_text(
        "no answer within 15 seconds. It may have been done"
    )
    expect(page.locator("#act-ack")).to_be_enabled()
