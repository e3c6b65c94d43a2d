"""The collector's API as the commands use it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx
from httpx import codes

from devices.problems import Problems
from devices.secretfile import read_secret

TIMEOUT = httpx.Timeout(10.0)
PAGE = 500


_MAKE_ONE = "`nagari token create --role viewer --out FILE` makes one; name the file with --token-file"


def _find_token(file: Path | None) -> str:
    if file is not None:
        return read_secret(file)
    if token := os.environ.get("NAGARI_TOKEN", "").strip():
        return token
    raise Problems.one("NAGARI_TOKEN", "there is no API token", _MAKE_ONE)


class Api:
    """Talks to one collector as one person. Raises Problems for whatever goes wrong.

    The token is in the file, else in NAGARI_TOKEN.
    """

    def __init__(self, url: str, token_file: Path | None) -> None:
        self.url = url.rstrip("/")
        self._token_from = "NAGARI_TOKEN" if token_file is None else str(token_file)
        headers = {"Authorization": f"Bearer {_find_token(token_file)}"}
        # The API is asked directly: a proxy from the environment is for the world outside.
        try:
            self.http = httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT, trust_env=False)
        except (httpx.InvalidURL, UnicodeEncodeError):
            raise _no_address(url) from None

    def get(self, path: str, **params: str | int | None) -> dict[str, Any]:
        """GET /api/v1/{path}; parameters that are None are left out."""
        return self._ask(
            "GET", path, params={name: value for name, value in params.items() if value is not None}
        )

    def post(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """POST /api/v1/{path}."""
        return self._ask("POST", path, json=dict(body))

    def pages(self, path: str, key: str, most: int, **params: str | int | None) -> Iterator[dict[str, Any]]:
        """At most `most` items of a list, page by page."""
        cursor: str | int | None = None
        while most > 0:
            page = self.get(path, limit=min(most, PAGE), cursor=cursor, **params)
            items = page[key][:most]
            yield from items
            most -= len(items)
            cursor = page.get("cursor") or page.get("next")
            if cursor is None or not items:
                return

    @contextmanager
    def stream(self, last_id: str) -> Iterator[Iterator[str]]:
        """The lines of the event stream, after `last_id`. Raises httpx.TransportError when it breaks."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        quiet = httpx.Timeout(10.0, read=60.0)
        with self.http.stream("GET", "/api/v1/stream", headers=headers, timeout=quiet) as answer:
            if answer.is_server_error:  # it is stopping, or has too many clients: try again later
                raise httpx.ReadError(f"it answered {answer.status_code}")
            if answer.is_error:
                answer.read()
                raise self._refusal(answer)
            yield answer.iter_lines()

    def _ask(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        try:
            answer = self.http.request(method, f"/api/v1/{path}", **how)
        except httpx.UnsupportedProtocol:
            raise _no_address(self.url) from None
        except httpx.TransportError as error:
            why = str(error) or type(error).__name__
            mend = "start it with `nagari run`, or say where it is with --url"
            raise Problems.one(self.url, f"the collector does not answer ({why})", mend) from None
        if answer.is_error:
            raise self._refusal(answer)
        try:
            found: dict[str, Any] = answer.json()
        except ValueError:
            raise Problems.one(self.url, "what answers is not a collector", "check --url") from None
        return found

    def zone(self) -> ZoneInfo | None:
        """The region's time zone; None if this machine does not know it."""
        try:
            return ZoneInfo(self.get("sites", limit=1)["region"]["timezone"])
        except (ZoneInfoNotFoundError, KeyError, ValueError):
            return None

    def _refusal(self, answer: httpx.Response) -> Problems:
        """What the API refused, in its own words where it has some."""
        if answer.status_code == codes.UNAUTHORIZED:
            what = f"the collector at {self.url} does not know this token, or it has ended"
            return Problems.one(self._token_from, what, _MAKE_ONE)
        try:
            said = answer.json()
            return Problems.one(said["where"] or str(answer.url), said["error"], said["mend"] or "see --help")
        except (ValueError, KeyError, TypeError):
            what = f"answered {answer.status_code} {answer.reason_phrase}"
            return Problems.one(str(answer.url), what, "check --url: is it a collector?")


def _no_address(url: str) -> Problems:
    return Problems.one("--url", f"{url!r} is no address", 'write it like "http://127.0.0.1:8080"')
