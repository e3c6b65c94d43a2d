"""The spine, whole: a device publishes, the reading is stored, a rule raises, operators hear and answer."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiomqtt
import httpx
import pytest

from devices.client import ClientOptions, DeviceClient
from devices.model import Device, Event
from tests.bench.rig import HOST, Rig, balanced

SITE, ROUTER = "load-000000", "router-000000-0"
RULES = b"""
[[rule]]
name = "latency"
select = { kind = "router", metric = "latency_ms" }
when = { above = 100.0, clear_below = 80.0 }
severity = "major"
summary = { id = "{site} lambat: {value} ms", en = "{site} is slow: {value} ms" }
"""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = Rig(tmp_path_factory.mktemp("spine"), sites=3, rules={"rules/rules.toml": RULES})
    rig.broker.start()
    rig.start()
    yield rig
    assert rig.stop() < 10
    rig.broker.stop()


@pytest.fixture
async def api(rig: Rig) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {rig.make_token('operator')}"}
    async with httpx.AsyncClient(base_url=f"http://{HOST}:{rig.http}", headers=headers, timeout=20) as api:
        yield api


def device(rig: Rig) -> DeviceClient:
    return DeviceClient(ClientOptions(rig.broker.url), Device(SITE, ROUTER, "router"))


async def eventually(look: Any, true: Any, seconds: float = 10.0) -> Any:
    for _ in range(round(seconds / 0.05)):
        found = await look()
        if true(found):
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {found}")


async def alerts(api: httpx.AsyncClient, state: str = "active") -> list[dict[str, Any]]:
    return (await api.get("/api/v1/alerts", params={"state": state})).raise_for_status().json()["alerts"]


async def test_a_reading_goes_from_the_device_to_the_chart(rig: Rig, api: httpx.AsyncClient) -> None:
    async with device(rig) as client:
        client.publish_tele({"latency_ms": 12.5, "on_lte": False, "loss_pct": None})
        assert await client.drain(10)
        asked = {"site": SITE, "device": ROUTER, "metric": "latency_ms"}

        async def chart() -> dict[str, Any]:
            return (await api.get("/api/v1/series", params=asked)).json()

        found = await eventually(chart, lambda answer: answer.get("points"))
        assert [value for _, value in found["points"]] == [12.5]
        stats = (await api.get("/api/v1/stats")).json()
        assert balanced(stats)
        assert stats["stored"] >= 2  # the reading and the state
        devices = (await api.get("/api/v1/devices", params={"site": SITE})).json()["devices"]
        assert devices[0]["presence"] == "online"


async def test_an_alert_reaches_the_stream_and_an_operator_acknowledges_it(
    rig: Rig, api: httpx.AsyncClient
) -> None:
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def listen() -> None:
        async with api.stream("GET", "/api/v1/stream", timeout=None) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data:") and '"alert"' in line:
                    heard.put_nowait(json.loads(line[5:]))

    listener = asyncio.create_task(listen())
    await asyncio.sleep(0.5)
    async with device(rig) as client:
        client.publish_tele({"latency_ms": 150.0})
        raised = await asyncio.wait_for(heard.get(), 10)
        assert (raised["kind"], raised["alert"]["severity"]) == ("raised", "major")
        assert raised["alert"]["summary"]["id"] == "Load 0 lambat: 150 ms"
        path = f"/api/v1/alerts/{raised['alert']['id']}"
        answer = await api.post(f"{path}/ack", json={"comment": "tim ke lokasi"})
        assert answer.status_code == 200, answer.text
        assert (await asyncio.wait_for(heard.get(), 10))["comment"] == "tim ke lokasi"
        [active] = await alerts(api)
        assert (active["acked"], active["state"]) == (True, "acknowledged")
        client.publish_tele({"latency_ms": 90.0})  # between the limits nothing changes
        client.publish_tele({"latency_ms": 70.0})
        assert (await asyncio.wait_for(heard.get(), 10))["kind"] == "cleared"
        assert await alerts(api) == []
        trail = (await api.get(f"{path}/trail")).json()["trail"]
        assert [step["kind"] for step in trail] == ["raised", "acked", "cleared"]
        again = await api.post(f"{path}/ack", json={"comment": ""})
        assert again.status_code == 409
        assert "over" in again.json()["error"]
    listener.cancel()


async def test_events_states_and_the_will_are_in_the_accounts(rig: Rig, api: httpx.AsyncClient) -> None:
    before = rig.settle(0)
    async with device(rig) as client:
        client.publish_event(Event("dying_gasp", 1_764_000_000_000, {}))
        assert await client.drain(10)
    stats = rig.settle(before["received"] + 3)
    assert balanced(stats)
    assert stats["stored"] - before["stored"] == stats["received"] - before["received"]
    devices = (await api.get("/api/v1/devices", params={"site": SITE})).json()["devices"]
    assert devices[0]["presence"] == "offline"


async def test_what_the_collector_says_of_itself_holds(rig: Rig, api: httpx.AsyncClient) -> None:
    assert (await api.get("/healthz")).status_code == 200
    ready = await api.get("/readyz")
    assert ready.json()["ready"] is True
    figures = (await api.get("/metrics")).text
    stats = (await api.get("/api/v1/stats")).json()
    assert f"nagari_messages_received_total {float(stats['received'])}" in figures
    assert f"nagari_notes_sent_total {float(stats['notes_sent'])}" in figures
    assert stats["notes_sent"] >= 1, "the log heard of the alert"
    assert (stats["notes_lost"], stats["notes_waiting"]) == (0, 0)
    assert 'nagari_messages_total{fate="stored"}' in figures
    assert ROUTER not in figures
    listed = (await api.get("/api/v1/sites")).json()["sites"]
    assert len(listed) == 4
    assert "collector" not in (await api.get("/api/v1/devices")).text


def test_nobody_comes_in_without_a_token(rig: Rig) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"http://{HOST}:{rig.http}/api/v1/stats", timeout=5)


def test_a_second_collector_on_the_same_data_is_refused_in_one_sentence(rig: Rig) -> None:
    connects = rig.stats()["connects"]
    second = Rig(rig.folder / "second", sites=1, broker=rig.broker, data=rig.data)
    second.start(wait=False)
    assert second.process is not None
    assert second.process.wait(20) == 1
    said = (second.folder / "collector.log").read_text()
    assert "Traceback" not in said
    assert f"another collector (process {rig.pid}) has {rig.data}; stop it, or" in said
    assert rig.stats()["connects"] == connects  # it never came near the broker


async def test_nobody_speaks_for_the_collector_itself(rig: Rig, api: httpx.AsyncClient) -> None:
    before = rig.stats()
    async with aiomqtt.Client(HOST, rig.broker.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        topic = "nagari/v1/load-centre/collector/tele"
        await client.publish(topic, b'{"values": {"disk_full": true}}', qos=1)
    after = rig.settle(before["received"] + 1)
    assert after["quarantined"] == before["quarantined"] + 1
    rejects = rig.get("/api/v1/rejects")["rejects"]
    assert "the collector's own" in rejects[0]["reason"]
    assert await alerts(api) == []
