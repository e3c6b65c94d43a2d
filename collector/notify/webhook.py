"""The webhook channel: one signed POST per note."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, urlsplit

import httpx

from collector.core.config import Webhook
from collector.notify.channel import Note, NotSent
from collector.notify.target import LookUp, pick, public, resolve
from devices.problems import Problems
from devices.secretfile import read_secret

# It logs every url in full, and a webhook's url may be a secret.
logging.getLogger("httpx").setLevel(logging.WARNING)

_REFUSED = {400, 413, 422}  # the note itself is at fault; everything else may heal, a 404 or 401 too
_MOST_WAIT = 300.0  # an answer may not silence us for longer than this


class WebhookChannel:
    """POSTs each note as JSON; only a status of 2xx counts as delivered.

    Headers: `Idempotency-Key` (the same for the same happening), and with a secret `Nagari-Timestamp`
    (epoch s) and `Nagari-Signature: v1=<hex HMAC-SHA256 of "timestamp.body">`. Redirects are never followed.
    """

    def __init__(
        self,
        config: Webhook,
        *,
        timeout: float = 10.0,
        clock: Callable[[], float] = time.time,
        resolver: LookUp = resolve,
    ) -> None:
        self.name = f"webhook:{config.name}"
        self._config = config
        self._url = _checked(config)
        self._key = read_secret(config.secret_file).encode() if config.secret_file else None
        self._timeout = timeout
        self._clock = clock
        self._resolver = resolver
        self._client: httpx.AsyncClient | None = None

    async def send(self, note: Note) -> None:
        """POST it once. Raises NotSent: permanent on 400, 413 and 422."""
        body = encode(note)
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._post(body, note.key)
        except TimeoutError:
            raise NotSent(f"{self._where} did not answer within {self._timeout:g} s") from None
        except httpx.HTTPError as error:
            raise NotSent(f"{self._where} cannot be reached ({type(error).__name__})") from None
        self._judge(answer)

    async def close(self) -> None:
        """Close the connections it keeps."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    @property
    def _where(self) -> str:
        # Never the whole url: its path or query may be a secret.
        return f"{self.name} at {self._url.hostname}"

    async def _post(self, body: bytes, key: str) -> httpx.Response:
        host, port = str(self._url.hostname), _port(self._url)
        address = await pick(host, port, allow_private=self._config.allow_private, resolver=self._resolver)
        if self._client is None:
            # No environment proxy: it would connect to addresses that nobody checked. No kept connections:
            # one that was opened to yesterday's address must not outlive today's check.
            self._client = httpx.AsyncClient(
                follow_redirects=False,
                trust_env=False,
                timeout=self._timeout,
                limits=httpx.Limits(max_keepalive_connections=0),
            )
        request = self._client.build_request(
            "POST",
            httpx.URL(self._config.url).copy_with(host=address, port=port),
            content=body,
            headers={"Host": _host_header(self._url), **self._headers(body, key)},
            extensions={"sni_hostname": host},
        )
        answer = await self._client.send(request, stream=True)
        await answer.aclose()  # its body is of no interest, however long it is
        return answer

    def _headers(self, body: bytes, key: str) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "User-Agent": "nagari", "Idempotency-Key": key}
        if self._key is not None:
            stamp = str(int(self._clock()))
            headers["Nagari-Timestamp"] = stamp
            headers["Nagari-Signature"] = sign(self._key, stamp, body)
        return headers

    def _judge(self, answer: httpx.Response) -> None:
        code = answer.status_code
        if 200 <= code < 300:
            return
        redirect = ", a redirect, which is never followed" if 300 <= code < 400 else ""
        raise NotSent(
            f"{self._where} answered {code}{redirect}",
            permanent=code in _REFUSED,
            retry_after=retry_after(answer.headers, self._clock()),
        )


def encode(note: Note) -> bytes:
    """The body: compact JSON with key, seq, kind, at (epoch ms), by, comment, summary by language, alert."""
    body = {
        "key": note.key,
        "seq": note.seq,
        "kind": note.kind,
        "at": note.at,
        "by": note.by,
        "comment": note.comment,
        "summary": dict(note.summary),
        "alert": dict(note.alert),
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def sign(key: bytes, stamp: str, body: bytes) -> str:
    """The signature header's value for a body sent at `stamp`."""
    return "v1=" + hmac.new(key, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that an answer's Retry-After asks for (a number or a date), at most 300; None if none."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isdecimal():
        return min(float(text[:9]), _MOST_WAIT)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return min(max(when.timestamp() - now, 0.0), _MOST_WAIT)


def _checked(config: Webhook) -> SplitResult:
    where = f"notify.webhook {config.name}: url"
    parts = urlsplit(config.url)
    if parts.username or parts.password:
        raise Problems.one(where, "holds a user or password", "sign with secret_file instead")
    try:
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise Problems.one(where, "has no valid port", "write it like https://host:8443/path") from None
    if not host:
        raise Problems.one(where, "names no host", "write it like https://host/path")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return parts
    if not config.allow_private and not public(address):
        raise Problems.one(
            where, f"{host} is not on the open internet", "set allow_private = true if it is meant"
        )
    return parts


def _port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _host_header(url: SplitResult) -> str:
    return url.netloc.rpartition("@")[2]
