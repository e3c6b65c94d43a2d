"""Signatures, and which commands are obeyed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.commanding import Gate
from devices.commandmemory import INTERRUPTED, MOST, CommandMemory
from devices.model import Command, CommandAck, Device
from devices.problems import Problems
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
    gate.remember(ORDER, CommandAck("c1", "done", "on LTE", 1200), 1200)
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


DAY_MS = 24 * 3600 * 1000


@pytest.mark.parametrize(("ahead", "run"), [(DAY_MS, True), (DAY_MS + 1, False), (2**63 // 10**6, False)])
def test_a_command_that_stays_good_for_more_than_a_day_is_refused(ahead: int, run: bool) -> None:
    order = sign(Command("c1", "reboot", {}, 1000 + ahead), "s1", "r1", KEY)
    judged = Gate(KEY).judge(order, ROUTER, retained=False, now=1000)
    assert judged.run is run
    assert judged.ack.detail == ("" if run else "expires_too_late")


def test_a_restarted_device_runs_no_command_again(tmp_path: Path) -> None:
    file = tmp_path / "commands" / "memory.json"
    gate = Gate(KEY, CommandMemory(file))
    assert gate.judge(ORDER, ROUTER, retained=False, now=1000).run
    gate.remember(ORDER, CommandAck("c1", "done", "on LTE", 1200), 1200)
    assert file.stat().st_mode & 0o777 == 0o600
    again = Gate(KEY, CommandMemory(file)).judge(ORDER, ROUTER, retained=False, now=1300)
    assert not again.run
    assert again.ack == CommandAck("c1", "done", "on LTE", 1200)


def test_a_command_that_the_restart_cut_off_is_not_begun_again(tmp_path: Path) -> None:
    file = tmp_path / "memory.json"
    assert Gate(KEY, CommandMemory(file)).judge(ORDER, ROUTER, retained=False, now=1000).run
    again = Gate(KEY, CommandMemory(file)).judge(ORDER, ROUTER, retained=False, now=1100)
    assert (again.run, again.ack.status, again.ack.detail) == (False, "failed", INTERRUPTED)


def test_a_clock_that_steps_back_revives_no_command(tmp_path: Path) -> None:
    file = tmp_path / "memory.json"
    gate = Gate(KEY, CommandMemory(file))
    assert gate.judge(ORDER, ROUTER, retained=False, now=1000).run
    later = sign(Command("c2", "reboot", {}, 9000), "s1", "r1", KEY)
    assert gate.judge(later, ROUTER, retained=False, now=5000).run  # the first is forgotten by now
    for known in (gate, Gate(KEY, CommandMemory(file))):
        again = known.judge(ORDER, ROUTER, retained=False, now=1000)
        assert (again.run, again.ack.detail) == (False, "expired")


@settings(deadline=None, max_examples=25)  # each step waits for the disk
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 50), st.integers(0, 60)), max_size=20))
def test_no_command_runs_twice_whatever_the_clock_does_and_however_often_it_restarts(
    steps: list[tuple[int, int, int]],
) -> None:
    with TemporaryDirectory() as folder:
        file, ran = Path(folder) / "memory.json", []
        for number, expires, now in steps:
            order = sign(Command(f"c{number}", "reboot", {}, expires), "s1", "r1", KEY)
            gate = Gate(KEY, CommandMemory(file))
            if gate.judge(order, ROUTER, retained=False, now=now).run:
                ran.append((number, expires))
        assert len(ran) == len(set(ran))


def test_the_memory_is_bounded_and_what_it_forgets_is_refused(tmp_path: Path) -> None:
    orders = [sign(Command(f"c{n}", "reboot", {}, 2000 + n), "s1", "r1", KEY) for n in range(MOST + 50)]
    file = tmp_path / "memory.json"
    full = {order.id: [order.expires, "done", "x" * 256, 1000] for order in orders[:-1]}
    file.write_text(json.dumps({"floor": 0, "answers": full}))
    gate = Gate(KEY, CommandMemory(file))
    assert gate.judge(orders[-1], ROUTER, retained=False, now=1000).run
    assert len(json.loads(file.read_text())["answers"]) == MOST
    assert file.stat().st_size < 100_000
    assert not any(gate.judge(order, ROUTER, retained=False, now=1000).run for order in orders)


def test_of_a_long_answer_only_the_beginning_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "memory.json"
    Gate(KEY, CommandMemory(file)).remember(ORDER, CommandAck("c1", "done", "x" * 4096, 1000), 1000)
    assert file.stat().st_size < 400


def test_a_command_that_cannot_be_remembered_is_not_run(tmp_path: Path) -> None:
    file = tmp_path / "commands" / "memory.json"
    gate = Gate(KEY, CommandMemory(file))
    shutil.rmtree(file.parent)
    judged = gate.judge(ORDER, ROUTER, retained=False, now=1000)
    assert (judged.run, judged.ack.detail) == (False, "not_remembered")


def test_a_place_where_nothing_can_be_kept_is_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    with pytest.raises(Problems, match="name a file that this user can write"):
        CommandMemory(tmp_path / "a file" / "memory.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"floor": 1, "answers": {"c1": [2]}}', "\x00"])
def test_a_memory_that_is_damaged_is_set_aside(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "memory.json"
    file.write_text(text)
    assert Gate(KEY, CommandMemory(file)).judge(ORDER, ROUTER, retained=False, now=1000).run
    assert (tmp_path / "memory.json.bad").read_text() == text
    assert "set aside" in caplog.text


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
