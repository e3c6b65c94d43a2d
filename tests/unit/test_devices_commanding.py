"""Signatures, and which commands are obeyed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from devices.commanding import Gate
from devices.model import Command, CommandAck, Device
from devices.signing import sign, verify

KEY = b"k" * 32
ROUTER = Device("s1", "r1", "router")
ORDER = sign(Command("c1", "switch_uplink", {"to": "lte"}, 2000), "s1", "r1", KEY)


def test_the_signature_is_the_one_any_language_would_make() -> None:
    # openssl dgst -sha256 -hmac kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk, over
    # {"args":{"to":"lte"},"device":"r1","expires":2000,"id":"c1","name":"switch_uplink","site":"s1"}
    assert ORDER.sig == "a5ea3ceb86299c48b3a6a27386402193b18a0e0af063406d7e47548e7857e0f9"


def test_a_signed_command_is_good_until_it_expires() -> None:
    assert verify(ORDER, "s1", "r1", KEY, now=1999) is None
    assert verify(ORDER, "s1", "r1", KEY, now=2000) == "expired"


@pytest.mark.parametrize(
    "altered",
    [
        replace(ORDER, id="c2"),
        replace(ORDER, name="reboot"),
        replace(ORDER, args={"to": "fibre"}),
        replace(ORDER, args={}),
        replace(ORDER, expires=9000),
        replace(ORDER, sig=""),
        replace(ORDER, sig="0" * 64),
    ],
)
def test_an_altered_command_is_refused(altered: Command) -> None:
    assert verify(altered, "s1", "r1", KEY, now=0) == "altered"


def test_a_command_for_another_or_by_another_key_is_refused() -> None:
    assert verify(ORDER, "s1", "r2", KEY, now=0) == "altered"
    assert verify(ORDER, "s2", "r1", KEY, now=0) == "altered"
    assert verify(ORDER, "s1", "r1", b"another", now=0) == "altered"


def test_an_empty_key_signs_nothing() -> None:
    with pytest.raises(ValueError, match="the command key is empty"):
        sign(ORDER, "s1", "r1", b"")


def test_a_command_runs_once_and_is_answered_as_often_as_it_comes() -> None:
    gate = Gate(KEY)
    first = gate.judge(ORDER, ROUTER, retained=False, now=1000)
    assert first.run
    assert first.ack == CommandAck("c1", "accepted", "", 1000)
    assert gate.judge(ORDER, ROUTER, retained=False, now=1100).ack == first.ack
    gate.remember(ORDER, CommandAck("c1", "done", "on LTE", 1200))
    again = gate.judge(ORDER, ROUTER, retained=False, now=1300)
    assert not again.run
    assert again.ack.status == "done"


def test_what_was_forgotten_after_its_time_is_expired_all_the_same() -> None:
    gate = Gate(KEY)
    assert gate.judge(ORDER, ROUTER, retained=False, now=1000).run
    other = sign(Command("c2", "reboot", {}, 9000), "s1", "r1", KEY)
    assert gate.judge(other, ROUTER, retained=False, now=5000).run
    again = gate.judge(ORDER, ROUTER, retained=False, now=5001)
    assert (again.run, again.ack.detail) == (False, "expired")


@pytest.mark.parametrize(
    ("order", "retained", "key", "reason"),
    [
        (ORDER, True, KEY, "retained"),
        (ORDER, False, b"", "no_key"),
        (replace(ORDER, sig="f" * 64), False, KEY, "altered"),
        (sign(Command("c1", "siren", {}, 2000), "s1", "r1", KEY), False, KEY, "unknown_command"),
    ],
)
def test_a_refusal_has_its_reason(order: Command, retained: bool, key: bytes, reason: str) -> None:
    verdict = Gate(key).judge(order, ROUTER, retained=retained, now=1000)
    assert not verdict.run
    assert verdict.ack == CommandAck("c1", "rejected", reason, 1000)
