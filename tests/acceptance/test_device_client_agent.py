"""The agent against a real mosquitto: real figures, soon, and again and again."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import aiomqtt

from collector.broker import Mosquitto
from devices.agent import AgentOptions, ProbeTarget, run_agent


async def test_the_first_readings_come_within_a_second_and_then_at_each_interval(
    mosquitto: Mosquitto,
) -> None:
    targets = (ProbeTarget("probe-host", "127.0.0.1"), ProbeTarget("probe-port", "127.0.0.1", mosquitto.port))
    options = AgentOptions(mosquitto.url, "1305-kominfo", "agent-kominfo", targets, interval=1)
    heard: list[tuple[float, str, bytes]] = []
    stop = asyncio.Event()
    async with aiomqtt.Client("127.0.0.1", mosquitto.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe("nagari/v1/1305-kominfo/#", qos=1)
        start = time.monotonic()
        agent = asyncio.create_task(run_agent(options, stop))
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            heard.append((time.monotonic() - start, message.topic.value, message.payload))
            if sum(topic.endswith("/agent-kominfo/tele") for _, topic, _ in heard) == 3:
                stop.set()
            if message.payload == b"offline":
                break
        await asyncio.wait_for(agent, 10)
    firsts = {topic: at for at, topic, _ in reversed(heard)}
    for device in ("agent-kominfo", "probe-host", "probe-port"):
        assert firsts[f"nagari/v1/1305-kominfo/{device}/tele"] < 1.0
    host = [json.loads(payload) for _, topic, payload in heard if topic.endswith("/agent-kominfo/tele")]
    assert [each["seq"] for each in host] == [0, 1, 2]
    assert 800 < host[2]["ts"] - host[1]["ts"] < 1500
    assert all(0 <= each["values"]["cpu_pct"] <= 100 for each in host)
    probes = [json.loads(payload)["values"] for _, topic, payload in heard if "/probe-" in topic]
    assert all(values["loss_pct"] == 0 and values["latency_ms"] > 0 for values in probes)


async def test_readings_wait_for_a_broker_that_comes_late(tmp_path: Path, free_port: int) -> None:
    broker = Mosquitto(tmp_path / "m", free_port)
    stop = asyncio.Event()
    options = AgentOptions(broker.url, "1305-kominfo", "agent-kominfo", interval=1)
    began = time.time() * 1000
    agent = asyncio.create_task(run_agent(options, stop))
    await asyncio.sleep(1.5)
    broker.start()
    try:
        async with aiomqtt.Client("127.0.0.1", free_port, protocol=aiomqtt.ProtocolVersion.V5) as client:
            await client.subscribe("nagari/v1/1305-kominfo/agent-kominfo/tele", qos=1)
            message = await asyncio.wait_for(anext(client.messages), 10)
            assert isinstance(message.payload, bytes)
            first = json.loads(message.payload)
            assert first["seq"] == 0, "the reading taken while there was no broker"
            assert began < first["ts"] < began + 1400
        stop.set()
        await asyncio.wait_for(agent, 10)
    finally:
        broker.stop()
