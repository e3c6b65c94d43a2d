"""`nagari watch` against a small server that breaks off: it comes back to where it was."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from collector.cli.main import app
from devices.problems import Problems

ALERT = {
    "id": "a1",
    "rule": "rx-power-low",
    "site": "1305012001",
    "device": "ont-1",
    "severity": "major",
    "condition": "active",
    "acked": False,
    "at": 1764000000000,
    "summary": {"id": "Daya optik rendah", "en": "Optical power low"},
}


class Desk(BaseHTTPRequestHandler):
    """Sends one alert per connection, then hangs up. Remembers after which id each was asked to go on."""

    asked: list[str | None]
    alerts: list[object]
    status: int

    def do_GET(self) -> None:
        if self.path.startswith("/api/v1/alerts"):
            self._answer(200, {"alerts": self.alerts, "next": None})
        elif self.path.startswith("/api/v1/sites"):
            self._answer(200, {"region": {"timezone": "Asia/Jakarta"}})
        elif self.status != 200:
            self._answer(
                self.status, {"error": "this token is not valid", "where": "token", "mend": "make one"}
            )
        else:
            self._stream()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, body: object) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _stream(self) -> None:
        self.asked.append(self.headers.get("Last-Event-ID"))
        number = len(self.asked)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        alert = json.dumps({**ALERT, "id": f"live-{number}"})
        self.wfile.write(f"event: alert\nid: {number}\ndata: {alert}\n\n".encode())
        stats = json.dumps({"received": 5, "stored": 5, "health": {"store": "ok"}})
        self.wfile.write(f"event: stats\ndata: {stats}\n\n".encode())


@pytest.fixture
def desk() -> Iterator[type[Desk]]:
    class Handler(Desk):
        asked: list[str | None] = []  # noqa: RUF012
        alerts: list[object] = []  # noqa: RUF012
        status = 200
        url = ""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,)).start()
    yield Handler
    server.shutdown()
    server.server_close()


def watch(desk: type[Desk], *words: str, seconds: str = "1.6") -> str:
    command = ["watch", "--url", desk.url, "--for", seconds, *words]  # type: ignore[attr-defined]
    done = CliRunner(env={"NAGARI_TOKEN": "t", "COLUMNS": "200"}).invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_it_goes_on_after_the_last_event_it_saw(desk: type[Desk]) -> None:
    watch(desk, "--json")
    assert len(desk.asked) >= 2
    assert desk.asked == [None, *map(str, range(1, len(desk.asked)))]


def test_each_line_is_json_for_machines(desk: type[Desk]) -> None:
    lines = [json.loads(line) for line in watch(desk, "--json").splitlines() if line.startswith("{")]
    assert {line["event"] for line in lines} == {"alert", "stats"}


def test_what_is_active_is_told_first_and_then_what_comes(desk: type[Desk]) -> None:
    desk.alerts = [{**ALERT, "id": "before"}]
    said = watch(desk)
    assert "▲ major" in said
    assert "Optical power low" in said
    assert said.index("before") < said.index("live-1")


def test_it_speaks_indonesian(desk: type[Desk]) -> None:
    assert "Daya optik rendah" in watch(desk, "--lang", "id", seconds="0.3")


def test_a_name_from_outside_cannot_steer_the_terminal(desk: type[Desk]) -> None:
    desk.alerts = [{**ALERT, "summary": {"en": "\x1b[2Jgone [bold]x[/bold]"}}]
    said = watch(desk, seconds="0.3")
    assert "\x1b" not in said
    assert r"\x1b[2Jgone [bold]x[/bold]" in said


def test_a_token_that_is_refused_ends_it(desk: type[Desk]) -> None:
    desk.status = 401
    with pytest.raises(Problems, match="does not know this token, or it has ended; `nagari token create"):
        watch(desk)
