"""A configuration is taken whole or refused with every error named: file or variable, key, and mend."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.core.config import Config, check, load, seconds, size
from collector.core.configfaults import key_lines
from devices.problems import Problems
from devices.secretfile import read_secret


def write(folder: Path, text: str) -> Path:
    file = folder / "nagari.toml"
    file.write_text(text, "utf-8")
    return file


def refusals(folder: Path, text: str, env: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(Problems) as refused:
        load(write(folder, text), env or {})
    return [str(problem) for problem in refused.value.problems]


def test_an_empty_file_gives_the_defaults_with_paths_from_the_files_folder(tmp_path: Path) -> None:
    config = load(write(tmp_path, ""), {})
    assert config.mqtt.host == "127.0.0.1"
    assert config.mqtt.port == 1883
    assert config.journal.max_bytes == 20 * 10**9
    assert config.journal.max_age == 30 * 86400
    assert config.data.dir == tmp_path / "data"
    assert config.region.dir == tmp_path / "deploy" / "padang-pariaman"


def test_relative_paths_count_from_the_file_and_absolute_ones_stay(tmp_path: Path) -> None:
    text = """
    [data]
    dir = "/var/lib/nagari"
    [mqtt]
    password_file = "secrets/broker"
    [[notify.webhook]]
    name = "duty"
    url = "https://example.org/hook"
    secret_file = "secrets/hook"
    """
    config = load(write(tmp_path, text), {})
    assert config.data.dir == Path("/var/lib/nagari")
    assert config.mqtt.password_file == tmp_path / "secrets" / "broker"
    assert config.notify.webhook[0].secret_file == tmp_path / "secrets" / "hook"


WRONG = {
    "[data]\ndirr = 'x'": ("nagari.toml:2: data.dirr", "is not a setting; did you mean dir?", "dir, reserve"),
    "[jurnal]\nmax_age = '1d'": ("nagari.toml:1: jurnal", "is not a setting; did you mean journal?"),
    "[journal]\nmax_bytes = 'lots'": ("journal.max_bytes", "'lots' is no size", '"20GB"'),
    "[journal]\nmax_bytes = 0": ("journal.max_bytes", "greater than 0", "got"),
    "[journal]\nmax_bytes = true": ("journal.max_bytes", "no size", '"20GB"'),
    "[journal]\nmax_age = '3 weeks'": ("journal.max_age", "no duration", '"30d"'),
    "[mqtt]\nurl = 'http://x'": ("mqtt.url", "no broker", "mqtt://"),
    "[mqtt]\nurl = 'mqtt://x:99999'": ("mqtt.url", "Port out of range", "got"),
    "[mqtt]\nurl = 'mqtt://a:b@x'": ("mqtt.url", "a password does not belong", "password_file"),
    "[mqtt]\nkeepalive = '100ms'": ("mqtt.keepalive", "greater than or equal to 2", "got"),
    "[mqtt]\nkeepalive = '1d'": ("mqtt.keepalive", "less than or equal to 65535", "got"),
    "[mqtt]\nreceive_max = 0": ("mqtt.receive_max", "greater than or equal to 1", "got"),
    "[mqtt]\nclient_id = 'a b'": ("mqtt.client_id", "match pattern", "got"),
    "[http]\nlisten = 'localhost'": ("http.listen", "match pattern", "got"),
    "[http]\nlisten = '127.0.0.1:70000'": ("http.listen", "no port", "127.0.0.1:8080"),
    "[store]\nurl = 'influx://h/o'": ("store.url", "names no organisation and bucket", "/org/bucket"),
    "[store]\nurl = 'influx://h:x/o/b'": ("store.url", "Port could not be cast", "got"),
    "[store]\nurl = 'victoria://'": ("store.url", "is no victoria server", "victoria://127.0.0.1:8428"),
    "[store]\nurl = 'influx://a:b@h/o/b'": ("store.url", "a password does not belong", "token_file"),
    "[store]\nurl = 'postgres://h/o'": ("store.url", "no store this version knows", "victoria://"),
    "data = 5": ("data", "dictionary", "got"),
    "[[notify.webhook]]\nname = 'a'\nurl = 'https://x'\nsecrt = 'y'": (
        "nagari.toml:4: notify.webhook.0.secrt",
        "is not a setting; did you mean secret_file?",
        "name, url, secret_file, allow_private",
    ),
    "[[notify.webhook]]\nname = 'a'": ("nagari.toml:1: notify.webhook.0.url", "required", "write it"),
    "[http]\nlisten = '127.0.0.1:8080'\nzzz = 1": (
        "nagari.toml:3: http.zzz",
        "one of listen, secure_cookie, hosts",
    ),
    "data = {dirr = 'x'}": ("nagari.toml:1: data.dirr", "did you mean dir?"),
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text.replace("\n", " "))
def test_every_error_names_the_file_the_key_and_the_mend(tmp_path: Path, text: str) -> None:
    [said] = refusals(tmp_path, text)
    assert str(tmp_path / "nagari.toml") in said
    for part in WRONG[text]:
        assert part in said, said
    assert "\n" not in said


@pytest.mark.parametrize(
    "text",
    [
        "[[notify.webhook]]\nname = 'a'\nurl = 'htps://h/geheim'",
        "[[notify.webhook]]\nnam = 'a'\nurl = 'https://h/geheim'",
        "[[notify.webhook]]\nurl = 'https://h/geheim'",
        "[notify]\nwebhook = 'https://h/geheim'",
        "[notify]\nwebhook = ['https://h/geheim']",
        "[mqtt]\nurl = 'http://u:geheim@h'",
        "[mqtt]\nurl = 'mqtt://u:geheim@h'",
        "[mqtt]\nurl = 'mqtt://u:geheim@h:99999'",
        "[mqtt]\nurl = 'mqtt://u:geh/geheim@h:1'",
        "[store]\nurl = 'postgres://u:geheim@h/o'",
        "[store]\nurl = 'influx://u:geheim@h:x/o/b'",
    ],
)
def test_a_mistake_in_an_address_does_not_show_the_secret_in_it(tmp_path: Path, text: str) -> None:
    assert "geheim" not in "\n".join(refusals(tmp_path, text))


@given(st.text())
def test_looking_for_lines_takes_any_text(text: str) -> None:
    assert all(0 < line <= len(text.splitlines()) for line in key_lines(text).values())


def test_all_errors_are_told_at_once(tmp_path: Path) -> None:
    said = refusals(tmp_path, "[journal]\nmax_age = 'x'\n[mqtt]\nurl = 'y'\n[web]\n")
    assert len(said) == 3


def test_what_is_no_toml_names_the_line(tmp_path: Path) -> None:
    [said] = refusals(tmp_path, "[data]\ndir = \n")
    assert "nagari.toml" in said
    assert "line 2" in said


def test_a_missing_file_and_one_that_is_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Problems, match=r"there is no such file; name one with --config"):
        load(tmp_path / "absent.toml", {})
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(Problems, match="UTF-8"):
        load(tmp_path / "bytes.toml", {})


def test_the_environment_overrides_and_adds(tmp_path: Path) -> None:
    env = {"NAGARI_MQTT__CLIENT_ID": "other", "NAGARI_JOURNAL__MAX_AGE": "12h", "NAGARI_NOTIFY__LOG": "false"}
    config = load(write(tmp_path, "[mqtt]\nclient_id = 'mine'\n"), {**env, "HOME": "/", "NAGARI_TOKEN": "t"})
    assert config.mqtt.client_id == "other"
    assert config.journal.max_age == 12 * 3600
    assert config.notify.log is False


def test_an_error_from_the_environment_names_the_variable(tmp_path: Path) -> None:
    [wrong] = refusals(tmp_path, "", {"NAGARI_JOURNAL__MAX_AGE": "soon"})
    assert wrong.startswith("NAGARI_JOURNAL__MAX_AGE: 'soon' is no duration")
    [unknown] = refusals(tmp_path, "", {"NAGARI_JOURNAL__AGE": "1d"})
    assert unknown.startswith("NAGARI_JOURNAL__AGE: is not a setting")


def test_an_override_of_a_section_that_is_none_in_the_file_does_not_hide_the_error(tmp_path: Path) -> None:
    [said] = refusals(tmp_path, "data = 5\n", {"NAGARI_DATA__DIR": "/x"})
    assert "dictionary" in said


def test_a_tree_is_checked_as_a_file_would_be(tmp_path: Path) -> None:
    config = check({"data": {"dir": "d"}}, tmp_path / "demo.toml")
    assert isinstance(config, Config)
    assert config.data.dir == tmp_path / "d"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o601])
def test_a_secret_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "password"
    file.write_text("canary-5\n")
    file.chmod(mode)
    with pytest.raises(Problems, match="others can read this secret; chmod 600") as refused:
        read_secret(file)
    assert "canary" not in str(refused.value)
    file.chmod(0o600)
    assert read_secret(file) == "canary-5"


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("20GB", 20 * 10**9), ("500 MB", 5 * 10**8), (7, 7), ("1.5kb", 1500), ("2tb", 2 * 10**12), ("9B", 9)],
)
def test_sizes(text: object, bytes_: int) -> None:
    assert size(text) == bytes_


@pytest.mark.parametrize(
    ("text", "s"),
    [("30d", 30 * 86400), ("10m", 600), ("1.5s", 1.5), ("250ms", 0.25), (3, 3.0), ("2 h", 7200)],
)
def test_durations(text: object, s: float) -> None:
    assert seconds(text) == s


@pytest.mark.parametrize("text", ["", "GB", "-1", "1e9", "1XB", True, None, "1 2"])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(ValueError, match="no size"):
        size(text)


@pytest.mark.parametrize("text", ["", "d", "-1s", "1w", False, None, "1h30", "90 m 10"])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="no duration"):
        seconds(text)


def test_the_broker_under_tls_has_its_own_port(tmp_path: Path) -> None:
    mqtt = load(write(tmp_path, "[mqtt]\nurl = 'mqtts://broker.example'\n"), {}).mqtt
    assert (mqtt.tls, mqtt.host, mqtt.port) == (True, "broker.example", 8883)
