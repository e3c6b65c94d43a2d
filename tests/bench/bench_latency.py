"""An alert from publish to the operator's stream, while 10,000 messages/s pass beside it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import mqtt5
import numpy as np

from tests.bench.rig import HOST, ROOT, TWENTY_RULES, Rig

RATE = 10_000
SAMPLES = 400
PROBES = 50
_RULE = b"""
[[rule]]
name = "bench-probe"
select = { kind = "router", metric = "latency_ms" }
when = { above = 5000.0 }
severity = "major"
summary = { id = "{value}", en = "{value}" }
"""
_LOAD = """
import asyncio, sys
from pathlib import Path
import uvloop
from devices.region import load, read_folder
from simulators.load import LoadOptions, routers, run_load
devices = routers(load(read_folder(Path(sys.argv[2]))))[int(sys.argv[4]):]
uvloop.run(run_load(LoadOptions(url=sys.argv[1], devices=devices, rate=float(sys.argv[3]), duration=300)))
"""


class Client(asyncio.Protocol):
    """Publishes a reading, QoS 1, at once."""

    def __init__(self) -> None:
        self.number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.write(mqtt5.ConnectPacket("bench-probe", keep_alive=300).write())

    def publish(self, site: str, device: str, value: float | bool, metric: str = "latency_ms") -> None:
        self.number = self.number % 60_000 + 1
        body = json.dumps({"ts": time.time_ns() // 1_000_000, "values": {metric: value}}).encode()
        topic, once = f"nagari/v1/{site}/{device}/tele", mqtt5.QoS.AT_LEAST_ONCE
        self.transport.write(mqtt5.PublishPacket(topic, body, qos=once, packet_id=self.number).write())


async def listen(rig: Rig, heard: dict[str, asyncio.Future[float]], ready: asyncio.Event) -> None:
    headers = {"Authorization": f"Bearer {rig.token or rig.make_token()}"}
    async with (
        httpx.AsyncClient(timeout=None, headers=headers) as client,
        client.stream("GET", f"http://{HOST}:{rig.http}/api/v1/stream") as answer,
    ):
        ready.set()
        async for line in answer.aiter_lines():
            if line.startswith("data:") and '"condition":"active"' in line:
                alert = json.loads(line[5:])["alert"]
                waiting = heard.get(alert["device"])
                if waiting and not waiting.done():
                    waiting.set_result(time.perf_counter())


async def _probe(rig: Rig, samples: int) -> list[float]:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    heard: dict[str, asyncio.Future[float]] = {}
    listener = asyncio.create_task(listen(rig, heard, ready))
    _, client = await loop.create_connection(Client, HOST, rig.broker.port)
    await ready.wait()
    await asyncio.sleep(1.0)
    took = []
    for turn in range(samples):
        site, device = rig.devices[turn % PROBES]
        heard[device] = loop.create_future()
        begun = time.perf_counter()
        client.publish(site, device, 9000.0)
        took.append(await asyncio.wait_for(heard[device], 10) - begun)
        await asyncio.sleep(0.005)
        client.publish(site, device, 1.0)
        await asyncio.sleep(0.02)
    listener.cancel()
    return took


def run(samples: int = SAMPLES, rate: int = RATE) -> dict[str, object]:
    """The figures."""
    with tempfile.TemporaryDirectory(prefix="nagari-bench-") as name:
        rig = Rig(Path(name), rules={"rules/bench.toml": TWENTY_RULES + _RULE})
        rig.broker.start()
        rig.start()
        asked = [rig.broker.url, str(rig.folder / "region"), str(rate), str(PROBES)]
        load = subprocess.Popen([sys.executable, "-c", _LOAD, *asked], cwd=ROOT)
        try:
            time.sleep(3.0)
            before, begun = rig.stats()["received"], time.monotonic()
            took = np.array(asyncio.run(_probe(rig, samples))) * 1000
            beside = (rig.stats()["received"] - before) / (time.monotonic() - begun)
        finally:
            load.kill()
            rig.stop()
            rig.broker.stop()
    return {
        "latency.alert_p50_ms": round(float(np.percentile(took, 50)), 1),
        "latency.alert_p99_ms": round(float(np.percentile(took, 99)), 1),
        "latency.alert_worst_ms": round(float(took.max()), 1),
        "latency.beside_msg_s": round(beside),
    }


if __name__ == "__main__":
    print(run(*(int(argument) for argument in sys.argv[1:])))
