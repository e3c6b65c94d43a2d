"""The MQTT 5 session: connected for ever, subscribed, never acknowledging what is not on disk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import mqtt5

from collector.core.config import Mqtt
from collector.ingest.connection import Append, Connection, Receipt
from collector.ingest.pack import Pack
from collector.ingest.recorder import Recorder
from devices.backoff import backoff
from devices.problems import Problems
from devices.secretfile import read_secret
from devices.tls import client_context

log = logging.getLogger(__name__)
CONNECT_TIMEOUT = 5.0
RETRY_FIRST, RETRY_MOST = 0.25, 4.0
TICK = 0.5
STABLE = 5.0
"""A connection that did not live so long (s) counts as a failure: perhaps another one has our client id."""
IDLE = 1.0
"""Seconds without a byte in after which we ask whether the broker is there: now moves only on its answer."""
SILENCE = 3.0
"""Seconds without an answer after which we do not claim to listen, though we stay connected."""
_TAKEN = (
    mqtt5.PubAckReasonCode.SUCCESS,
    mqtt5.PubAckReasonCode.NO_MATCHING_SUBSCRIBERS,
)  # they have no order
LONG_PAUSE = 1.0
"""A pause in reading beyond this (seconds) is a gap."""
TROUBLE = (OSError, TimeoutError, Problems)
"""What may keep us from the broker for a while; a secret that cannot be read is among it."""


class RefusedError(ConnectionError):
    """The broker answered, and said no."""


class Session:
    """Keeps the subscription alive. `durable` must be called on the loop with the packs that are on disk."""

    def __init__(
        self,
        config: Mqtt,
        filters: Sequence[str],
        append: Append,
        recorder: Recorder,
        now: Callable[[], int],
        *,
        unacked_bytes: int,
    ) -> None:
        self._config = config
        self._filters = filters
        self._append = append
        self._recorder = recorder
        self._now = now
        self._unacked_bytes = unacked_bytes
        self._connection: Connection | None = None
        self._tls = client_context(config.ca, config.cert, config.key) if config.tls else None
        if config.password_file:
            read_secret(config.password_file)  # refused now rather than later; read anew for each connection
        self._keepalive = config.keepalive
        self.status = "not connected yet"
        self.tried = asyncio.Event()  # the first attempt has had its outcome, good or bad
        self.subscribed = False
        self.connects = 0

    async def run(self) -> None:
        """Connect, listen, and after every loss connect again: until cancelled."""
        failures, loop = 0, asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                await self._attend(await self._open())
                failures = 0 if loop.time() - begun >= STABLE else failures + 1
            except TROUBLE as error:
                self.tried.set()
                self.status = str(error) or "the broker does not answer"
                failures += 1
                log.warning("broker %s: %s", self._config.url, self.status)
            finally:
                self._lost()
            await self._rest(backoff(failures, RETRY_FIRST, RETRY_MOST))

    async def _rest(self, seconds: float) -> None:
        """Wait; the gap is told as it grows."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while (left := deadline - loop.time()) > 0:
            await asyncio.sleep(min(left, TICK))
            self._recorder.cover()

    def durable(self, packs: list[Pack]) -> None:
        """Acknowledge each message over the connection that brought it, if that is still open."""
        at: dict[Connection, tuple[list[int], int]] = {}
        for pack in packs:
            receipt = pack.token
            assert isinstance(receipt, Receipt)
            ids, size = at.get(receipt.connection, ([], 0))
            at[receipt.connection] = ids + receipt.ids, size + receipt.size
        for connection, (ids, size) in at.items():
            paused = connection.durable(ids, size)
            if paused and connection is self._connection and self.subscribed:
                self._resumed(paused)

    def _resumed(self, paused: float) -> None:
        """Reading goes on after so many seconds: the gap is told before what comes now."""
        if not self._recorder.listening:
            self._recorder.regained()
        elif paused > LONG_PAUSE:
            self._recorder.gap(self._now() - int(paused * 1e9), "reading was paused")

    async def publish(self, topic: str, payload: bytes, expiry: float) -> None:
        """Publish with QoS 1; the broker forgets it after `expiry` seconds. Returns on its PUBACK.

        Raises ConnectionError when not connected, cut off meanwhile, or refused: it is not sent again.
        """
        connection = self._connection
        if connection is None or not self.subscribed:
            raise ConnectionError("not connected to the broker")
        number, reply = connection.request()
        qos = mqtt5.QoS.AT_LEAST_ONCE
        packet = mqtt5.PublishPacket(
            topic, payload, qos=qos, packet_id=number, message_expiry_interval=max(1, round(expiry))
        )
        connection.send(packet.write())
        answer = await reply
        if isinstance(answer, mqtt5.PubAckPacket) and answer.reason_code not in _TAKEN:
            raise RefusedError(f"the broker refused {topic}: {answer.reason_code.name}")

    async def _open(self) -> Connection:
        config, loop = self._config, asyncio.get_running_loop()
        password = read_secret(config.password_file).encode() if config.password_file else None
        hello = mqtt5.ConnectPacket(
            config.client_id,
            username=config.username,
            password=password,
            clean_start=False,
            keep_alive=round(config.keepalive),
            session_expiry_interval=round(config.session_expiry),
            receive_max=config.receive_max,
        )
        async with asyncio.timeout(CONNECT_TIMEOUT):
            _, connection = await loop.create_connection(
                lambda: Connection(hello, self._append, self._now, self._unacked_bytes),
                config.host,
                config.port,
                ssl=self._tls,
            )
            connection.on_pong = self._recorder.watermark
            connection.on_connack = self._recorder.cover
            self._connection = connection
            connack = await connection.connack
            if connack.reason_code != mqtt5.ConnAckReasonCode.SUCCESS:
                raise RefusedError(
                    f"the broker refused us: {connack.reason_code.name} {connack.reason_str or ''}".strip()
                )
            await self._subscribe(connection)
        self._keepalive = connack.server_keep_alive or config.keepalive
        self.connects += 1
        self.subscribed = True
        self.tried.set()
        self.status = "ok"
        self._recorder.regained()
        log.info(
            "broker %s: subscribed; session %s", config.url, "kept" if connack.session_present else "new"
        )
        return connection

    async def _subscribe(self, connection: Connection) -> None:
        number, reply = connection.request()
        once = mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS
        wanted = [
            mqtt5.TopicFilter(
                each, max_qos=mqtt5.QoS.AT_LEAST_ONCE, retain_as_published=False, retain_handling=once
            )
            for each in self._filters
        ]
        connection.send(mqtt5.SubscribePacket(number, wanted).write())
        answer = await reply
        codes = answer.reason_codes if isinstance(answer, mqtt5.SubAckPacket) else []
        if len(codes) != len(self._filters):
            raise RefusedError("the broker's answer to SUBSCRIBE does not fit; is it an MQTT 5 broker?")
        for each, code in zip(self._filters, codes, strict=True):
            if code != mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE:
                raise RefusedError(f"the broker did not grant {each} at QoS 1: {code.name}; mend its ACL")

    async def _attend(self, connection: Connection) -> None:
        """Ask for signs of life; returns when the connection is lost."""
        loop = asyncio.get_running_loop()
        ping = mqtt5.PingReqPacket().write()
        asked = 0.0
        while not connection.closed.done():
            await asyncio.wait({connection.closed}, timeout=TICK)
            now = loop.time()
            self._judge(connection, now)
            ask = connection.paused_at is None and min(now - connection.inbound, now - asked) >= IDLE
            if ask or now - connection.outbound >= self._keepalive / 2 - TICK:
                connection.send(ping)
                asked = now
        self.status = connection.closed.result()
        log.warning("broker %s: %s", self._config.url, self.status)

    def _judge(self, connection: Connection, now: float) -> None:
        """Whether we listen, and whether the broker is still there. `now` is the loop's time."""
        silent = now - connection.inbound
        paused = 0.0 if connection.paused_at is None else now - connection.paused_at
        if paused > LONG_PAUSE:
            self._recorder.lost(connection.heard, "reading was paused")
        elif not paused and silent > SILENCE:
            self._recorder.lost(connection.heard, "the broker does not answer")
        elif not paused and not self._recorder.listening:
            self._recorder.regained()
        self._recorder.cover()
        if connection.paused_at is None and silent > max(1.5 * self._keepalive - 2 * TICK, IDLE + 2 * TICK):
            connection.close(f"the broker was silent for {silent:.0f} s")

    def _lost(self) -> None:
        connection, self._connection = self._connection, None
        self.subscribed = False
        if connection:
            connection.close("the session ends")
            self._recorder.lost(connection.heard, "no connection to the broker")
        self._recorder.cover()
