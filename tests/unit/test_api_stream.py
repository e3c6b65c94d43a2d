from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from collector.api.context import Pace
from collector.api.hub import StreamCaps
from collector.state import ROLES, OutboxRow
from tests.unit import api_desk

QUICK = Pace(stats=0.2, reading=0.05, beat=0.3, check=0.3, stall=0.5)


@pytest.fixture
def live(desk: Any) -> Iterator[Any]:
    with api_desk.serving(desk, QUICK) as live:
        yield live


class Listening:
    """A client of the stream: events as (id, name, data), one after the other."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.iter_lines()

    def __iter__(self) -> Iterator[tuple[str, str, Any]]:
        event: dict[str, str] = {}
        for line in self._lines:
            if line:
                key, _, value = line.partition(":")
                event[key or "comment"] = value.strip()
                continue
            yield (
                event.get("id", ""),
                event.get("event", event.get("comment", "")),
                json.loads(event.get("data", "null")),
            )
            event = {}

    def until(self, name: str) -> tuple[str, Any]:
        return next((seq, data) for seq, got, data in self if got == name)

    def alerts(self, count: int) -> list[int]:
        found: list[int] = []
        for seq, name, _ in self:
            if name == "alert":
                found.append(int(seq))
            if len(found) == count:
                break
        return found


@contextmanager
def listening(
    live: Any, token: str = "", headers: dict[str, str] | None = None, **params: Any
) -> Iterator[Listening]:
    asked = {"Authorization": f"Bearer {token or live.desk.token('viewer')}", **(headers or {})}
    with (
        httpx.Client(base_url=live.url, headers=asked, timeout=10) as client,
        client.stream("GET", "/api/v1/stream", params=params) as answer,
    ):
        yield Listening(answer)


def test_stats_come_at_once_and_again(live: Any) -> None:
    names = []
    with listening(live) as heard:
        for _, name, data in heard:
            names.append(name)
            if name == "stats":
                assert data["received"] == data["in_flight"] == 3
            if names.count("stats") == 3:
                break
    assert next(name for name in names if name) == "stats"


def test_an_alert_reaches_whoever_listens(live: Any) -> None:
    with listening(live) as heard:
        heard.until("hello")
        alert = live.do(live.desk.raise_alert())
        seq, event = heard.until("alert")
    assert (int(seq), event["kind"], event["alert"]["id"]) == (1, "raised", alert.id)
    assert event["alert"]["summary"]["en"] == "rx_dbm is -28.5 at lubuk-alung-ont"


def test_it_goes_on_after_the_last_event_id_without_gap_or_double(live: Any) -> None:
    for _ in range(5):
        live.do(live.desk.raise_alert())
    with listening(live, last_event_id=2) as heard:
        assert heard.alerts(3) == [3, 4, 5]
        live.do(live.desk.raise_alert())
        assert heard.alerts(1) == [6]
    with listening(live, headers={"Last-Event-ID": "4"}, last_event_id=1) as heard:
        assert heard.alerts(2) == [5, 6], "the header is newer than the address"


def test_a_replay_from_the_outbox_meets_the_live_stream_exactly(live: Any) -> None:
    desk, total = live.desk, 300
    desk.hub._keep = 20  # a short ring: laggards must read from the outbox

    def raise_all() -> None:
        for _ in range(total):
            live.do(desk.raise_alert())

    raising = threading.Thread(target=raise_all)
    raising.start()
    try:
        for start in (0, 50, 120):
            with listening(live, last_event_id=start) as heard:
                assert heard.alerts(total - start) == list(range(start + 1, total + 1))
    finally:
        raising.join()


@pytest.mark.parametrize("asked", [2, 999])
def test_an_id_that_is_too_old_or_from_another_life_gets_a_reset(live: Any, asked: int) -> None:
    for _ in range(10):
        live.do(live.desk.raise_alert())
    live.desk.state.prune_outbox(now=time.time_ns() + 10**9, keep=3, age=10**18)
    with listening(live, last_event_id=asked) as heard:
        seq, data = heard.until("reset")
        assert (int(seq), data["seq"]) == (10, 10)
        live.do(live.desk.raise_alert())
        assert heard.alerts(1) == [11]


def test_an_outbox_pruned_to_the_asked_id_needs_no_reset(live: Any) -> None:
    for _ in range(5):
        live.do(live.desk.raise_alert())
    live.desk.state.prune_outbox(now=time.time_ns() + 10**9, keep=2, age=10**18)
    with listening(live, last_event_id=3) as heard:
        assert heard.alerts(2) == [4, 5]


def test_readings_of_the_asked_site_come_when_they_change(live: Any) -> None:
    desk = live.desk
    desk.reading("lubuk-alung-ont", "rx_dbm", -21.0)
    desk.reading("centre-host", "cpu_pct", 5.0)
    with listening(live, site="1305012001") as heard:
        first = heard.until("reading")[1]
        assert (first["device"], first["metric"], first["value"]) == ("lubuk-alung-ont", "rx_dbm", -21.0)
        desk.reading("lubuk-alung-ont", "rx_dbm", -22.0)
        assert heard.until("reading")[1]["value"] == -22.0
        names = []
        for _, name, _ in heard:
            names.append(name)
            if names.count("stats") == 2:
                break
        assert "reading" not in names


def test_silence_is_broken_by_a_beat(live: Any) -> None:
    with listening(live) as heard:
        assert any(name == "beat" for _, name, _ in heard)


def test_a_revoked_token_ends_its_stream(live: Any) -> None:
    token = live.desk.token("viewer")
    (row,) = live.desk.state.list_tokens()
    with listening(live, token) as heard:
        heard.until("hello")
        live.desk.state.revoke(row.id, time.time_ns())
        for _ in heard:
            pass  # it ends


def test_there_is_a_cap_on_clients_and_leaving_frees_the_place(live: Any) -> None:
    live.context.caps = StreamCaps(streams=2)
    with listening(live) as first, listening(live) as second:
        first.until("hello")
        second.until("hello")
        with listening(live) as third:
            assert third.answer.status_code == 503
            assert json.loads(third.answer.read())["error"] == "too many streams are open"
    deadline = time.monotonic() + 10
    while live.desk.hub.clients and time.monotonic() < deadline:
        time.sleep(0.01)
    assert live.desk.hub.clients == 0


def test_a_client_that_takes_nothing_is_cut_and_the_others_hear_on(live: Any) -> None:
    desk = live.desk
    host, port = live.url.removeprefix("http://").split(":")
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect((host, int(port)))
        proof = f"Authorization: Bearer {desk.token('viewer')}"
        head = f"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n{proof}\r\n\r\n"
        lazy.sendall(head.encode())
        with listening(live) as heard:
            heard.until("hello")
            deadline = time.monotonic() + 30
            while desk.hub.clients < 2:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            count = 0
            while desk.hub.clients == 2 and time.monotonic() < deadline:
                live.do(desk.raise_alert(rule="r" * 20_000))
                count += 1
                assert len(heard.alerts(1)) == 1
            assert desk.hub.clients == 1
    assert count < 3000


def test_one_viewer_cannot_take_all_streams(live: Any) -> None:
    live.context.caps = StreamCaps(per_token=2)
    greedy = live.desk.token("viewer")
    with listening(live, greedy) as first, listening(live, greedy) as second:
        first.until("hello")
        second.until("hello")
        with listening(live, greedy) as third:
            assert json.loads(third.answer.read())["error"] == "too many streams are open with this token"
        with listening(live) as other:
            assert other.until("hello")


def test_many_clients_of_one_site_share_one_look_and_one_set_of_stats(live: Any) -> None:
    desk, clients = live.desk, 20
    desk.reading("lubuk-alung-ont", "rx_dbm", -21.0)
    asked = {"stats": 0, "readings": 0}
    stats, of = desk.stats, desk.lasts.of

    def counted_stats() -> Any:
        asked["stats"] += 1
        return stats()

    def counted_of(series: Any) -> Any:
        asked["readings"] += 1
        return of(series)

    desk.stats, desk.lasts.of = counted_stats, counted_of
    with contextlib.ExitStack() as stack:
        heard = [stack.enter_context(listening(live, site="1305012001")) for _ in range(clients)]
        for each in heard:
            assert each.until("reading")[1]["value"] == -21.0
        asked.update(stats=0, readings=0)
        begun = time.monotonic()
        desk.reading("lubuk-alung-ont", "rx_dbm", -22.0)
        for each in heard:
            assert each.until("reading")[1]["value"] == -22.0
        for each in heard:
            each.until("stats")
        took = time.monotonic() - begun
    assert 1 <= asked["stats"] <= took / QUICK.stats + 2
    assert 1 <= asked["readings"] <= took / QUICK.reading + 2


def test_in_a_storm_many_clients_get_everything_in_few_pieces(desk: Any) -> None:
    with api_desk.serving(desk, replace(QUICK, gather=0.02)) as live, contextlib.ExitStack() as stack:
        heard = [stack.enter_context(listening(live)) for _ in range(10)]  # 0.2 s for them together
        for each in heard:
            each.until("hello")
        made, framed = 0, desk.hub._framed

        def counted(row: Any, frame: Any) -> bytes:
            nonlocal made
            made += 1
            found: bytes = framed(row, frame)
            return found

        pieces, chunk = [], desk.hub.chunk

        def counted_chunk(*args: Any) -> Any:
            pieces.append(args[0])
            return chunk(*args)

        desk.hub._framed, desk.hub.chunk = counted, counted_chunk
        begun = time.monotonic()
        for _ in range(100):
            live.do(desk.raise_alert())
        took = time.monotonic() - begun
        assert [each.alerts(100) for each in heard] == [list(range(1, 101))] * 10
    assert made == 100
    assert len(pieces) <= 10 * (took / 0.2 + 4)


def test_who_comes_later_gets_all_of_the_site_and_then_what_changes(live: Any) -> None:
    desk = live.desk
    desk.reading("lubuk-alung-ont", "rx_dbm", -21.0)
    with listening(live, site="1305012001") as first:
        first.until("reading")
        desk.reading("lubuk-alung-ont", "temperature_c", 40.0)
        assert first.until("reading")[1]["metric"] == "temperature_c"
        with listening(live, site="1305012001") as later:
            found = {later.until("reading")[1]["metric"] for _ in range(2)}
            assert found == {"rx_dbm", "temperature_c"}
            desk.reading("lubuk-alung-rtr", "latency_ms", 9.0)
            for heard in (first, later):
                assert heard.until("reading")[1]["metric"] == "latency_ms"


def test_other_kinds_of_news_carry_their_own_name(live: Any) -> None:
    with listening(live) as heard:
        heard.until("hello")

        async def publish() -> None:
            live.desk.hub.publish([OutboxRow(1, "incident", "opened", 0, "", "", {"id": "i1"})])

        live.do(publish())
        assert heard.until("incident")[1]["incident"] == {"id": "i1"}


def test_a_revocation_is_looked_for_every_two_seconds() -> None:
    assert Pace().check <= 2.0


@pytest.mark.parametrize("role", ROLES)
def test_every_role_may_listen_and_nobody_else(live: Any, role: str) -> None:
    with listening(live, live.desk.token(role)) as heard:
        assert heard.answer.status_code == 200
        assert heard.answer.headers["content-type"].startswith("text/event-stream")
        assert heard.until("stats")
    with listening(live, "wrong") as heard:
        assert heard.answer.status_code == 401


def test_a_wrong_question_gets_an_answer_instead_of_a_stream(live: Any) -> None:
    for params, status in (
        ({"site": "nowhere"}, 404),
        ({"last_event_id": "x"}, 422),
        ({"last_event_id": -1}, 422),
    ):
        with listening(live, **params) as heard:
            assert heard.answer.status_code == status
