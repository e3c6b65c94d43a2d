from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from collector.core.config import Webhook
from collector.core.inert import inert
from collector.notify.channel import Note
from collector.notify.webhook import WebhookChannel, encode, retry_after, sign
from devices.problems import Problems

NOTE = Note(
    7,
    "raised",
    1_764_000_000_123,
    {"id": "a1", "site": "1305012001", "severity": "major", "count": 1},
    {"id": "Daya optik −28,5 dBm", "en": "Optical power −28.5 dBm"},
)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1/x", "127.0.0.1 is not on the open internet"),
        ("http://[::1]/x", "::1 is not on the open internet"),
        ("http://[::ffff:10.0.0.1]/x", "not on the open internet"),
        ("https://user:pass@example.org/", "holds a user or password"),
        ("https://example.org:99999/", "has no valid port"),
        ("https:///path", "names no host"),
    ],
)
def test_a_url_that_must_not_be_is_refused_at_the_start(url: str, says: str) -> None:
    with pytest.raises(Problems, match=says):
        WebhookChannel(Webhook(name="duty", url=url))


def test_a_private_url_is_taken_where_the_config_says_so() -> None:
    assert (
        WebhookChannel(Webhook(name="duty", url="http://10.0.0.5/x", allow_private=True)).name
        == "webhook:duty"
    )


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("s3cret")
    file.chmod(0o644)
    with pytest.raises(Problems, match="others can read this secret"):
        WebhookChannel(Webhook(name="duty", url="https://example.org/", secret_file=file))


def test_the_body_has_both_languages_and_the_alert() -> None:
    body = json.loads(encode(NOTE))
    assert body["summary"] == {"id": "Daya optik −28,5 dBm", "en": "Optical power −28.5 dBm"}
    assert body["alert"]["id"] == "a1"
    assert (body["kind"], body["at"], body["seq"], body["key"]) == ("raised", 1_764_000_000_123, 7, NOTE.key)


def test_the_signature_is_an_hmac_over_stamp_and_body() -> None:
    expected = hmac.new(b"key", b"1764000000.{}", hashlib.sha256).hexdigest()
    assert sign(b"key", "1764000000", b"{}") == f"v1={expected}"


def test_the_key_tells_happenings_apart_and_survives_a_rebuilt_outbox() -> None:
    assert replace(NOTE, seq=9000).key == NOTE.key
    assert len({NOTE.key, replace(NOTE, kind="cleared").key, replace(NOTE, at=NOTE.at + 1).key}) == 3


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", None),
        ("30", 30.0),
        ("999999999999", 300.0),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2026 07:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_never_more_than_five_minutes(
    header: str, seconds: float | None
) -> None:
    now = 1792567680.0  # Wed, 21 Oct 2026 07:28:00 GMT
    assert retry_after(httpx.Headers({"Retry-After": header} if header else {}), now) == seconds


def test_a_new_line_from_the_field_forges_no_log_entry() -> None:
    assert inert("ok\n2026-11-24 ERROR forged\x1b[31m") == "ok\\n2026-11-24 ERROR forged\\x1b[31m"
