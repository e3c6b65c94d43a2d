"""Whether a VictoriaMetrics is one that readings may be given to: its version, its settings, its token."""

from __future__ import annotations

import re

from collector.store.server.web import Web, failed, must_be_let_in
from devices.problems import Problems

OLDEST = (1, 79)
_FLAGS = {  # what the server must run with, so that what is written is what is found
    "dedup.minScrapeInterval": ("1ms", "counts twice what is written twice after an outage"),
    "influxMeasurementFieldSeparator": ("_", "names our series otherwise"),
    "influxSkipMeasurement": ("false", "names our series otherwise"),
    "influxSkipSingleField": ("false", "names our series otherwise"),
    "influxTrimTimestamp": ("1ms", "cuts our times"),
}
_YEARS = re.compile(r"(\d+(?:\.\d+)?)y")


def checked(web: Web, token: str | None) -> list[str]:
    """Doubts, a sentence each. Raises Problems for what a person must mend, StoreError while it is away."""
    url, answer = web.url, web.get("/metrics")
    must_be_let_in(url, answer, token)
    must_be_let_in(url, web.get("/api/v1/query", {"query": "1"}), token)  # /metrics may be open
    found = re.search(r'^vm_app_version\{.*?short_version="v?(\d+)?\.?(\d+)?', answer.text, re.M)
    flags = dict(re.findall(r'^flag\{name="([^"]+)", value="([^"]*)"', answer.text, re.M))
    if answer.status_code >= 500:
        raise failed(url, answer.status_code, answer.text)
    if found is None or "storageDataPath" not in flags:
        raise Problems.one("store.url", f"{url} is no single-node VictoriaMetrics", "name one's address")
    if found[1] and (int(found[1]), int(found[2])) < OLDEST:
        what = f"{url} is VictoriaMetrics {found[1]}.{found[2]}, which is too old"
        raise Problems.one("store.url", what, f"{OLDEST[0]}.{OLDEST[1]} or newer is needed")
    for name, (wanted, harm) in _FLAGS.items():
        if flags.get(name, wanted) != wanted:
            what = f"{url} runs with -{name}={flags[name]} and so {harm}"
            raise Problems.one("store.url", what, f"start it with -{name}={wanted}")
    return _doubts(url, flags.get("retentionPeriod", ""))


def _doubts(url: str, retention: str) -> list[str]:
    years = _YEARS.fullmatch(retention)
    if years and float(years[1]) >= 1:
        return []
    what = f"{url} runs with -retentionPeriod={retention}: what is older is lost without a word"
    return [f"{what}; start it with -retentionPeriod=5y or more"]
