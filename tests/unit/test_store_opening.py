"""What is wrong with a server is told at the start, in one sentence; one that worked before stops nobody."""

from __future__ import annotations

import json
import logging
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collector.core.config import StoreConfig
from collector.core.readings import Readings, SeriesKey, SeriesTable
from collector.store.base import Ledger, Store, StoreError
from collector.store.server.influx import BUCKETS, NEWEST, RAW, Influx, find_text
from collector.store.stores import open_store
from devices.problems import Problems
from tests.servers import FLAGS, VictoriaMetrics

KEY = SeriesKey("1305012001", "ont-1305012001", "rx_dbm")
T0 = 1_764_000_000_000_000_000


def opened(folder: Path, url: str, token: str | None = None, **more: Any) -> Store:
    file = None
    if token is not None:
        file = folder / "token"
        file.touch(mode=0o600)
        file.write_text(token)
    return open_store(StoreConfig(url=url, token_file=file, **more), folder, SeriesTable())


def refusal(folder: Path, url: str, token: str | None = None, **more: Any) -> str:
    """The sentence that a first start ends with."""
    with pytest.raises(Problems) as refused:
        opened(folder, url, token, **more)
    [problem] = refused.value.problems
    assert "\n" not in str(problem)
    assert not list(folder.glob("accounts*")) or "accounts" not in str(problem)
    return str(problem)


class Web:
    """A web server of a table: path → status, headers, body. It keeps what it was sent."""

    def __init__(self, table: dict[str, tuple[int, dict[str, str], str]]) -> None:
        self.table, self.sent = table, []
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                web.sent.append((self.path, dict(self.headers), body))
                status, headers, text = web.table.get(self.path.split("?")[0], (404, {}, "not here"))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                if status != 204:
                    self.wfile.write(text.encode())

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


PING = (204, {"X-Influxdb-Version": "v2.7.11"}, "")
BUCKET = {"name": "b", "retentionRules": [{"everySeconds": 86_400}]}
GOOD = {"/ping": PING, "/api/v2/buckets": (200, {}, json.dumps({"buckets": [BUCKET]}))}


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web(dict(GOOD))
    yield web
    web.close()


def test_nobody_there(tmp_path: Path, free_port: int) -> None:
    for url in (f"victoria://127.0.0.1:{free_port}", f"influx://127.0.0.1:{free_port}/o/b"):
        said = refusal(tmp_path, url)
        assert said.startswith(f"store.url: http://127.0.0.1:{free_port} does not answer (")
        assert said.endswith("start the server, or mend the url; later the collector starts without it, too")


def test_something_else_there(tmp_path: Path, web: Web) -> None:
    web.table = {}
    address = f"127.0.0.1:{web.port}"
    assert f"{address} is no single-node VictoriaMetrics" in refusal(tmp_path, f"victoria://{address}")
    assert f"{address} is no InfluxDB" in refusal(tmp_path, f"influx://{address}/o/b")


def test_an_old_influxdb_and_a_victoriametrics_taken_for_one(
    tmp_path: Path, web: Web, one_victoria: VictoriaMetrics
) -> None:
    web.table["/ping"] = (204, {"X-Influxdb-Version": "1.6.7~rc0"}, "")
    said = refusal(tmp_path, f"influx://127.0.0.1:{web.port}/o/b")
    assert "is InfluxDB 1.6.7~rc0; 2.x is needed" in said
    said = refusal(tmp_path, f"influx://127.0.0.1:{one_victoria.port}/o/b")
    assert "a VictoriaMetrics is written victoria://host:8428" in said


def test_an_old_victoriametrics(tmp_path: Path, web: Web) -> None:
    text = (
        'vm_app_version{version="x", short_version="v1.42.0"} 1\nflag{name="storageDataPath", value="x"} 1\n'
    )
    web.table["/metrics"] = (200, {}, text)
    said = refusal(tmp_path, f"victoria://127.0.0.1:{web.port}")
    assert "is VictoriaMetrics 1.42, which is too old; 1.79 or newer is needed" in said


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_token(tmp_path: Path, web: Web, status: int) -> None:
    web.table["/api/v2/buckets"] = (status, {}, '{"code":"unauthorized","message":"unauthorized access"}')
    said = refusal(tmp_path, f"influx://127.0.0.1:{web.port}/o/b", "canary")
    assert said.startswith(f"store.token_file: http://127.0.0.1:{web.port} refuses the token ({status}); ")
    assert "canary" not in said
    assert web.sent[-1][1]["Authorization"] == "Token canary"
    assert "wants a token" in refusal(tmp_path, f"influx://127.0.0.1:{web.port}/o/b")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            (404, {}, '{"code":"not found","message":"organization name \\"o\\" not found"}'),
            "no organisation o",
        ),
        ((200, {}, '{"buckets": []}'), "has no bucket b in o that this token may read"),
    ],
)
def test_a_wrong_organisation_or_bucket(tmp_path: Path, web: Web, answer: Any, said: str) -> None:
    web.table["/api/v2/buckets"] = answer
    assert said in refusal(tmp_path, f"influx://127.0.0.1:{web.port}/o/b", "t")


def test_a_victoriametrics_with_an_account(tmp_path: Path, free_port: int) -> None:
    account = ("-httpAuth.username=nagari", "-httpAuth.password=right")
    server = VictoriaMetrics(tmp_path / "vm", free_port, FLAGS + account)
    server.start()
    try:
        assert "wants a token" in refusal(tmp_path, server.url)
        assert "refuses the token (401)" in refusal(tmp_path, server.url, "nagari:wrong")
        store = opened(tmp_path, server.url, "nagari:right")
        store.tend()
        store.close()
    finally:
        server.kill()


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("-dedup.minScrapeInterval=0s", "counts twice what is written twice after an outage"),
        ("-dedup.minScrapeInterval=30s", "start it with -dedup.minScrapeInterval=1ms"),
        ("-influxSkipSingleField=true", "names our series otherwise"),
    ],
)
def test_a_victoriametrics_that_would_keep_something_else(
    tmp_path: Path, free_port: int, flag: str, said: str
) -> None:
    others = tuple(each for each in FLAGS if each.split("=")[0] != flag.split("=", maxsplit=1)[0])
    server = VictoriaMetrics(tmp_path / "vm", free_port, (*others, flag))
    server.start()
    try:
        assert said in refusal(tmp_path, server.url)
    finally:
        server.kill()


def test_a_short_retention_is_doubted(tmp_path: Path, web: Web, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        opened(tmp_path, f"influx://127.0.0.1:{web.port}/o/b", "t").close()
    assert "the bucket b keeps 1 days only" in caplog.text


def test_a_token_that_others_can_read_and_a_certificate_that_is_none(tmp_path: Path, web: Web) -> None:
    file = tmp_path / "open"
    file.write_text("t")
    file.chmod(0o644)
    with pytest.raises(Problems, match="others can read this secret"):
        open_store(
            StoreConfig(url=f"influx://127.0.0.1:{web.port}/o/b", token_file=file), tmp_path, SeriesTable()
        )
    assert "is no certificate to trust" in refusal(tmp_path, "victorias://127.0.0.1", ca=file)
    assert "is no certificate to trust" in refusal(tmp_path, "victorias://127.0.0.1", ca=tmp_path / "none")


def test_a_server_under_tls_is_asked_under_tls(tmp_path: Path, web: Web) -> None:
    said = refusal(tmp_path, f"influxs://127.0.0.1:{web.port}/o/b")
    assert f"https://127.0.0.1:{web.port} does not answer" in said
    assert ssl.OPENSSL_VERSION
    assert "SSL" in said


def test_once_it_has_worked_nothing_wrong_with_it_stops_the_start(
    tmp_path: Path, victoria: VictoriaMetrics, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(tmp_path, victoria.url)
    assert store.commit(Readings.concat([]), [], Ledger(1)) == Ledger(1)
    store.close()
    victoria.kill()
    with caplog.at_level(logging.ERROR):
        store = opened(tmp_path, victoria.url)
    assert "does not answer" in caplog.text
    assert "until it does the journal keeps what comes" in caplog.text
    assert store.ledger() == Ledger(1)
    with pytest.raises(StoreError, match="does not answer"):
        store.commit(Readings.concat([]), [], Ledger(2))
    store.close()
    victoria.flags = ("-retentionPeriod=1",)
    victoria.start()
    with caplog.at_level(logging.ERROR):
        opened(tmp_path, victoria.url).close()
    assert "counts twice" in caplog.text


def influx(web: Web) -> Influx:
    return Influx(StoreConfig(url=f"influx://127.0.0.1:{web.port}/o/b").place, "t")


def test_the_text_of_a_flux_query_never_holds_what_was_asked_for(web: Web) -> None:
    answer = ",result,table,_time,_value\r\n,_result,0,2025-11-24T16:00:00.000000001Z,1.5\r\n\r\n"
    web.table["/api/v2/query"] = (200, {"Content-Type": "text/csv"}, answer)
    odd = SeriesKey('"; drop', "|> to()", "${x}")
    server = influx(web)
    assert server.points(odd, 5, 2**62, None, "mean", 9) == [(T0 + 1, 1.5)]
    server.points(odd, 5, 2**62, 7, "last", 9)
    asked = [json.loads(body) for path, _, body in web.sent if path.startswith("/api/v2/query")]
    assert [each["query"] for each in asked] == [RAW, BUCKETS["last"]]
    for each in asked:
        given = {
            option["assignment"]["id"]["name"]: option["assignment"]["init"]["value"]
            for option in each["extern"]["body"]
        }
        assert given["nSite"] == odd.site
        assert given["nDevice"] == odd.device
        assert given["nMetric"] == odd.metric
        assert (given["nStart"], given["nStop"], given["nLimit"]) == ("5", str(2**62), "9")
        assert given["nBucket"] == "b"
    server.close()


def test_influx_answers_are_read_to_the_nanosecond_and_its_errors_are_told(web: Web) -> None:
    server = influx(web)
    rows = [
        ",result,table,_time,_value,device,site",
        f",_result,0,2025-11-24T16:00:00.000000001Z,-21.5,{KEY.device},{KEY.site}",
        f",_result,0,2025-11-24T16:00:00Z,1e+300,{KEY.device},{KEY.site}",
    ]
    web.table["/api/v2/query"] = (200, {}, "\r\n".join(rows) + "\r\n\r\n")
    times = np.array([T0 + 1, T0 + 2, T0], np.int64)
    there, value = server.find([KEY], np.zeros(3, np.int64), times)
    assert there.tolist() == [True, False, True]
    assert value[there].tolist() == [-21.5, 1e300]
    assert next(iter(server.newest("rx_dbm", 0, 2**62))) == (KEY.site, KEY.device, T0 + 1, -21.5)
    texts = [json.loads(body)["query"] for path, _, body in web.sent if path.startswith("/api/v2/query")]
    assert texts == [find_text(1), NEWEST]
    web.table["/api/v2/query"] = (200, {}, "error,reference\r\nran out of memory,897\r\n")
    with pytest.raises(StoreError, match="broke off: ran out of memory"):
        server.points(KEY, 0, 9, None, "mean", 9)
    web.table["/api/v2/query"] = (500, {}, '{"code":"internal error","message":"panic"}')
    with pytest.raises(StoreError, match=r"answers 500 .*panic"):
        server.points(KEY, 0, 9, None, "mean", 9)
    server.close()


def test_influx_takes_finished_lines_into_its_bucket(tmp_path: Path, web: Web) -> None:
    web.table["/api/v2/write"] = (204, {}, "")
    table = SeriesTable()
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text("t")
    config = StoreConfig(url=f"influx://127.0.0.1:{web.port}/o/b", token_file=file)
    store = open_store(config, tmp_path, table)
    number = np.array([table.number(KEY)] * 2, np.int32)
    quality = np.array([0, 3], np.uint8)
    time = np.array([T0 + 1, T0 + 2], np.int64)
    store.commit(Readings(number, time, np.array([1.0, -0.1]), quality, time), [], Ledger(1))
    [(path, headers, body)] = [each for each in web.sent if each[0].startswith("/api/v2/write")]
    assert path == "/api/v2/write?org=o&bucket=b&precision=ns"
    assert headers["Authorization"] == "Token t"
    assert body.decode().split("\n") == [
        f"rx_dbm,device={KEY.device},site={KEY.site} value=1.0 {T0 + 1}",
        f"rx_dbm,device={KEY.device},site={KEY.site} value=-0.1,quality=3.0 {T0 + 2}",
    ]
    store.close()
