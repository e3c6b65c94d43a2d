"""The whole way, nothing made up: this machine's agent, a real broker, the collector, a person."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from playwright.sync_api import Browser, expect

from tests.bench.rig import HOST, ROOT, Rig
from tests.browser.conftest import open_page

RULES = b"""
[[rule]]
name = "memory-in-use"
select = { kind = "host", metric = "mem_pct" }
when = { above = 0.0 }
severity = "warning"
summary = { id = "Memori terpakai {value} % di {site}", en = "Memory in use {value} % at {site}" }
"""


@pytest.fixture
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = Rig(tmp_path_factory.mktemp("spine"), sites=2, rules={"rules/rules.toml": RULES})
    with (rig.folder / "region" / "devices.csv").open("a") as devices:
        devices.write("load-centre,agent-here,host\n")
    rig.broker.start()
    rig.start()
    yield rig
    rig.stop()
    rig.broker.stop()


@pytest.fixture
def agent(rig: Rig) -> Iterator[None]:
    command = [sys.executable, "-m", "collector.cli", "agent", "--broker", rig.broker.url]
    who = ["--site", "load-centre", "--device", "agent-here"]
    log = (rig.folder / "agent.log").open("wb")
    process = subprocess.Popen([*command, *who], stdout=log, stderr=log, cwd=ROOT)
    yield
    process.terminate()
    process.wait(10)


def test_what_the_agent_measures_becomes_an_alert_that_a_person_acknowledges(
    rig: Rig, agent: None, browser: Browser
) -> None:
    live = SimpleNamespace(url=f"http://{HOST}:{rig.http}")
    context, opened = open_page(browser, live, rig.make_token("operator"))
    page = opened.page
    row = page.locator("[data-id]").filter(has_text="Memori terpakai")
    expect(row).to_contain_text("Load centre", timeout=15_000)
    expect(row).to_contain_text("Aktif, belum ditanggapi")
    row.get_by_role("button", name="Tanggapi").click()
    page.keyboard.type("memang begitu")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(row).to_contain_text("Aktif, sudah ditanggapi")
    [alert] = rig.get("/api/v1/alerts")["alerts"]
    steps = rig.get(f"/api/v1/alerts/{alert['id']}/trail")["trail"]
    assert [(step["kind"], step["comment"]) for step in steps] == [("raised", ""), ("acked", "memang begitu")]

    page.select_option("#site", "load-centre")
    expect(page.locator('[data-metric="cpu_pct"] .metric-value')).to_contain_text("%")
    expect(page.locator("#chart canvas")).to_be_visible()
    assert opened.complaints == []
    context.close()
