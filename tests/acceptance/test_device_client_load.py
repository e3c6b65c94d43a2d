"""The load engine against a real mosquitto: every message a valid live reading, every PUBACK accounted."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import aiomqtt
import pytest

from collector.alarms.rules import parse_rules
from collector.broker import Mosquitto
from devices.payload.native import parse_tele_checked
from devices.problems import Problems
from devices.region import load, read_folder
from devices.topics import parse
from simulators.figures import FIGURES
from simulators.load import LoadOptions, LoadResult, Source, routers, run_load, sources
from simulators.regions import write_region

SHIPPED = Path(__file__).resolve().parents[2] / "deploy" / "padang-pariaman"


async def heard_while(broker: Mosquitto, options: LoadOptions) -> tuple[list[tuple[str, bytes]], LoadResult]:
    """What a subscriber hears during a run, until nothing has come for half a second."""
    async with aiomqtt.Client("127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe("nagari/v1/+/+/tele", qos=1)
        run = asyncio.create_task(run_load(options))
        heard: list[tuple[str, bytes]] = []
        while True:
            try:
                message = await asyncio.wait_for(anext(client.messages), 0.5)
            except TimeoutError:
                if run.done():
                    return heard, run.result()
                continue
            assert isinstance(message.payload, bytes)
            heard.append((message.topic.value, message.payload))


@pytest.mark.parametrize(("rate", "connections"), [(0, 1), (4000, 3)])
async def test_what_is_acknowledged_is_what_arrives_and_all_of_it_is_valid_and_live(
    mosquitto: Mosquitto, tmp_path: Path, rate: float, connections: int
) -> None:
    region = write_region(tmp_path / "region", 25)
    began = time.time() * 1000
    heard, result = await heard_while(
        mosquitto,
        LoadOptions(
            mosquitto.url,
            routers(region),
            rate=rate,
            count=4001,
            connections=connections,
            first_seq=2**32 - 5,
            record=True,
        ),
    )
    assert (result.sent, result.acked, result.refused, result.lost) == (4001, 4001, 0, "")
    times = defaultdict(list)
    arrived = []
    for topic, payload in heard:
        address = parse(topic)
        (tele,) = parse_tele_checked(payload, address)
        assert region.devices[address.device].site == address.site
        assert list(tele["values"]) == ["latency_ms", "loss_pct", "jitter_ms", "rx_bps", "tx_bps"]
        arrived.append((address.device, tele["seq"]))
        times[address.device].append(tele["ts"])
    assert sorted(arrived) == sorted(result.recorded)
    assert len(set(arrived)) == 4001
    for stamps in times.values():
        assert all(before < after for before, after in pairwise(stamps))
        assert began <= stamps[0]
        assert stamps[-1] <= time.time() * 1000 + 200


async def test_every_kind_of_device_says_what_is_its_own(mosquitto: Mosquitto, tmp_path: Path) -> None:
    region = write_region(tmp_path / "region", 10, tuple(FIGURES))
    number = len(sources(region))
    heard, result = await heard_while(
        mosquitto, LoadOptions(mosquitto.url, sources(region), count=3 * number)
    )
    assert result.acked == 3 * number == len(heard)
    for topic, payload in heard:
        address = parse(topic)
        (tele,) = parse_tele_checked(payload, address)
        figures = FIGURES[region.devices[address.device].kind]
        assert list(tele["values"]) == [figure.name for figure in figures[:5]]


async def test_one_device_takes_at_most_a_thousand_a_second(mosquitto: Mosquitto) -> None:
    options = LoadOptions(mosquitto.url, [Source("s1", "r1")], duration=0.5, record=True)
    heard, result = await heard_while(mosquitto, options)
    stamps = [json.loads(payload)["ts"] for _, payload in heard]
    assert len(set(stamps)) == len(stamps) == result.acked > 0
    assert stamps[-1] - stamps[0] <= 700


async def test_alarming_values_come_in_their_share(mosquitto: Mosquitto) -> None:
    devices = [Source("s1", f"r{index}") for index in range(50)]
    heard, _ = await heard_while(
        mosquitto, LoadOptions(mosquitto.url, devices, count=2000, alarm_share=0.1, values=7, seed=1)
    )
    bad = [payload for _, payload in heard if json.loads(payload)["values"]["loss_pct"] >= 20]
    assert 120 < len(bad) < 280
    assert all(json.loads(payload)["values"]["on_lte"] is False for _, payload in heard)


async def test_a_broker_that_dies_ends_the_run_and_what_was_acknowledged_is_known(
    mosquitto: Mosquitto,
) -> None:
    devices = [Source("s1", f"r{index}") for index in range(50)]
    options = LoadOptions(mosquitto.url, devices, rate=5000, record=True)
    run = asyncio.create_task(run_load(options))
    await asyncio.sleep(0.5)
    mosquitto.kill()
    result = await asyncio.wait_for(run, 10)
    assert result.lost
    assert 0 < result.acked == len(result.recorded) <= result.sent


async def test_it_stops_when_told(mosquitto: Mosquitto) -> None:
    stop = asyncio.Event()
    said: list[int] = []
    options = LoadOptions(mosquitto.url, [Source("s1", "r1")], rate=100, stop=stop)
    run = asyncio.create_task(run_load(options, lambda result: said.append(result.sent)))
    await asyncio.sleep(0.3)
    stop.set()
    result = await asyncio.wait_for(run, 10)
    assert 10 <= result.acked == result.sent <= 100
    assert said[-1] == result.sent


async def test_a_broker_that_is_not_there_is_said_so(free_port: int) -> None:
    with pytest.raises(Problems, match="the broker cannot be reached"):
        await run_load(LoadOptions(f"mqtt://127.0.0.1:{free_port}", [Source("s1", "r1")], count=1))


async def test_a_broker_that_refuses_us_is_said_so(tmp_path: Path, free_port: int) -> None:
    broker = Mosquitto(tmp_path / "m", free_port, allow_anonymous="false")
    broker.start()
    try:
        with pytest.raises(Problems, match="the broker refuses us"):
            await run_load(LoadOptions(broker.url, [Source("s1", "r1")], count=1))
    finally:
        broker.stop()


async def test_a_topic_that_is_refused_is_counted(tmp_path: Path, free_port: int) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic write nagari/v1/s1/r1/#\n")
    acl.chmod(0o644)
    broker = Mosquitto(tmp_path / "m", free_port, acl_file=str(acl))
    broker.start()
    try:
        allowed = await run_load(LoadOptions(broker.url, [Source("s1", "r1")], count=3, record=True))
        assert (allowed.acked, allowed.refused) == (3, 0)
        refused = await run_load(LoadOptions(broker.url, [Source("s1", "r2")], count=1, record=True))
        assert (refused.sent, refused.acked, refused.refused, refused.recorded) == (1, 0, 1, [])
    finally:
        broker.stop()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"devices": []}, "there are no devices"),
        ({"values": 9}, "values"),
        ({"alarm_share": 2}, "alarm_share"),
    ],
)
async def test_options_that_make_no_sense_are_refused(changes: dict[str, object], said: str) -> None:
    given: dict[str, object] = {"url": "mqtt://127.0.0.1:1", "devices": [Source("s", "d")], **changes}
    with pytest.raises(Problems, match=said):
        await run_load(LoadOptions(**given))  # type: ignore[arg-type]


def nagari_load(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "collector.cli", "load", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=cwd, check=False)


def test_the_command_makes_up_a_region_and_publishes_for_it_again_and_again(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    asked = ("--broker", mosquitto.url, "--region", "big", "--rate", "0", "--count", "300", "--json")
    made = nagari_load("--sites", "20", "--devices", "5", "--rules", str(SHIPPED), *asked, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["acked"] == 300
    region = load(read_folder(tmp_path / "big"))
    assert (len(region.sites), len(region.devices)) == (21, 100)
    assert parse_rules(region.rules, region).rules
    again = nagari_load(*asked, cwd=tmp_path)
    assert json.loads(again.stdout)["acked"] == 300
    assert load(read_folder(tmp_path / "big")).hash == region.hash


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sites", "2", "--region", "real"], "real: holds a region that was not made up for load tests"),
        (["--devices", "5", "--region", "real"], "--devices: is for a region made up; give --sites too"),
        (
            ["--sites", "2", "--region", "new", "--rules", "none"],
            "none: holds no rules; name a region's folder",
        ),
        (["--region", "nowhere"], "nowhere: is no folder"),
    ],
)
def test_what_it_cannot_do_the_command_says_in_a_sentence(
    tmp_path: Path, words: list[str], said: str
) -> None:
    shutil.copytree(SHIPPED, tmp_path / "real")
    done = nagari_load(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert read_folder(tmp_path / "real") == read_folder(SHIPPED)
