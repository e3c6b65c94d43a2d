"""What InfluxDB is asked for a scan, and how its answer is read: a server of our own with its words."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from collector.core.readings import SeriesKey
from collector.core.storeurl import parse
from collector.store.server import scanning
from collector.store.server.influx import Influx

BEGIN = 1_764_000_000 * 10**9
ANSWER = """\
,result,table,_time,_value,_field,_measurement,device,site
,_result,0,2025-11-24T16:00:00.000000002Z,-21.25,value,rx_dbm,d1,s1
,_result,0,2025-11-24T16:00:00.000000001Z,-21.5,value,rx_dbm,d1,s1
,_result,0,2025-11-24T16:00:00.000000002Z,18,quality,rx_dbm,d1,s1
,_result,0,2025-11-24T16:00:00Z,7,value,loss_pct,d2,s1
,_result,0,2025-11-24T16:00:00Z,7,value,Foreign Thing,d2,s1
,_result,0,2025-11-24T16:00:00Z,1,value,nagari_probe,nagari,nagari

"""


class Flux:
    """Answers each question that reaches the readings, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        flux = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                flux.asked.append(json.dumps(body))
                said = ANSWER.encode() if len(flux.asked) == 1 else b"\n"
                self.send_response(200)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"influx://127.0.0.1:{self.server.server_address[1]}/org/bucket"


@pytest.fixture
def flux() -> Iterator[Flux]:
    flux = Flux()
    yield flux
    flux.server.shutdown()
    flux.server.server_close()


def test_a_scan_gives_values_with_their_quality_in_order_of_time_to_the_nanosecond(flux: Flux) -> None:
    influx = Influx(parse(flux.url), "token")
    (piece,) = influx.scan(BEGIN, BEGIN + 10**9)
    influx.close()
    keys = [piece.keys[each] for each in piece.which.tolist()]
    assert keys == [SeriesKey("s1", "d2", "loss_pct"), *[SeriesKey("s1", "d1", "rx_dbm")] * 2]
    assert piece.time.tolist() == [BEGIN, BEGIN + 1, BEGIN + 2]
    assert piece.value.tolist() == [7.0, -21.5, -21.25]
    assert piece.quality.tolist() == [0, 0, 18]


def test_an_answer_as_long_as_its_limit_is_asked_for_again_in_shorter_stretches(
    flux: Flux, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "MOST", 5)
    influx = Influx(parse(flux.url), "token")
    assert list(influx.scan(BEGIN, BEGIN + 8)) == []
    influx.close()
    assert len(flux.asked) > 2
