"""aiomqtt as DeviceClient needs it: acknowledgements with their reason, and no task per message."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast
from urllib.parse import urlsplit

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from devices.model import Device
from devices.problems import Problems
from devices.secretfile import read_secret
from devices.tls import client_context

IN_FLIGHT: Final = 32
_QUEUED_COMMANDS: Final = 100
_SESSION_S: Final = 3600  # how long the broker keeps commands for us while we are away

PubAckAnswer = Literal["taken", "refused", "unheard"]
"""What a PUBACK says. `unheard`: nobody has subscribed, so the broker keeps the message for nobody."""
OnAck = Callable[[int, PubAckAnswer], None]
"""Hears of a PUBACK: the packet's id, and the broker's answer."""
_NO_MATCHING_SUBSCRIBERS: Final = 0x10


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """Where the broker is and how to get in.

    Unless given, `username` is SITE/DEVICE, as the shipped ACL wants it, and `client_id` the device's id.

    `mqtts://` in the url means TLS; secrets come from files. `capacity` bounds the messages held, sent or
    not; `keep_s` is how long a message is kept after its PUBACK, to be sent again after a reconnect.
    `command_memory` is a file of the client's own (0600, at most 100 KB) that remembers over restarts which
    commands were run. Without it a restarted device would run a command again that is sent again before it
    expires; nothing that expires more than 24 h ahead is run at all.
    """

    url: str
    username: str | None = None
    password_file: Path | None = None
    command_key_file: Path | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    client_id: str | None = None
    keepalive: int = 15
    capacity: int = 10_000
    keep_s: float = 10.0
    drain_s: float = 5.0  # how long leaving waits for what is pending
    command_memory: Path | None = None


@dataclass(frozen=True, slots=True)
class Broker:
    """The options, checked and read: all that a connection takes."""

    host: str
    port: int
    client_id: str
    username: str | None
    password: str | None
    tls: ssl.SSLContext | None
    keepalive: int


def broker(options: ClientOptions, device: Device) -> Broker:
    """Check the options and read the files they name. Raises Problems."""
    parts = urlsplit(options.url)
    if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname:
        mend = 'write it like "mqtt://127.0.0.1:1883" or "mqtts://host"'
        raise Problems.one("url", f"{options.url!r} is no broker", mend)
    tls = client_context(options.ca, options.cert, options.key) if parts.scheme == "mqtts" else None
    password = read_secret(options.password_file) if options.password_file else None
    return Broker(
        host=parts.hostname,
        port=parts.port or (8883 if tls else 1883),
        client_id=options.client_id or device.id,
        username=options.username or (f"{device.site}/{device.id}" if password else None),
        password=password,
        tls=tls,
        keepalive=options.keepalive,
    )


class Wire(aiomqtt.Client):
    """One connection. aiomqtt takes every PUBACK for success; here `on_ack` learns the broker's answer."""

    def __init__(self, to: Broker, will_topic: str | None, on_ack: OnAck) -> None:
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = _SESSION_S
        super().__init__(
            to.host,
            to.port,
            username=to.username,
            password=to.password,
            identifier=to.client_id,
            protocol=aiomqtt.ProtocolVersion.V5,
            will=aiomqtt.Will(will_topic, b"offline", qos=1, retain=True) if will_topic else None,
            keepalive=to.keepalive,
            clean_start=False,
            properties=session,
            tls_context=to.tls,
            max_inflight_messages=IN_FLIGHT + 8,
            max_queued_incoming_messages=_QUEUED_COMMANDS,
        )
        self._on_ack = on_ack

    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Hand a QoS 1 message to the connection; its packet id. Raises MqttError if there is none."""
        info = self._client.publish(topic, payload, 1, retain)
        if info.rc != 0:
            raise aiomqtt.MqttCodeError(info.rc, "Could not publish message")
        return info.mid

    def sever(self) -> None:
        """Break the connection without a word."""
        connection = cast("socket.socket | None", self._client.socket())
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    async def listen(self, command_topics: list[str]) -> list[str]:
        """Subscribe to commands; the topics that the broker refuses."""
        # Retain as published: else a command published retained looks like any other to who listens already.
        how = SubscribeOptions(
            qos=1,
            retainAsPublished=True,
            retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB,
        )
        codes = await self.subscribe([(topic, how) for topic in command_topics])
        return [
            topic
            for topic, code in zip(command_topics, codes, strict=True)
            if isinstance(code, ReasonCode) and code.is_failure
        ]

    def _on_publish(
        self, client: Any, userdata: Any, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        unheard = reason_code.value == _NO_MATCHING_SUBSCRIBERS
        self._on_ack(mid, "refused" if reason_code.is_failure else "unheard" if unheard else "taken")
