from __future__ import annotations

import asyncio
import time

from hypothesis import given
from hypothesis import strategies as st

from collector.api.edge.lockout import Lockout
from collector.api.hub import Hub, StreamCaps, Subscriber
from collector.api.paging import page
from collector.state import OutboxRow


def rows(*seqs: int) -> list[OutboxRow]:
    return [OutboxRow(seq, "alert", "raised", 0, "", "", {}) for seq in seqs]


def seqs(found: list[OutboxRow] | None) -> list[int] | None:
    return None if found is None else [row.seq for row in found]


@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=5), max_size=20), st.integers(0, 120))
def test_the_ring_gives_all_rows_after_a_number_or_says_that_it_cannot(
    steps: list[list[int]], asked: int
) -> None:
    hub, published, seq = Hub(keep=10), [], 5
    for batch in steps:
        made = []
        for step in batch:
            seq += step
            made.append(seq)
        published += made
        hub.publish(rows(*made))
    found = seqs(hub.after(asked, 1000))
    if found is not None:
        assert found == [n for n in published if n > asked]
    if published and asked >= published[-1]:
        assert found == []
    if found is None and published:
        assert any(n > asked for n in published[:-10]) or asked < published[0] - 1


def test_a_hub_that_never_heard_of_anything_sends_readers_to_the_outbox() -> None:
    assert Hub().after(0, 10) is None


def test_a_row_is_framed_once_however_many_read_it() -> None:
    hub, framed = Hub(), list[int]()

    def frame(row: OutboxRow) -> bytes:
        framed.append(row.seq)
        return f"{row.seq};".encode()

    hub.publish(rows(1, 2, 3))
    pieces = [hub.chunk(seq, 500, frame) for seq in (0, 0, 1, 0, 2, 3)]
    assert pieces == [(3, b"1;2;3;"), (3, b"1;2;3;"), (3, b"2;3;"), (3, b"1;2;3;"), (3, b"3;"), (3, b"")]
    hub.publish(rows(4))
    assert {hub.chunk(0, 500, frame) for _ in range(200)} == {(4, b"1;2;3;4;")}
    assert framed == [1, 2, 3, 4]


def test_no_token_and_no_address_takes_all_places() -> None:
    hub, caps = Hub(), StreamCaps(streams=5, per_token=2, per_address=3)
    assert isinstance(hub.listen(1, "a", caps), Subscriber)
    second = hub.listen(1, "a", caps)
    assert isinstance(second, Subscriber)
    assert hub.listen(1, "b", caps) == "too many streams are open with this token"
    assert isinstance(hub.listen(2, "a", caps), Subscriber)
    assert hub.listen(3, "a", caps) == "too many streams are open from this address"
    assert isinstance(hub.listen(3, "b", caps), Subscriber)
    assert isinstance(hub.listen(4, "c", caps), Subscriber)
    assert hub.listen(5, "d", caps) == "too many streams are open"
    hub.leave(second)
    assert isinstance(hub.listen(1, "d", caps), Subscriber)


def test_the_limit_holds() -> None:
    hub = Hub()
    hub.publish(rows(1, 2, 3, 4))
    assert seqs(hub.after(1, 2)) == [2, 3]


async def test_news_that_came_before_the_waiting_are_not_missed() -> None:
    hub = Hub()
    subscriber = hub.listen()
    assert isinstance(subscriber, Subscriber)
    with subscriber:
        hub.publish(rows(1))
        async with asyncio.timeout(5):
            await subscriber.wait(3600)
    assert hub.clients == 0


async def test_a_closed_hub_wakes_everybody_and_takes_nobody() -> None:
    hub = Hub()
    subscriber = hub.listen()
    assert isinstance(subscriber, Subscriber)
    hub.close()
    async with asyncio.timeout(5):
        await subscriber.wait(3600)
    assert hub.listen() == "the collector is stopping"


def test_after_so_many_failures_an_address_waits_until_the_window_is_over() -> None:
    lockout = Lockout(tries=3, window=60)
    for second in range(3):
        assert lockout.wait("a", second) == 0
        lockout.failed("a", second)
    assert lockout.wait("a", 10) == 50
    assert lockout.wait("b", 10) == 0
    assert lockout.wait("a", 60) == 0
    lockout.failed("a", 61)
    assert lockout.wait("a", 61) == 0, "a new window counts anew"


def test_success_forgives() -> None:
    lockout = Lockout(tries=2, window=60)
    lockout.failed("a", 0)
    lockout.succeeded("a")
    lockout.failed("a", 1)
    assert lockout.wait("a", 1) == 0


def test_a_million_addresses_cost_bounded_memory() -> None:
    lockout = Lockout(size=100)
    now = time.monotonic()
    for number in range(10_000):
        lockout.failed(f"10.0.{number}", now)
    assert len(lockout) == 100


@given(st.sets(st.text("abc", min_size=1, max_size=4)), st.integers(1, 5))
def test_pages_give_everything_once_in_order(names: set[str], limit: int) -> None:
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        found, cursor = page(sorted(names), limit, cursor)
        assert len(found) <= limit
        seen += found
    assert seen == sorted(names)
