"""A page in a real Chromium, signed in, over a collector that a test can move."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.unit import api_desk

CHROMIUM = Path("/usr/bin/chromium")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-quic",
    "--no-first-run",
]
QUIET += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")  # no longer: Playwright's own loop would stand in the way of asyncio tests
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.fail("chromium is not installed: `make servers`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Any]:
    """A collector in memory with some readings of the last two hours."""
    desk = api_desk.Desk(tmp_path)
    now = time.time_ns()
    for device, metric, middle in (
        ("lubuk-alung-ont", "rx_dbm", -21.0),
        ("lubuk-alung-ont", "temperature_c", 48.0),
        ("lubuk-alung-rtr", "latency_ms", 9.0),
        ("centre-host", "cpu_pct", 22.0),
    ):
        points = [
            (now - back * 10**9, round(middle + math.sin(back / 400) + (back % 70) / 100, 3))
            for back in range(7200, 0, -10)
            if not 1500 < back < 1900
        ]
        desk.readings(device, metric, points)
    desk.online = {"lubuk-alung-ont": "online", "lubuk-alung-rtr": "offline", "centre-host": "online"}
    yield desk
    desk.close()


@pytest.fixture
def live(desk: Any) -> Iterator[Any]:
    """The desk behind a real server."""
    with api_desk.serving(desk) as live:
        yield live


@dataclass
class LivePage:
    """The page, the server behind it, and what the browser complained of."""

    page: Page
    live: Any
    complaints: list[str]

    def do(self, what: Any) -> Any:
        """Let the collector do something."""
        return self.live.do(what)


def open_page(browser: Browser, live: Any, token: str, **options: Any) -> tuple[BrowserContext, LivePage]:
    """The page in a context of its own, opened by a link that holds the token."""
    context = browser.new_context(locale="id-ID", **{"viewport": {"width": 1280, "height": 800}, **options})
    page = context.new_page()
    complaints: list[str] = []
    page.on(
        "console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{live.url}/#token={token}")
    return context, LivePage(page, live, complaints)


@pytest.fixture
def live_page(browser: Browser, live: Any) -> Iterator[LivePage]:
    """Signed in as an operator."""
    context, page = open_page(browser, live, live.desk.token("operator", "Rina"))
    page.page.wait_for_selector("#link.live")
    yield page
    context.close()
