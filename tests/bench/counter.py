"""The ceiling: a subscriber on the same codec that acknowledges and counts, and does nothing else.

Run it as `python -m tests.bench.counter PORT COUNT [paced]`; it prints READY, then DONE with its CPU seconds.
`paced`: it rests between reads as the collector does, which spares the broker many small acknowledgements.
"""

from __future__ import annotations

import asyncio
import sys
import time

import mqtt5
import numpy as np
import uvloop

from collector.ingest.connection import FLOOD_REST

PUBACK = np.array([0x40, 0x02, 0, 0], np.uint8)


class Counter(asyncio.Protocol):
    """Counts PUBLISH packets."""

    def __init__(self, wanted: int, pace: float) -> None:
        self.wanted = wanted
        self.pace = pace
        self.count = 0
        self.rest = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        hello = mqtt5.ConnectPacket("counter", keep_alive=60, session_expiry_interval=60)
        self.transport.write(hello.write())

    def data_received(self, data: bytes) -> None:
        data = self.rest + data
        view, at, ids = memoryview(data), 0, []
        while True:
            try:
                packet, length = mqtt5.read(view[at:])
            except IndexError:
                break
            at += length
            if type(packet) is mqtt5.PublishPacket:
                ids.append(packet.packet_id)
            elif isinstance(packet, mqtt5.ConnAckPacket):
                wanted = mqtt5.TopicFilter("nagari/v1/+/+/tele", max_qos=mqtt5.QoS.AT_LEAST_ONCE)
                self.transport.write(mqtt5.SubscribePacket(1, [wanted]).write())
            elif isinstance(packet, mqtt5.SubAckPacket):
                print("READY", flush=True)
        self.rest = data[at:]
        if self.pace:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(self.pace, self.transport.resume_reading)
        if ids:
            acks = np.tile(PUBACK, (len(ids), 1))
            acks[:, 2:] = np.array(ids, ">u2").view(np.uint8).reshape(-1, 2)
            self.transport.write(acks.tobytes())
            self.count += len(ids)
            if self.count >= self.wanted and not self.done.done():
                self.done.set_result(None)


async def main(port: int, wanted: int, pace: float) -> None:
    loop = asyncio.get_running_loop()
    _, counter = await loop.create_connection(lambda: Counter(wanted, pace), "127.0.0.1", port)
    await counter.done
    print("DONE", time.process_time(), flush=True)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), FLOOD_REST if "paced" in sys.argv else 0.0))
