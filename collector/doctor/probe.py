"""Tries a live broker out: what it grants, and whether it keeps what it took in for a client that is away."""

from __future__ import annotations

import asyncio
import os
import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import mqtt5

from collector.doctor.findings import Finding
from collector.doctor.mosquitto import PACKET_MAX
from collector.doctor.wire import Account, ProbeConnection, connect

MESSAGES = 3500  # more than 1,000 queued (mosquitto's default) on top of 2,000 under way
_WINDOW = 50
_QUIET_S = 1.5
_ROOT = "nagari-doctor"
_QUEUE = "broker keeps messages"
ACCOUNT_MEND = "give the doctor an account of its own: --username, --password-file"


@dataclass(frozen=True, slots=True)
class BrokerDemands:
    """What the collector will ask of the broker. `session_expiry` in seconds."""

    session_expiry: int
    receive_max: int


async def probe(account: Account, demands: BrokerDemands, messages: int = MESSAGES) -> list[Finding]:
    """Look at the CONNACK, then send `messages` to itself through a session that is left and taken up again.

    Uses a client id and a topic drawn for this once, and removes its session at the end. An account under
    which somebody else's session lives already is left alone.
    """
    name = f"{_ROOT}-{secrets.token_hex(8)}"
    try:
        connection = await connect(account, _hello(account, name, demands, clean=False))
    except ssl.SSLError as error:
        return [_unreachable(account, f"TLS failed ({error.reason or error})", "check mqtt.ca, cert and key")]
    except (OSError, TimeoutError, ValueError) as error:
        return [_unreachable(account, _why(error), "start the broker, or mend mqtt.url")]
    refused = _refused(connection.connack, account)
    if refused:
        await connection.close()
        return [refused]
    reached = Finding("ok", "broker reachable", f"{account.host}:{account.port} speaks MQTT 5")
    findings = [reached, *granted(connection.connack, demands)]
    if connection.connack.session_present:  # not ours: the broker takes the username for the client id
        await connection.close()
        what = "not tried: the username is the client id here, and the collector's session lives under it"
        return [*findings, Finding("warning", _QUEUE, what, ACCOUNT_MEND)]
    async with _removed(account, name, demands):
        return [*findings, await _queue(connection, account, name, demands, messages)]


def granted(connack: mqtt5.ConnAckPacket, demands: BrokerDemands) -> list[Finding]:
    """What the broker's CONNACK limits."""
    size, expiry = connack.max_packet_size, connack.session_expiry_interval
    checks = (
        (
            "largest packet",
            size is None or size >= PACKET_MAX,
            f"{size} bytes" if size else "no limit",
            f"a lawful message needs {PACKET_MAX} bytes: raise max_packet_size",
        ),
        (
            "session expiry",
            expiry is None or expiry >= demands.session_expiry,
            f"{demands.session_expiry if expiry is None else expiry} s",
            f"the collector asks for {demands.session_expiry} s: raise the broker's limit",
        ),
        (
            "receive maximum",
            connack.receive_max >= 20,
            f"{connack.receive_max} messages under way",
            "commands would crawl: raise the broker's receive maximum",
        ),
        (
            "retained messages",
            connack.retain_available,
            "kept" if connack.retain_available else "refused",
            "publishers leave their state retained: allow it",
        ),
        (
            "QoS 1",
            int(connack.max_qos) >= 1,
            f"up to QoS {int(connack.max_qos)}",
            "nothing is acknowledged below QoS 1: allow it",
        ),
        (
            "wildcards",
            connack.wildcard_subscription_available,
            "allowed" if connack.wildcard_subscription_available else "refused",
            "the collector subscribes to nagari/v1/+/+/…: allow it",
        ),
    )
    return [
        Finding("ok" if good else "bad", f"broker {check}", what, "" if good else mend)
        for check, good, what, mend in checks
    ]


def _hello(account: Account, name: str, demands: BrokerDemands, *, clean: bool) -> mqtt5.ConnectPacket:
    return mqtt5.ConnectPacket(
        name,
        username=account.username,
        password=None if account.password is None else account.password.encode(),
        clean_start=clean,
        keep_alive=60,
        session_expiry_interval=0 if clean else demands.session_expiry,
        receive_max=demands.receive_max,
    )


def _unreachable(account: Account, why: str, mend: str) -> Finding:
    return Finding("bad", "broker reachable", f"{account.host}:{account.port}: {why}", mend)


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__


def _refused(connack: mqtt5.ConnAckPacket, account: Account) -> Finding | None:
    code = connack.reason_code
    if code == mqtt5.ConnAckReasonCode.SUCCESS:
        return None
    who = f"as {account.username!r}" if account.username else "without an account"
    what = f"{account.host}:{account.port} refuses us {who}: {code.name.lower().replace('_', ' ')}"
    return Finding("bad", "broker credentials", what, "check mqtt.username and mqtt.password_file")


@asynccontextmanager
async def _removed(account: Account, name: str, demands: BrokerDemands) -> AsyncIterator[None]:
    """Whatever happens, the session of that name is gone afterwards."""
    try:
        yield
    finally:
        try:
            last = await connect(account, _hello(account, name, demands, clean=True))
            await last.close()
        except (OSError, TimeoutError, ValueError):
            pass  # the broker is gone; the session ends by its expiry


async def _queue(
    connection: ProbeConnection, account: Account, name: str, demands: BrokerDemands, messages: int
) -> Finding:
    topic = f"{_ROOT}/{name}"
    try:
        if not await _subscribed(connection, topic):
            mend = f"allow this account to read and write {_ROOT}/# (deploy/mosquitto/nagari.acl)"
            return Finding("warning", _QUEUE, f"not tried: it may not subscribe to {_ROOT}/#", mend)
        taken = await _publish(connection, topic, messages)
        await connection.close()
        again = await connect(account, _hello(account, name, demands, clean=False))
        kept = await _count(again, taken) if again.connack.session_present else -1
        await again.close()
    except (OSError, TimeoutError, ValueError) as error:
        return Finding("bad", _QUEUE, f"the probe broke off: {_why(error)}", "see the broker's log")
    return _verdict(taken, kept)


def _verdict(taken: int, kept: int) -> Finding:
    if taken == 0:
        what, mend = "not tried: it may not publish", f"allow this account to write {_ROOT}/#"
        return Finding("warning", _QUEUE, what, mend)
    if kept < 0:
        what = "the session was gone after a disconnect, with all that waited in it"
        return Finding("bad", _QUEUE, what, "persistent sessions: mosquitto's persistent_client_expiration")
    if kept < taken:
        what = f"of {taken:,} acknowledged messages {taken - kept:,} were gone when the client came back"
        return Finding("bad", _QUEUE, what, "max_queued_messages 0 and max_queued_bytes 0 in mosquitto.conf")
    what = f"all of {taken:,}; whether they outlive the broker only its settings say (--mosquitto-conf)"
    return Finding("ok", _QUEUE, what)


async def _subscribed(connection: ProbeConnection, topic: str) -> bool:
    wish = mqtt5.TopicFilter(topic, max_qos=mqtt5.QoS.AT_LEAST_ONCE, retain_as_published=False)
    connection.send(mqtt5.SubscribePacket(1, [wish]))
    while True:
        for packet in await connection.receive():
            if isinstance(packet, mqtt5.SubAckPacket):
                return int(packet.reason_codes[0]) < 0x80


async def _publish(connection: ProbeConnection, topic: str, messages: int) -> int:
    """How many messages the broker acknowledged. What it sends us is not acknowledged: it has to wait."""
    window = min(_WINDOW, connection.connack.receive_max)
    sent = taken = 0
    while taken < messages:
        # The first goes alone: mosquitto 2.0.11 closes the connection at the second publish that it refuses.
        burst = range(sent, min(messages, taken + (window if taken else 1)))
        connection.send(*(_message(topic, number) for number in burst))
        sent = max(sent, burst.stop)
        answers = [packet for packet in await connection.receive() if isinstance(packet, mqtt5.PubAckPacket)]
        if any(int(answer.reason_code) >= 0x80 for answer in answers):
            break
        taken += len(answers)
    return taken


def _message(topic: str, number: int) -> mqtt5.PublishPacket:
    return mqtt5.PublishPacket(
        topic,
        b"%d" % number,
        qos=mqtt5.QoS.AT_LEAST_ONCE,
        packet_id=1 + number % 65535,
        message_expiry_interval=600,
    )


async def _count(connection: ProbeConnection, expected: int) -> int:
    seen: set[bytes] = set()
    while len(seen) < expected:
        try:
            packets = await connection.receive(_QUIET_S)
        except TimeoutError:
            break
        came = [packet for packet in packets if isinstance(packet, mqtt5.PublishPacket)]
        seen.update(packet.payload for packet in came)
        connection.send(*(mqtt5.PubAckPacket(packet.packet_id) for packet in came if packet.packet_id))
        await asyncio.sleep(0)
    return len(seen)
