"""The server's door, over real sockets: too many connections, slow ones, forged ones."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from collector.api.edge.door import MOST_HEAD, HttpConnection
from tests.unit import api_desk

POST = "POST /api/v1/session HTTP/1.1\nHost: localhost"
ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def served(folder: Path, **http: Any) -> Iterator[Any]:
    desk = api_desk.Desk(folder, http)
    with api_desk.serving(desk) as live:
        yield live
    desk.close()


def port_of(live: Any) -> int:
    return int(live.url.rsplit(":", 1)[1])


def ask(port: int, head: str, body: str = "") -> str:
    """What comes back for this very request, up to the connection's end or a second's silence."""
    found = b""
    with socket.create_connection(("127.0.0.1", port), 5) as one:
        one.sendall((head.replace("\n", "\r\n") + "\r\n\r\n" + body).encode())
        one.settimeout(0.3)
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while piece := one.recv(65536):
                found += piece
    return found.decode()


def closed(one: socket.socket, seconds: float = 10.0) -> bool:
    one.settimeout(seconds)
    try:
        return one.recv(1) in {b"", b"H"}
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def test_idle_connections_make_room_for_whoever_comes(tmp_path: Path) -> None:
    with served(tmp_path, connections=16, connections_per_address=8) as live:
        idle = [socket.create_connection(("127.0.0.1", port_of(live))) for _ in range(40)]
        assert httpx.get(f"{live.url}/healthz").status_code == 200
        assert len(live.context.door) <= 8
        assert sum(closed(one, 0.5) for one in idle[:30]) == 30, "the oldest went first"
        assert live.context.door.refused >= 32
        for one in idle:
            one.close()


def test_connections_that_work_are_not_thrown_out_for_others(tmp_path: Path) -> None:
    with served(tmp_path, connections=8, connections_per_address=8) as live:
        headers = {"Authorization": f"Bearer {live.desk.token('viewer')}"}
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(httpx.Client(base_url=live.url, headers=headers, timeout=5))
            for _ in range(8):
                stream = stack.enter_context(client.stream("GET", "/api/v1/stream"))
                assert stream.status_code == 200
            answer = ask(port_of(live), "GET /healthz HTTP/1.1\nHost: localhost")
            assert answer.startswith("HTTP/1.1 503")
            assert "retry-after" in answer


def test_a_head_that_does_not_come_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HttpConnection, "head_s", 0.4)
    with served(tmp_path) as live:
        silent, slow, second = [socket.create_connection(("127.0.0.1", port_of(live))) for _ in range(3)]
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: loc")
        second.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}"):
            answer += second.recv(65536)
        second.sendall(b"GET /hea")
        for one in (silent, slow, second):
            assert closed(one)
            one.close()


def test_an_answer_that_is_not_taken_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HttpConnection, "head_s", 0.4)
    with served(tmp_path) as live, socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect(("127.0.0.1", port_of(live)))
        for _ in range(200):
            lazy.sendall(b"GET /static/vendor/leaflet/leaflet.js HTTP/1.1\r\nHost: localhost\r\n\r\n")
        deadline = time.monotonic() + 10
        while not len(live.context.door):
            assert time.monotonic() < deadline
        while len(live.context.door) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(live.context.door) == 0


CHILD = """
import resource, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160))
from pathlib import Path
from collector.core.config import JournalSettings as Caps
from collector.core.records import RecordKind
from collector.ingest.files import FileLog
from collector.ingest.journal import Journal
from collector.ingest.log import Retention
from collector.ingest.reserve import Reserve
from tests.unit import api_desk
folder = Path(sys.argv[1])
desk = api_desk.Desk(folder)
reserve = Reserve(folder / "reserve", 4096)
caps = Caps(segment_bytes=20_000)
floor = Retention(lambda: None, lambda: 0)
log = FileLog(folder / "journal", caps)
journal = Journal(log, reserve, lambda *_: None, head_bytes=10**6, retention=floor)
journal.open(0, 0)
with api_desk.serving(desk) as live:
    print(live.url, flush=True)
    for number in range(10**6):
        stamp = time.time_ns()
        journal.control(RecordKind.HEALTH, {"x": "y" * 500}, stamp).result(10)
        if number % 100 == 0:
            print(number, journal.failed, live.context.door.most, flush=True)
        time.sleep(0.001)
"""


def test_a_thousand_idle_connections_leave_the_journal_its_descriptors(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert child.stdout is not None
    idle: list[socket.socket] = []
    try:
        url = child.stdout.readline().strip()
        assert url, child.communicate()[1]
        port = int(url.rsplit(":", 1)[1])
        for _ in range(900):
            with contextlib.suppress(OSError):
                idle.append(socket.create_connection(("127.0.0.1", port), 5))
        answer = httpx.get(f"{url}/healthz", timeout=10)
        assert answer.status_code == 200
        for _ in range(5):
            number, failed, most = child.stdout.readline().split()
            assert (failed, int(most)) == ("None", 80), number
        assert len(list((tmp_path / "journal").glob("*.seg"))) > 3, "it opened files meanwhile"
    finally:
        for one in idle:
            one.close()
        child.kill()
        child.communicate()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /healthz HTTP/1.1\nHost: localhost", 200),
        ("GET /healthz HTTP/1.1\nHost: LOCALHOST:8080", 200),
        ("GET /healthz HTTP/1.1\nHost: 127.0.0.1:{port}", 200),
        ("GET /healthz HTTP/1.1\nHost: noc.example.org", 200),
        ("GET /healthz HTTP/1.1\nHost: evil.example.org", 421),
        ("GET /healthz HTTP/1.1\nHost: localhost.evil.example.org", 421),
        ("GET /healthz HTTP/1.1\nHost: ", 421),
        ("GET /healthz HTTP/1.0", 421),
        ("GET /healthz HTTP/1.1", 400),
        ("GET /healthz HTTP/1.1\nHost: localhost\nHost: evil", 400),
        (
            "POST /api/v1/session HTTP/1.1\nHost: localhost\nContent-Length: 5\nTransfer-Encoding: chunked",
            400,
        ),
        (f"{POST}\nContent-Length: 5\nContent-Length: 6", 400),
        ("GET /healthz HTTP/1.1\nHost: localhost\nX-Large: " + "x" * (MOST_HEAD + 1), 431),
        ("GET /healthz?" + "x" * (MOST_HEAD + 1) + " HTTP/1.1\nHost: localhost", 431),
    ],
)
def test_a_head_that_means_two_things_or_another_host_is_refused(
    tmp_path: Path, head: str, status: int
) -> None:
    with served(tmp_path, hosts=["noc.example.org"]) as live:
        answer = ask(port_of(live), head.replace("{port}", str(port_of(live))), "0\r\n\r\n")
    assert answer.startswith(f"HTTP/1.1 {status}"), answer[:200]
    if status in {421, 431}:
        assert {"error", "where", "mend"} == set(json.loads(answer.split("\r\n\r\n", 1)[1]))


def test_what_comes_behind_a_body_of_two_lengths_is_not_read_as_a_request(tmp_path: Path) -> None:
    with served(tmp_path) as live:
        head = f"{POST}\nContent-Length: 5\nTransfer-Encoding: chunked"
        smuggled = "0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        answer = ask(port_of(live), head, smuggled)
    assert answer.count("HTTP/1.1 ") == 1
    assert "connection: close" in answer.lower()


@pytest.mark.parametrize(
    ("trusted", "forwarded", "who"),
    [
        ([], "10.9.9.9", "127.0.0.1"),
        (["127.0.0.1"], "10.9.9.9", "10.9.9.9"),
        (["127.0.0.0/8", "10.0.0.0/8"], "203.0.113.7, 10.1.1.1", "203.0.113.7"),
        (["127.0.0.1"], "203.0.113.7, 10.1.1.1", "10.1.1.1"),
        (["127.0.0.1"], "victim\x1b[2J", "127.0.0.1"),
        (["127.0.0.1"], "x" * 2000, "127.0.0.1"),
        (["127.0.0.1"], "2001:db8::7", "2001:db8::7"),
    ],
)
def test_who_asks_is_said_by_a_trusted_proxy_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, trusted: list[str], forwarded: str, who: str
) -> None:
    caplog.set_level(logging.INFO)
    with served(tmp_path, trusted_proxies=trusted) as live:
        for path in ("/api/v1/stats", "/x%1b%5b2J%0aforged"):
            headers = {"X-Forwarded-For": forwarded, "Authorization": "Bearer guess"}
            httpx.get(f"{live.url}{path}", headers=headers)
        (row,) = live.desk.state.audit_rows()
    assert (row.who, row.what) == (who, "denied")
    lines = [record.getMessage() for record in caplog.records if record.name == "nagari.access"]
    assert lines[0].startswith(f"{who} GET /api/v1/stats 401")
    assert all(line.isprintable() for line in lines)


def test_a_proxy_that_is_no_address_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="is no address"):
        api_desk.Desk(tmp_path, {"trusted_proxies": ["proxy"]})
    with pytest.raises(Exception, match="is no host"):
        api_desk.Desk(tmp_path, {"hosts": ["http://noc"]})
