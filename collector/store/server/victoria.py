"""VictoriaMetrics as a `Server`: the lines of InfluxDB in, PromQL and exports out.

It keeps milliseconds, and of a series' values about fifteen digits of the largest. It answers 204 to
everything, before it has synced anything: what it took it has surely kept once it has lived on for a minute,
so a start of it in between is looked for at its own /metrics. Ids go into selectors only when they are ids
(see lines.speakable).
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from pydantic_core import from_json

from collector.core.readings import F64, I64, Bools, SeriesKey
from collector.store.base import Aggregate, StoreError, TierUsage
from collector.store.server import scanning
from collector.store.server.folding import fold
from collector.store.server.lines import FIELD, QUALITY, speakable
from collector.store.server.remote import NewestReading, Piece
from collector.store.server.victoriacheck import checked
from collector.store.server.web import LineWriter, Web, authorization, failed

MS = 1_000_000
SETTLES = 60.0
_HOUR = 3_600_000
_DEVICES = 50  # in one question
_BUCKETS = 10_000  # in one answer; the server gives 30,000 at most
_ROLLED = 60_000
"""Shorter steps (ms) are folded here: the server would put older values in place of its last 30 s."""
_ROLLUPS: dict[Aggregate, str] = {
    "mean": "avg_over_time",
    "min": "min_over_time",
    "max": "max_over_time",
    "last": "last_over_time",
    "count": "count_over_time",
}
_OURS = f'{{{{__name__=~".+_({FIELD}|{QUALITY})",site!="",site!="{{}}"}}}}'
"""All that is ours. A new number each time: the server remembers for seconds what a selector found."""


class Victoria:
    """A single-node VictoriaMetrics at `url`; `ca` is a PEM file for TLS. Connects to nothing by itself."""

    resolution = MS
    tolerance = 1e-6  # a block of values has one exponent: small ones beside large ones lose digits
    settles = SETTLES

    def __init__(self, url: str, token: str | None, ca: str | None = None) -> None:
        headers = authorization("victoria", token)
        tls = ssl.create_default_context(cafile=ca) if ca else None
        self._web = Web(url, headers, tls)
        self._lines = LineWriter(url, "nagari", "nagari", headers, ca)
        self._token = token
        self._inserted, self._restarts = 0.0, 0
        self._series = 1  # on the server, ours and others', when a scan began

    def check(self) -> list[str]:
        """Raises Problems for what a person must mend, StoreError while it is away; gives doubts."""
        return checked(self._web, self._token)

    def incarnation(self) -> str:
        """The server's start, and how often its counters fell since: a start takes less than their second."""
        answer = self._web.get("/metrics")
        started = re.search(r"^vm_app_start_timestamp (\d+)", answer.text, re.M)
        if answer.status_code >= 300 or started is None:
            raise failed(self._web.url, answer.status_code, answer.text)
        rows = re.search(r'^vm_rows_inserted_total\{type="influx"\} (\S+)', answer.text, re.M)
        inserted = float(rows[1]) if rows else 0.0
        self._restarts += inserted < self._inserted
        self._inserted = inserted
        return f"{started[1]}.{self._restarts}"

    def write(self, rows: list[str]) -> None:
        """Send lines; returns once they are acknowledged. Raises LinesRefusedError, StoreError."""
        self._lines.write(rows)

    def show(self) -> None:
        """Returns once what was written is found by queries."""
        answer = self._web.get("/internal/force_flush")
        if answer.status_code >= 300:
            raise failed(self._web.url + "/internal/force_flush", answer.status_code, answer.text)

    def find(self, keys: list[SeriesKey], which: I64, times: I64) -> tuple[Bools, F64]:
        """For each (keys[which[i]], times[i]): is it there, and its value (NaN where it is not)."""
        there, value = np.zeros(len(times), np.bool_), np.full(len(times), np.nan)
        hours = times // (MS * _HOUR)
        for hour in np.unique(hours).tolist():
            rows = np.flatnonzero(hours == hour)
            devices = sorted({keys[each].device for each in which[rows].tolist()})
            for at in range(0, len(devices), _DEVICES):
                some = set(devices[at : at + _DEVICES])
                mine = np.array([row for row in rows.tolist() if keys[which[row]].device in some], np.intp)
                self._find(keys, which, times, mine, there, value)
        return there, value

    def newest(self, metric: str, since: int, until: int) -> Iterator[NewestReading]:
        """Of every series of that metric the newest reading with since <= t < until."""
        end = -(-until // MS)
        window, at = end + since // -MS, end - 1
        if window <= 0:
            return
        whole = f"{_name(metric)}[{window}ms]"
        values = {_place(row["metric"]): row["value"] for row in self._now(f"last_over_time({whole})", at)}
        for row in self._now(f"tlast_over_time({whole})", at):
            place = _place(row["metric"])
            if place in values:
                yield *place, round(float(row["value"][1]) * 1e3) * MS, float(values[place][1])

    def points(
        self, key: SeriesKey, start: int, end: int, step: int | None, agg: Aggregate, limit: int
    ) -> list[tuple[int, float]]:
        """As Store.points; a step counts in whole milliseconds."""
        selector = f'{_name(key.metric)}{{site="{key.site}",device="{key.device}"}}'
        first, end_ms = max(-(-start // MS), 0), -(-end // MS)
        found: list[tuple[int, float]] | None = None
        if step is None:
            found = self._raw(selector, first, end_ms, limit)
        elif step // MS >= _ROLLED:
            found = self._rolled(selector, first, end_ms, step // MS, agg, limit)
        if found is None:
            assert step is not None
            found = fold(self._stretches(selector, first, end_ms), max(step // MS, 1), agg, limit)
        return [(when * MS, value) for when, value in found]

    def scan(self, start: int, end: int) -> Iterator[Piece]:
        """As Store.scan, whole milliseconds."""
        try:
            self._series = int(self._web.get("/api/v1/series/count").json()["data"][0])
        except (ValueError, KeyError, IndexError, TypeError):
            self._series = 1
        yield from scanning.pieces(self._stretch, max(-(-start // MS), 0) * MS, -(-end // MS) * MS, MS)

    def usage(self) -> list[TierUsage]:
        """All of it as raw readings; of their times it says nothing."""
        answer = self._web.get("/metrics")
        sizes, rows = (
            sum(float(value) for value in re.findall(rf"^{name}.*? (\S+)$", answer.text, re.M))
            for name in ("vm_data_size_bytes", r'vm_rows\{type="storage')
        )
        if answer.status_code >= 300:
            raise failed(self._web.url, answer.status_code, answer.text)
        return [TierUsage("raw", round(rows), round(sizes), None, None)]

    def close(self) -> None:
        """Let go of its connections."""
        self._web.close()
        self._lines.close()

    def _find(
        self, keys: list[SeriesKey], which: I64, times: I64, rows: I64, there: Bools, value: F64
    ) -> None:
        """Answers for some rows, all within one hour."""
        asked: dict[SeriesKey, list[int]] = {}
        for row in rows.tolist():
            asked.setdefault(keys[which[row]], []).append(row)
        known = [key for key in asked if speakable(key)]
        if not known:
            return
        names, sites, devices = ("|".join(sorted({str(key[part]) for key in known})) for part in (2, 0, 1))
        fresh = f'site!="{time.monotonic_ns()}"'  # see _OURS: what was just written has to be found
        selector = f'{{__name__=~"({names})_{FIELD}",site=~"{sites}",device=~"{devices}",{fresh}}}'
        first, last = int(times[rows].min()) // MS, int(times[rows].max()) // MS
        for key, when, values in self._export(selector, first, last + 1):
            mine = np.array(asked.get(key, []), np.intp)
            if not len(when):
                continue
            places = np.searchsorted(when, times[mine] // MS)
            hit = (places < len(when)) & (when[np.minimum(places, len(when) - 1)] == times[mine] // MS)
            there[mine[hit]] = True
            value[mine[hit]] = values[places[hit]]

    def _raw(self, selector: str, first: int, end: int, limit: int) -> list[tuple[int, float]]:
        found: list[tuple[int, float]] = []
        for when, value in self._stretches(selector, first, end):
            found += zip(when.tolist(), value.tolist(), strict=True)
            if len(found) >= limit:
                break
        return found[:limit]

    def _stretches(self, selector: str, first: int, end: int) -> Iterator[tuple[I64, F64]]:
        """The raw readings, first <= t < end (ms), a stretch at a time: longer ones where they are few."""
        span = _HOUR
        while first < end:
            until, count = min(first + span, end), 0
            for _, when, value in self._export(selector, first, until):
                count += len(when)
                yield when, value
            first = until
            span = span * 4 if count < 20_000 else max(span // 4, 1_000) if count > 200_000 else span

    def _export(self, selector: str, first: int, end: int) -> Iterator[tuple[SeriesKey, I64, F64]]:
        """The raw readings of series, first <= t < end (ms), each series' in time's order."""
        for labels, when, value in self._lines_of(selector, first, end):
            name = labels.get("__name__", "").removesuffix("_" + FIELD)
            yield SeriesKey(*_place(labels), name), when, value

    def _lines_of(self, selector: str, first: int, end: int) -> Iterator[tuple[dict[str, str], I64, F64]]:
        form = {
            "match[]": selector,
            "start": _seconds(first),
            "end": _seconds(end - 1),
            "max_rows_per_line": "10000",
        }
        for line in self._web.stream("/api/v1/export", form):
            row = from_json(line)
            when = np.array(row["timestamps"], np.int64)
            inside = (when >= first) & (when < end)
            yield row["metric"], when[inside], np.array(row["values"], float)[inside]

    def _stretch(self, start: int, end: int) -> Piece | None:
        """All readings with start <= t < end (ns); None if they are too many for one piece."""
        found: list[scanning.ScanColumn] = []
        count = 0
        selector = _OURS.format(time.monotonic_ns())
        for labels, when, value in self._lines_of(selector, start // MS, end // MS):
            metric, field = scanning.field_of(labels.get("__name__", ""))
            found.append((SeriesKey(*_place(labels), metric), field, when * MS, value))
            count += len(when)
            if end - start > MS and scanning.too_many(count, len(found), self._series):
                return None
        return scanning.piece(found)

    def _rolled(
        self, selector: str, first: int, end: int, step: int, agg: Aggregate, limit: int
    ) -> list[tuple[int, float]] | None:
        """Buckets folded by the server; None where its sums overflow. The first and last may be cut."""
        whole, after = -(-first // step) * step, end // step * step
        if whole > after:  # both ends cut the same bucket
            found = self._cut(selector, first, end, step, agg)
        else:
            found = self._cut(selector, first, whole, step, agg)
            for at in range(whole, after, step * _BUCKETS):
                if len(found) >= limit:
                    break
                found += self._buckets(selector, at, min(at + step * _BUCKETS, after), step, agg)
            found += self._cut(selector, after, end, step, agg)
        return found[:limit] if np.isfinite([value for _, value in found]).all() else None

    def _cut(self, selector: str, first: int, end: int, step: int, agg: Aggregate) -> list[tuple[int, float]]:
        """The part of a bucket with first <= t < end, if there is something in it."""
        if first >= end:
            return []
        rows = self._now(f"{_ROLLUPS[agg]}({selector}[{end - first}ms])", end - 1)
        return [(first // step * step, float(row["value"][1])) for row in rows]

    def _buckets(
        self, selector: str, first: int, end: int, step: int, agg: Aggregate
    ) -> list[tuple[int, float]]:
        """Whole buckets. A window holds its end, not its begin: it is asked for 1 ms before the next one."""
        form = {
            "query": f"{_ROLLUPS[agg]}({selector}[{step}ms])",
            "start": _seconds(first + step - 1),
            "end": _seconds(end - 1),
            "step": f"{step}ms",
            "nocache": "1",
        }
        rows = self._answer("/api/v1/query_range", form)
        return [(round(t * 1e3) + 1 - step, float(v)) for row in rows for t, v in row["values"]]

    def _now(self, query: str, at: int) -> list[dict[str, Any]]:
        """The vector that a query gives at a time (ms)."""
        return self._answer("/api/v1/query", {"query": query, "time": _seconds(at), "nocache": "1"})

    def _answer(self, path: str, form: dict[str, str]) -> list[dict[str, Any]]:
        try:
            rows: list[dict[str, Any]] = self._web.ask(path, form)["data"]["result"]
        except (KeyError, TypeError) as error:
            raise StoreError(f"{self._web.url} gives no vector ({error!r})", permanent=False) from None
        return rows


def _name(metric: str) -> str:
    return f"{metric}_{FIELD}"


def _place(labels: dict[str, str]) -> tuple[str, str]:
    return labels.get("site", ""), labels.get("device", "")


def _seconds(ms: int) -> str:
    """A time as the server reads it: it cuts the product of this float, so we aim into the millisecond."""
    return f"{ms // 1000}.{ms % 1000:03d}4"
