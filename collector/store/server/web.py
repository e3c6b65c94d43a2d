"""HTTP to a time-series server: lines out by influxdb-client, questions by httpx; errors in a sentence."""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import urllib3
from influxdb_client import InfluxDBClient, WritePrecision  # type: ignore[attr-defined]
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

from collector.store.base import StoreError
from collector.store.server.refusal import LinesRefusedError
from devices.problems import Problems

CONNECT_S, ANSWER_S, QUERY_S = 3.0, 5.0, 30.0
"""Patience for a connection, for a write's answer (a stop waits as long), for a chart's."""
_FOR_GOOD = {400, 413, 422}
_SHOWN = 200
_DENIED = {401, 403}

FormData = Mapping[str, str]


def authorization(kind: str, token: str | None) -> dict[str, str]:
    """The header that shows a token: InfluxDB's own way, a bearer's, or (`user:password`) the basic one."""
    if token is None:
        return {}
    if kind == "influx":
        return {"Authorization": f"Token {token}"}
    if ":" in token:
        return {"Authorization": f"Basic {base64.b64encode(token.encode()).decode()}"}
    return {"Authorization": f"Bearer {token}"}


class Web:
    """Questions to the server at `url`. Every method raises StoreError: away, slow, or an error's answer."""

    def __init__(self, url: str, headers: Mapping[str, str], tls: ssl.SSLContext | None) -> None:
        self.url = url
        timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S)
        self._client = httpx.Client(
            headers=headers, timeout=timeout, verify=tls or True, trust_env=False, follow_redirects=False
        )

    def get(self, path: str, params: FormData | None = None) -> httpx.Response:
        """The answer, whatever its status."""
        with self._told():
            return self._client.get(self.url + path, params=params)

    def ask(self, path: str, form: FormData) -> Any:
        """The JSON answer to a form."""
        with self._told():
            answer = self._client.post(self.url + path, data=form, timeout=QUERY_S)
            self._must_be_good(answer)
            return answer.json()

    def stream(self, path: str, form: FormData) -> Iterator[str]:
        """The lines of the answer to a form, as they come."""
        with self._told(), self._client.stream("POST", self.url + path, data=form, timeout=QUERY_S) as answer:
            if answer.status_code >= 300:
                answer.read()
            self._must_be_good(answer)
            yield from answer.iter_lines()

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _must_be_good(self, answer: httpx.Response) -> None:
        if answer.status_code >= 300:
            raise failed(self.url, answer.status_code, answer.text)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException:
            raise StoreError(f"{self.url} does not answer in time", permanent=False) from None
        except (httpx.HTTPError, ValueError) as error:
            raise StoreError(f"{self.url} does not answer ({error})", permanent=False) from None


class LineWriter:
    """Finished line protocol to a bucket, one request a call, through influxdb-client without its retries.

    (They give up after a while, and drop what they held.)
    """

    def __init__(self, url: str, org: str, bucket: str, headers: Mapping[str, str], ca: str | None) -> None:
        self._url, self._org, self._bucket = url, org, bucket
        patience = (int(CONNECT_S * 1e3), int(ANSWER_S * 1e3))
        self.client = InfluxDBClient(url, "", timeout=patience, org=org, retries=False, ssl_ca_cert=ca)
        self.client.api_client.default_headers.pop("Authorization", None)
        self.client.api_client.default_headers.update(headers)
        self._api = self.client.write_api(write_options=SYNCHRONOUS)

    def write(self, rows: list[str]) -> None:
        """Send lines; returns once they are acknowledged. Raises LinesRefusedError, StoreError."""
        body = "\n".join(rows).encode()
        try:
            self._api.write(self._bucket, self._org, body, write_precision=WritePrecision.NS)  # type: ignore[arg-type]
        except ApiException as error:
            raise self._refused(error) from None
        except urllib3.exceptions.TimeoutError:
            raise StoreError(f"{self._url} does not answer in time", permanent=False) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise StoreError(f"{self._url} does not answer ({_short(str(error))})", permanent=False) from None

    def close(self) -> None:
        """Let go of the connections."""
        self.client.close()  # type: ignore[no-untyped-call]

    def _refused(self, error: ApiException) -> LinesRefusedError | StoreError:
        status, body = int(error.status or 0), error.body or b""
        text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
        if status not in _FOR_GOOD:
            return failed(self._url, status, text)
        dropped = re.search(r"\bdropped=(\d+)", text)
        return LinesRefusedError(f"{status} {_short(text)}".strip(), int(dropped[1]) if dropped else 0)


def failed(url: str, status: int, body: str) -> StoreError:
    """What an answer that is an error says, with the mend where a person can mend it."""
    what = f"{url} answers {status} {_short(body)}".strip()
    if status in _DENIED:
        what += "; check store.token_file"
    elif status == 404:
        what += "; check store.url"
    return StoreError(what, permanent=False)


def must_be_let_in(url: str, answer: httpx.Response, token: str | None) -> None:
    """Raises Problems where the answer says that the token is wrong or missing."""
    if answer.status_code in _DENIED:
        what = f"{url} refuses the token ({answer.status_code})" if token else f"{url} wants a token"
        raise Problems.one("store.token_file", what, "name a file with a token that may read and write there")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[:_SHOWN] + " …"
