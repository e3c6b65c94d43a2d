"""InfluxDB 2 as a `Server`: finished line protocol in, Flux with parameters out.

It answers a write once its own log is synced, so what it took is kept, and a start of it loses nothing. Equal
(series, time) overwrite each other, so a line may be written twice. Open-source InfluxDB 2 knows no `params`
of a query; influxdb-client sends ours as an `extern` of options, which the query's names then stand for: the
text of a query is always one of those below, whatever is asked.
"""

from __future__ import annotations

import csv
import io
import ssl
from collections.abc import Iterator
from typing import Any

import numpy as np
import urllib3
from influxdb_client import Dialect  # type: ignore[attr-defined]
from influxdb_client.rest import ApiException

from collector.core.readings import F64, I64, Bools, SeriesKey
from collector.core.storeurl import StoreUrl
from collector.store.base import Aggregate, StoreError, TierUsage
from collector.store.server import scanning
from collector.store.server.folding import fold
from collector.store.server.remote import NewestReading, Piece
from collector.store.server.web import LineWriter, Web, authorization, failed, must_be_let_in
from devices.problems import Problems

_MEND = "2.x is needed (a VictoriaMetrics is written victoria://host:8428)"
_HOUR = 3_600 * 10**9
_DEVICES = 20  # in one question
_STRETCH = 50_000  # readings of one answer, when they are folded here
_FROM = "from(bucket: nBucket) |> range(start: time(v: nStart), stop: time(v: nStop))"
_SERIES = (
    ' |> filter(fn: (r) => r._measurement == nMetric and r._field == "value"'
    " and r.site == nSite and r.device == nDevice)"
)
_PLAIN = ' |> group() |> keep(columns: ["_time", "_value"])'
RAW = _FROM + _SERIES + _PLAIN + ' |> sort(columns: ["_time"]) |> limit(n: nLimit)'
_BUCKETS = (
    _FROM
    + _SERIES
    + ' |> aggregateWindow(every: duration(v: nStep), fn: {}, createEmpty: false, timeSrc: "_start")'
    + _PLAIN
    + ' |> sort(columns: ["_time"]) |> limit(n: nLimit)'
)
BUCKETS: dict[Aggregate, str] = {
    "mean": _BUCKETS.format("mean"),
    "min": _BUCKETS.format("min"),
    "max": _BUCKETS.format("max"),
    "last": _BUCKETS.format("last"),
    "count": _BUCKETS.format("count"),
}
NEWEST = (
    _FROM
    + ' |> filter(fn: (r) => r._measurement == nMetric and r._field == "value") |> last()'
    + ' |> group() |> keep(columns: ["site", "device", "_time", "_value"])'
)
_FIND = (
    _FROM
    + ' |> filter(fn: (r) => r._measurement == nMetric and r._field == "value" and ({}))'
    + ' |> group() |> keep(columns: ["site", "device", "_time", "_value"])'
)
SCAN = (
    _FROM
    + ' |> filter(fn: (r) => r._field == "value" or r._field == "quality") |> group()'
    + ' |> keep(columns: ["_measurement", "site", "device", "_field", "_time", "_value"])'
    + " |> limit(n: nLimit)"
)
_CSV = Dialect(header=True, annotations=[], date_time_format="RFC3339Nano")  # type: ignore[no-untyped-call]


def find_text(devices: int) -> str:
    """The question for what so many devices measured: their ids are parameters, nDevice0 and on."""
    return _FIND.format(" or ".join(f"r.device == nDevice{n}" for n in range(devices)))


class Influx:
    """The bucket that a place names; `ca` is a PEM file for TLS. Connects to nothing by itself."""

    resolution = 1
    tolerance = 0.0
    settles = 0.0

    def __init__(self, place: StoreUrl, token: str | None, ca: str | None = None) -> None:
        headers = authorization("influx", token)
        tls = ssl.create_default_context(cafile=ca) if ca else None
        self._url, self._org, self._bucket = place.http, place.org, place.bucket
        self._web = Web(place.http, headers, tls)
        self._lines = LineWriter(place.http, place.org, place.bucket, headers, ca)
        self._query = self._lines.client.query_api()
        self._token = token

    def check(self) -> list[str]:
        """Raises Problems for what a person must mend, StoreError while it is away; gives doubts."""
        answer = self._web.get("/ping")
        if answer.status_code >= 500:
            raise failed(self._url, answer.status_code, answer.text)
        version = answer.headers.get("X-Influxdb-Version", "").removeprefix("v")
        if not version:
            raise Problems.one("store.url", f"{self._url} is no InfluxDB", _MEND)
        if not version.startswith("2."):
            raise Problems.one("store.url", f"{self._url} is InfluxDB {version}", _MEND)
        return self._check_bucket()

    def incarnation(self) -> str:
        """Always the same: a start loses nothing that was acknowledged."""
        return "durable"

    def write(self, rows: list[str]) -> None:
        """Send lines; returns once they are acknowledged. Raises LinesRefusedError, StoreError."""
        self._lines.write(rows)

    def show(self) -> None:
        """What was written is found at once."""

    def find(self, keys: list[SeriesKey], which: I64, times: I64) -> tuple[Bools, F64]:
        """For each (keys[which[i]], times[i]): is it there, and its value (NaN where it is not)."""
        there, value = np.zeros(len(times), np.bool_), np.full(len(times), np.nan)
        asked: dict[tuple[int, str], list[int]] = {}
        for row, (number, when) in enumerate(zip(which.tolist(), times.tolist(), strict=True)):
            asked.setdefault((when // _HOUR, keys[number].metric), []).append(row)
        for (_, metric), rows in asked.items():
            devices = sorted({keys[which[row]].device for row in rows})
            for at in range(0, len(devices), _DEVICES):
                some = devices[at : at + _DEVICES]
                mine = [row for row in rows if some[0] <= keys[which[row]].device <= some[-1]]
                known = self._known(metric, some, [int(times[row]) for row in mine])
                for row in mine:
                    found = known.get((keys[which[row]].site, keys[which[row]].device, int(times[row])))
                    if found is not None:
                        there[row], value[row] = True, found
        return there, value

    def newest(self, metric: str, since: int, until: int) -> Iterator[NewestReading]:
        """Of every series of that metric the newest reading with since <= t < until."""
        if since < until:
            yield from self._placed(NEWEST, {"nMetric": metric, "nStart": since, "nStop": until})

    def points(
        self, key: SeriesKey, start: int, end: int, step: int | None, agg: Aggregate, limit: int
    ) -> list[tuple[int, float]]:
        """As Store.points."""
        if step is None:
            when, value = self._raw(key, start, end, limit)
            return list(zip(when.tolist(), value.tolist(), strict=True))
        asked = {**_of(key), "nStart": start, "nStop": end, "nStep": step, "nLimit": limit}
        rows = self._ask(BUCKETS[agg], asked)
        value = np.array([row["_value"] for row in rows], np.float64)
        if not np.isfinite(value).all():  # their sum overflows, their mean does not
            return fold(self._stretches(key, start, end), step, agg, limit)
        when = _times([row["_time"] for row in rows]) // step * step  # the first bucket is cut by the start
        return list(zip(when.tolist(), value.tolist(), strict=True))

    def scan(self, start: int, end: int) -> Iterator[Piece]:
        """As Store.scan."""
        yield from scanning.pieces(self._stretch, start, end, 1)

    def usage(self) -> list[TierUsage]:
        """Nothing: it does not say."""
        return []

    def close(self) -> None:
        """Let go of its connections."""
        self._web.close()
        self._lines.close()

    def _check_bucket(self) -> list[str]:
        answer = self._web.get("/api/v2/buckets", {"org": self._org, "name": self._bucket})
        must_be_let_in(self._url, answer, self._token)
        what = f"{self._url} knows no organisation {self._org}"
        if answer.status_code < 300:
            buckets = answer.json().get("buckets", [])
            if buckets:
                return self._doubts(buckets[0])
            what = f"{self._url} has no bucket {self._bucket} in {self._org} that this token may read"
        elif answer.status_code not in {400, 404}:
            raise failed(self._url, answer.status_code, answer.text)
        raise Problems.one("store.url", what, "create it, or mend influx://host:8086/org/bucket")

    def _doubts(self, bucket: dict[str, Any]) -> list[str]:
        keeps = min(
            (rule.get("everySeconds", 0) or 0 for rule in bucket.get("retentionRules", [])), default=0
        )
        if not keeps or keeps >= 365 * 86_400:
            return []
        what = f"the bucket {self._bucket} keeps {keeps / 86_400:g} days only"
        return [f"{what}: what is older is refused and goes to the rejects; let it keep at least a year"]

    def _known(self, metric: str, devices: list[str], when: list[int]) -> dict[tuple[str, str, int], float]:
        """What is there of the devices between the first and the last of the times."""
        asked: dict[str, object] = {f"nDevice{n}": device for n, device in enumerate(devices)}
        asked |= {"nMetric": metric, "nStart": min(when), "nStop": max(when) + 1}
        wanted = set(when)
        rows = self._placed(find_text(len(devices)), asked)
        return {(site, device, at): value for site, device, at, value in rows if at in wanted}

    def _stretch(self, start: int, end: int) -> Piece | None:
        """All readings with start <= t < end; None if they are too many for one piece."""
        most = scanning.MOST if end - start > 1 else 2**31
        rows = self._ask(SCAN, {"nStart": start, "nStop": end, "nLimit": most + 1})
        if len(rows) > most:
            return None
        return scanning.piece(_columns(rows))

    def _raw(self, key: SeriesKey, start: int, end: int, limit: int) -> tuple[I64, F64]:
        rows = self._ask(RAW, {**_of(key), "nStart": start, "nStop": end, "nLimit": limit})
        return _times([row["_time"] for row in rows]), np.array([row["_value"] for row in rows], np.float64)

    def _stretches(self, key: SeriesKey, start: int, end: int) -> Iterator[tuple[I64, F64]]:
        while start < end:
            when, value = self._raw(key, start, end, _STRETCH)
            yield when, value
            if len(when) < _STRETCH:
                return
            start = int(when[-1]) + 1

    def _placed(self, query: str, asked: dict[str, object]) -> Iterator[NewestReading]:
        rows = self._ask(query, asked)
        when = _times([row["_time"] for row in rows]).tolist()
        for row, at in zip(rows, when, strict=True):
            yield row["site"], row["device"], at, float(row["_value"])

    def _ask(self, query: str, asked: dict[str, object]) -> list[dict[str, str]]:
        """The rows that a query gives, as text: the client's own reading of times would round them."""
        params = {"nBucket": self._bucket, **asked}
        try:
            answer = self._query.query_raw(query, self._org, _CSV, params)
            text = answer.data.decode() if hasattr(answer, "data") else str(answer)
        except ApiException as error:
            raise failed(self._url, int(error.status or 0), str(error.body or "")) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise StoreError(f"{self._url} does not answer ({error})", permanent=False) from None
        rows = _rows(text)
        if rows and "error" in rows[-1]:  # it broke after its answer had begun
            raise StoreError(f"{self._url} broke off: {rows[-1]['error']}", permanent=False)
        return rows


def _of(key: SeriesKey) -> dict[str, object]:
    return {"nMetric": key.metric, "nSite": key.site, "nDevice": key.device}


def _columns(rows: list[dict[str, str]]) -> Iterator[scanning.ScanColumn]:
    """What a scan gave, by series and field."""
    found: dict[tuple[SeriesKey, str], list[dict[str, str]]] = {}
    for row in rows:
        key = SeriesKey(row.get("site", ""), row.get("device", ""), row["_measurement"])
        found.setdefault((key, row["_field"]), []).append(row)
    for (key, field), mine in found.items():
        value = np.array([row["_value"] for row in mine], np.float64)
        yield key, field, _times([row["_time"] for row in mine]), value


def _rows(text: str) -> list[dict[str, str]]:
    """The rows of an answer: tables of CSV, parted by empty lines, each with a head of its own."""
    rows: list[dict[str, str]] = []
    head: list[str] = []
    for row in csv.reader(io.StringIO(text)):
        if not any(row):
            head = []
        elif not head:
            head = row
        else:
            rows.append(dict(zip(head, row, strict=True)))
    return rows


def _times(text: list[str]) -> I64:
    """Epoch ns from RFC 3339 in UTC, to the last digit."""
    return np.array([each.removesuffix("Z") for each in text], "datetime64[ns]").astype(np.int64)
