"""The doctor reads a mosquitto.conf and names each setting that would lose messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.broker import SHIPPED
from collector.doctor.findings import Finding, worst
from collector.doctor.mosquitto import judge
from collector.doctor.mosquitto_conf import read

DAY = 86400.0
GOOD = "".join(f"{name} {value}\n" for name, value in SHIPPED.items()) + "listener 1883 127.0.0.1\n"
FIELD = "listener 8883 0.0.0.0\ncertfile c\nkeyfile k\nciphers ECDHE+AESGCM\nuse_username_as_clientid true\n"


def findings(tmp_path: Path, text: str, expiry: float = 7 * DAY) -> list[Finding]:
    file = tmp_path / "mosquitto.conf"
    file.write_text(text)
    return judge(read(file), expiry)


def ill(found: list[Finding]) -> dict[str, str]:
    return {
        finding.check.removeprefix("mosquitto "): finding.status
        for finding in found
        if finding.status != "ok"
    }


def test_the_shipped_settings_are_well(tmp_path: Path) -> None:
    assert ill(findings(tmp_path, GOOD)) == {}


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("persistence false", "bad"),
        ("autosave_interval 1800", "bad"),
        ("autosave_interval 0", "bad"),
        ("autosave_interval 5", "warning"),
        ("autosave_on_changes true", "warning"),
        ("max_queued_messages 1000", "bad"),
        ("max_queued_messages 1000000", "bad"),
        ("max_queued_bytes 100000", "bad"),
        ("max_inflight_messages 20", "warning"),
        ("max_inflight_bytes 5000", "warning"),
        ("memory_limit 1000000", "bad"),
        ("persistent_client_expiration 1d", "bad"),
        ("persistent_client_expiration 5h", "bad"),
        ("message_size_limit 100000", "bad"),
        ("max_packet_size 262144", "bad"),
        ("retain_available false", "bad"),
        ("queue_qos0_messages true", "warning"),
        ("autosave_interval often", "bad"),
        ("persistent_client_expiration 3x", "bad"),
    ],
)
def test_a_bad_setting_is_named_with_line_and_mend(tmp_path: Path, line: str, status: str) -> None:
    name = line.split(maxsplit=1)[0]
    found = findings(tmp_path, GOOD + line + "\n")
    assert ill(found) == {name: status}
    named = next(finding for finding in found if finding.status != "ok")
    assert named.what.startswith(f"{tmp_path}/mosquitto.conf:{GOOD.count(chr(10)) + 1}: ")
    assert named.mend


@pytest.mark.parametrize(
    "line", ["max_queued_messages 0", "max_packet_size 300000", "persistent_client_expiration 2m"]
)
def test_a_good_setting_is_left_alone(tmp_path: Path, line: str) -> None:
    assert ill(findings(tmp_path, GOOD + line + "\n")) == {}


def test_what_is_not_set_is_judged_by_mosquittos_default(tmp_path: Path) -> None:
    found = ill(findings(tmp_path, "listener 1883 127.0.0.1\n"))
    assert found["persistence"] == found["max_queued_messages"] == "bad"
    assert found["max_inflight_messages"] == "warning"


def test_saving_by_changes_counts_changes(tmp_path: Path) -> None:
    changes = GOOD + "autosave_on_changes true\n"
    assert "autosave_interval" not in ill(findings(tmp_path, changes + "autosave_interval 1\n"))
    assert ill(findings(tmp_path, changes + "autosave_interval 50\n"))["autosave_interval"] == "warning"
    assert ill(findings(tmp_path, changes + "autosave_interval 5000\n"))["autosave_interval"] == "bad"


def test_a_session_that_must_last_longer_than_the_broker_keeps_it_is_bad(tmp_path: Path) -> None:
    assert ill(findings(tmp_path, GOOD, expiry=30 * DAY)) == {"persistent_client_expiration": "bad"}


def test_strangers_at_an_open_listener_are_bad(tmp_path: Path) -> None:
    text = GOOD + "listener 1884\nallow_anonymous true\n"
    found = [f for f in findings(tmp_path, text) if f.status != "ok"]
    assert [f.status for f in found] == ["bad", "warning"]
    assert "anybody who reaches this listener may publish as anybody" in found[0].what
    assert "in the clear" in found[1].what


def test_strangers_on_this_machine_are_its_owners_business(tmp_path: Path) -> None:
    assert ill(findings(tmp_path, GOOD + "allow_anonymous true\n")) == {}


def test_accounts_without_an_acl_are_bad(tmp_path: Path) -> None:
    found = [f for f in findings(tmp_path, GOOD + FIELD) if f.status != "ok"]
    assert [f.status for f in found] == ["bad"]
    assert "any account may publish as any other" in found[0].what


def test_an_open_listener_under_tls_with_accounts_is_well(tmp_path: Path) -> None:
    text = GOOD + FIELD + "allow_anonymous false\nacl_file a\n"
    assert ill(findings(tmp_path, text)) == {}


def test_with_settings_per_listener_each_answers_for_itself(tmp_path: Path) -> None:
    text = GOOD + "per_listener_settings true\n" + FIELD + "allow_anonymous false\nacl_file a\n"
    text += FIELD.replace("8883", "8884") + "allow_anonymous true\n"
    assert list(ill(findings(tmp_path, text))) == ["listener 8884 0.0.0.0"]


@pytest.mark.parametrize("line", ["use_username_as_clientid true", "max_connections 100", "certfile c"])
def test_a_setting_before_the_first_listener_that_opens_one_more_is_bad(tmp_path: Path, line: str) -> None:
    found = [f for f in findings(tmp_path, f"{line}\n{GOOD}") if f.status != "ok"]
    assert [(f.status, f.check) for f in found] == [("bad", "mosquitto listener 1883")]
    assert f"mosquitto.conf:1: {line.split(maxsplit=1)[0]} stands before the first listener" in found[0].what


def test_so_is_one_at_the_head_of_an_included_file(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "more.conf").write_text("max_connections 100\n" + FIELD)
    text = f"{GOOD}allow_anonymous false\nacl_file a\ninclude_dir {tmp_path}/conf.d\n"
    [found] = [f for f in findings(tmp_path, text) if f.status != "ok"]
    assert "more.conf:1: max_connections" in found.what


def test_the_default_listener_that_is_named_is_meant(tmp_path: Path) -> None:
    text = GOOD.replace("listener 1883 127.0.0.1", "max_connections 100\nport 1883\nbind_address 127.0.0.1")
    assert ill(findings(tmp_path, text)) == {}


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_listener_on_which_accounts_choose_their_client_id_is_bad(tmp_path: Path, address: str) -> None:
    accounts = "password_file p\nacl_file a\n"
    text = accounts + GOOD + FIELD.replace("0.0.0.0", address).replace("use_username_as_clientid true\n", "")
    text = text.replace(
        "listener 1883 127.0.0.1\n", "listener 1883 127.0.0.1\nuse_username_as_clientid true\n"
    )
    [found] = [f for f in findings(tmp_path, text) if f.status != "ok"]
    assert (found.status, found.check) == ("bad", f"mosquitto listener 8883 {address}")
    assert "the collector's session" in found.what


@pytest.mark.parametrize("ciphers", ["", "ciphers HIGH\n", "ciphers ECDHE+AESGCM:AES256-SHA256\n"])
def test_tls_with_cbc_is_a_warning(tmp_path: Path, ciphers: str) -> None:
    text = GOOD + FIELD.replace("ciphers ECDHE+AESGCM\n", ciphers) + "acl_file a\n"
    [found] = [f for f in findings(tmp_path, text) if f.status != "ok"]
    assert found.status == "warning"
    assert "CBC" in found.what


def test_included_files_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "more.conf").write_text("max_queued_messages 5\n")
    found = findings(tmp_path, GOOD + f"include_dir {tmp_path}/conf.d\n")
    assert ill(found) == {"max_queued_messages": "bad"}
    assert "more.conf:1" in next(f.what for f in found if f.status == "bad")


def test_the_worst_finding_is_the_verdict() -> None:
    ok, warning, bad = Finding("ok", "", ""), Finding("warning", "", ""), Finding("bad", "", "")
    assert worst([]) == worst([ok]) == "ok"
    assert worst([ok, warning]) == "warning"
    assert worst([warning, bad, ok]) == "bad"
