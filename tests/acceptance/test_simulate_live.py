"""`nagari simulate` at speed 1 against a real mosquitto: a subscriber sees what the simulation says."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from collector.broker import Mosquitto, free_port
from devices.client import ClientOptions
from devices.model import Command
from devices.payload.native import encode_command
from devices.region import load, read_folder
from devices.signing import sign
from simulators.live import Live
from simulators.publisher import Item
from simulators.scenario import Scenario, parse
from simulators.simulation import Simulation
from tests.bench.rig import ROOT

KEY = b"0123456789abcdef0123456789abcdef"
CUT, MENDED, END = 6.0, 34.0, 44.0
STORY = f"""
name = "story"
duration = "{END:g}s"
[habits]
switched_off = 0.0
[every]
router = "1s"
ont = "2s"
[[fault]]
kind = "fibre_cut"
link = ["fo-9901012001-odp", "fo-9901012002-jc-01"]
at = "{CUT:g}s"
for = "{MENDED - CUT:g}s"
"""


@dataclass
class Ear:
    """A subscriber on everything: (epoch seconds, topic, payload, retained)."""

    heard: list[tuple[float, str, bytes, bool]] = field(default_factory=list)

    def on(self, device: str, suffix: str) -> list[tuple[float, bytes]]:
        return [
            (at, payload) for at, topic, payload, _ in self.heard if topic.endswith(f"/{device}/{suffix}")
        ]

    def states(self, device: str) -> list[str]:
        return [payload.decode() for _, payload in self.on(device, "state")]

    def tele(self, device: str) -> list[tuple[float, dict[str, Any]]]:
        return [(at, json.loads(payload)) for at, payload in self.on(device, "tele")]

    def acks(self) -> list[tuple[str, str, str]]:
        found = [json.loads(p) for _, topic, p, _ in self.heard if topic.endswith("/ack")]
        return [(each["id"], each["status"], each["detail"]) for each in found]


@asynccontextmanager
async def listening(port: int) -> AsyncIterator[tuple[Ear, aiomqtt.Client]]:
    ear = Ear()
    async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe("nagari/v1/#", qos=1)

        async def run() -> None:
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                ear.heard.append((time.time(), message.topic.value, message.payload, bool(message.retain)))

        task = asyncio.create_task(run())
        try:
            yield ear, client
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.02)


@dataclass
class Evening:
    """One run of the command, from start to end."""

    ear: Ear
    late: Ear  # who subscribed in the middle of it
    said: str
    code: int
    truth: dict[str, Any]


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evening]:
    folder = tmp_path_factory.mktemp("live")
    broker = Mosquitto(folder / "mosquitto", free_port())
    broker.start()
    try:
        yield asyncio.run(run_through(folder, broker))
    finally:
        broker.stop()


async def run_through(folder: Path, broker: Mosquitto) -> Evening:
    shutil.copytree(ROOT / "tests" / "regions" / "ring", folder / "ring")
    (folder / "story.toml").write_text(STORY)
    (folder / "secrets").mkdir()
    for publisher in ("router-9901012001", "router-990101"):
        (folder / "secrets" / f"{publisher}.key").write_bytes(KEY)
        (folder / "secrets" / f"{publisher}.key").chmod(0o600)
    command = [sys.executable, "-m", "collector.cli", "simulate", "--broker", broker.url]
    command += [
        "--region",
        "ring",
        "--secrets",
        "secrets",
        "--scenario",
        "story.toml",
        "--truth",
        "truth.json",
    ]
    async with listening(broker.port) as (ear, client):
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            await until(lambda: len(ear.tele("router-9901012001")) > 1, 20)
            await give_commands(client)
            async with listening(broker.port) as (late, _):
                await until(lambda: sum(kept for *_, kept in late.heard) >= 13, 10)
            said, _ = await asyncio.wait_for(process.communicate(), END + 30)
        finally:
            if process.returncode is None:
                process.kill()
        await asyncio.sleep(0.5)
    truth = json.loads((folder / "truth.json").read_text("utf-8"))
    return Evening(ear, late, said.decode(), process.returncode or 0, truth)


async def give_commands(client: aiomqtt.Client) -> None:
    def order(id_: str, name: str, device: str, site: str, key: bytes = KEY, **args: object) -> bytes:
        command = Command(id_, name, args, int((time.time() + 30) * 1000))
        return encode_command(sign(command, site, device, key))

    for site, device, payload in (
        ("990101", "power-990101", order("c1", "shed_load", "power-990101", "990101")),
        ("990101", "router-990101", order("c2", "switch_uplink", "router-990101", "990101", to="moon")),
        ("990101", "router-990101", order("c3", "reboot", "router-990101", "990101", b"another")),
        ("9901022001", "router-9901022001", order("c4", "reboot", "router-9901022001", "9901022001")),
    ):
        await client.publish(f"nagari/v1/{site}/{device}/cmd", payload, qos=1)


def test_every_publisher_says_online_and_who_subscribes_later_finds_it_retained(evening: Evening) -> None:
    region = load(read_folder(ROOT / "tests" / "regions" / "ring"))
    publishers = [device.id for device in region.devices.values() if not device.via]
    assert [name for name in publishers if evening.ear.states(name)[:1] != ["online"]] == []
    retained = {topic: payload for _, topic, payload, kept in evening.late.heard if kept}
    assert retained == {
        f"nagari/v1/{region.devices[name].site}/{name}/state": b"online" for name in publishers
    }


def test_every_device_is_heard_dated_now(evening: Evening) -> None:
    region = load(read_folder(ROOT / "tests" / "regions" / "ring"))
    for device in region.devices:
        assert evening.ear.tele(device), device
    lags = [at - payload["ts"] / 1000 for at, payload in evening.ear.tele("router-9901012001")]
    assert max(lags) < 5
    assert min(lags) > -0.1


def test_who_is_cut_off_is_said_to_be_offline_by_its_will_and_comes_back(evening: Evening) -> None:
    states = evening.ear.states("router-9901012002")
    assert states == ["online", "offline", "online", "offline"]
    assert evening.ear.states("router-9901012001") == ["online", "offline"]  # the last on leaving
    assert evening.ear.states("router-990101")[:3] == ["online", "offline", "online"]


def test_what_was_measured_meanwhile_comes_afterwards_in_order_and_once(evening: Evening) -> None:
    heard = evening.ear.tele("router-9901012002")
    assert [payload["seq"] for _, payload in heard] == list(range(len(heard)))
    late = [payload["ts"] for at, payload in heard if at - payload["ts"] / 1000 > 2]
    assert len(late) > 20
    assert {after - before for before, after in pairwise(late)} == {1000}
    on_lte = [payload["values"]["on_lte"] for _, payload in evening.ear.tele("router-990101")]
    assert {True, False} == set(on_lte)


def test_signed_commands_are_obeyed_and_answered_and_others_are_not(evening: Evening) -> None:
    acks = evening.ear.acks()
    assert [each for each in acks if each[0] == "c1"] == [("c1", "accepted", ""), ("c1", "done", "load shed")]
    assert ("c2", "failed", "to is 'moon'; it is one of lte, fibre, auto") in acks
    assert ("c3", "rejected", "altered") in acks
    assert ("c4", "rejected", "no_key") in acks
    assert len(acks) == 6
    loads = [payload["values"]["load_w"] for _, payload in evening.ear.tele("power-990101")]
    assert max(loads[1:]) < 0.6 * loads[0]


def test_it_says_what_breaks_and_writes_the_truth_and_says_farewell(evening: Evening) -> None:
    assert evening.code == 0, evening.said
    assert "00:00:06  ▲ fibre_cut (link fo-9901012001-odp;fo-9901012002-jc-01, 10 sites)" in evening.said
    assert f"00:00:{MENDED:g}  ✓ over: fibre_cut" in evening.said
    (fault,) = evening.truth["faults"]
    assert (fault["from"], fault["to"]) == (CUT, MENDED)
    assert evening.truth["duration_s"] == END
    begun = datetime.fromisoformat(evening.truth["start"]).timestamp()
    assert abs(begun - evening.ear.heard[0][0]) < 10
    last = {topic: payload for _, topic, payload, _ in evening.ear.heard if topic.endswith("/state")}
    assert set(last.values()) == {b"offline"}
    tele = [topic for _, topic, _, _ in evening.ear.heard if topic.endswith(("/tele", "/event"))]
    assert len(tele) == evening.truth["messages"]


async def test_what_arrives_is_to_the_byte_what_virtual_time_yields(mosquitto: Mosquitto) -> None:
    region = load(read_folder(ROOT / "tests" / "regions" / "ring"))
    plan = parse(
        b'name = "x"\nduration = "1h"\n[every]\nrouter = "0.5s"\nont = "0.5s"\npower = "0.5s"\n'
        b'[[fault]]\nkind = "mass_reconnect"\narea = "990101"\nat = "8s"\n'
        b'[[fault]]\nkind = "duplicate"\narea = "990102"\nat = "6s"\n'
        b'[[fault]]\nkind = "poison"\ndevice = "router-990101"\npayload = "not_utf8"\nat = "9s"\n',
        region,
    )
    start = datetime(2026, 1, 12, 1, 0, tzinfo=UTC)

    def twin() -> Simulation:
        return Simulation(region, plan, seed=11, start=start)

    async with listening(mosquitto.port) as (ear, _):
        live = Live(twin(), lambda device: ClientOptions(mosquitto.url))
        await live.run(asyncio.Event(), 14.0)
        wanted = [item for item in twin().until(14_000) if item.topic]
        await until(lambda: len(ear.heard) >= len(wanted) + 13, 10)
    assert live.messages == sum(item.what == "publish" for item in wanted) > 500
    assert by_topic((topic, payload) for _, topic, payload, _ in ear.heard) == with_farewell(wanted, region)


def by_topic(messages: Any) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = defaultdict(list)
    for topic, payload in messages:
        found[topic].append(payload)
    return found


def with_farewell(items: list[Item], region: Any) -> dict[str, list[bytes]]:
    found = by_topic((item.topic, item.payload) for item in items)
    for topic, payloads in found.items():
        if topic.endswith("/state"):
            assert payloads[-1] == b"online"
            payloads.append(b"offline")
    return found


async def test_it_leaves_when_told_and_everybody_is_offline(mosquitto: Mosquitto, region_ring: Path) -> None:
    (region_ring / "scenarios").mkdir()
    (region_ring / "scenarios" / "awake.toml").write_text('name = "awake"\n[habits]\nswitched_off = 0.0\n')
    command = [sys.executable, "-m", "collector.cli", "simulate", "--broker", mosquitto.url]
    command += ["--region", str(region_ring), "--scenario", "awake", "--json"]
    async with listening(mosquitto.port) as (ear, _):
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            await until(lambda: sum(t.endswith("/state") for _, t, _, _ in ear.heard) == 13, 20)
            process.send_signal(signal.SIGTERM)
            said, _ = await asyncio.to_thread(process.communicate, timeout=20)
        finally:
            process.kill()
        await until(lambda: Counter(p for *_, p, _ in ear.heard)[b"offline"] == 13, 5)
    assert process.returncode == 0
    assert json.loads(said)["scenario"] == "awake"


async def test_nothing_is_lost_while_nobody_has_subscribed_yet(mosquitto: Mosquitto) -> None:
    region = load(read_folder(ROOT / "tests" / "regions" / "ring"))
    sim = Simulation(region, Scenario("x", switched_off=0.0, every={"router": 1.0}), seed=2)
    live = Live(sim, lambda device: ClientOptions(mosquitto.url))
    run = asyncio.create_task(live.run(asyncio.Event(), 12.0))
    await asyncio.sleep(9)
    async with listening(mosquitto.port) as (ear, _):
        await run
        await until(lambda: sum(t.endswith("/tele") for _, t, _, _ in ear.heard) >= live.messages, 5)
    seqs = [payload["seq"] for _, payload in ear.tele("router-9901012001")]
    assert seqs == list(range(len(seqs)))
    assert len(seqs) > 5
