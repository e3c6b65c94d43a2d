"""A webhook that is down, slow, refusing, redirecting, restarting: at least once, with a stable key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from collector.alarms.model import Alert, Transition, TransitionKind
from collector.core.config import Webhook
from collector.notify.channel import Note, NotSent
from collector.notify.consumer import ChannelConsumer
from collector.notify.webhook import WebhookChannel, sign
from collector.state import State
from devices.backoff import Backoff

CANARY = "canary-5e1f"
QUICK = Backoff(0.02, 0.05)


@dataclass
class Hook:
    """A real HTTP server; `answers` are given one by one, then 204. Keeps (headers, body) of each request."""

    port: int = 0
    answers: list[str] = field(default_factory=list)
    delay: float = 0.0
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @asynccontextmanager
    async def up(self) -> AsyncIterator[Hook]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(headers["content-length"]))
            await asyncio.sleep(self.delay)
            self.got.append((headers, body))
            answer = self.answers.pop(0) if self.answers else "204 No Content"
            if answer != "cut":
                writer.write(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def kinds(self) -> list[str]:
        return [json.loads(body)["kind"] for _, body in self.got]

    def keys(self) -> list[str]:
        return [headers["idempotency-key"] for headers, _ in self.got]


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state.db")


def happens(state: State, kind: TransitionKind, alert: str = "a1") -> None:
    offset = state.cursor()
    at = offset + 10**18
    made = Alert(
        alert, "rule", "v1", "1305012001", "ont", "rx_dbm", "major", "active", at, -28.5, 1, raised_at=at
    )
    summary = {"id": "Daya optik -28,5 dBm", "en": "Optical power -28.5 dBm"}
    state.commit(offset + 10, [Transition(kind, at, offset, made)], lambda _: summary)


def channel(port: int, tmp_path: Path, timeout: float = 5.0, host: str = "127.0.0.1") -> WebhookChannel:
    file = tmp_path / "secret"
    file.touch(0o600)
    file.write_text(CANARY)
    url = f"http://{host}:{port}/hook?key=geheim"
    return WebhookChannel(
        Webhook(name="duty", url=url, secret_file=file, allow_private=True), timeout=timeout
    )


@asynccontextmanager
async def running(state: State, hook: WebhookChannel) -> AsyncIterator[ChannelConsumer]:
    await asyncio.to_thread(state.consumer, hook.name, 0)
    consumer = ChannelConsumer(hook, state, retry=QUICK, pause=QUICK, poll=0.05)
    task = asyncio.create_task(consumer.run())
    try:
        yield consumer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


async def test_each_alert_arrives_once_in_order_signed_and_in_both_languages(
    state: State, tmp_path: Path
) -> None:
    happens(state, "raised")
    happens(state, "acked")
    happens(state, "cleared")
    async with Hook().up() as hook, running(state, channel(hook.port, tmp_path)):
        await until(lambda: len(hook.got) == 3)
    assert hook.kinds() == ["raised", "acked", "cleared"]
    assert len(set(hook.keys())) == 3
    headers, body = hook.got[0]
    assert headers["nagari-signature"] == sign(CANARY.encode(), headers["nagari-timestamp"], body)
    assert headers["host"] == f"127.0.0.1:{hook.port}"
    assert set(json.loads(body)["summary"]) == {"id", "en"}


async def test_a_webhook_that_is_down_gets_everything_once_it_is_back(state: State, tmp_path: Path) -> None:
    async with Hook().up() as hook:
        port = hook.port
    for number in range(5):
        happens(state, "raised", f"a{number}")
    async with running(state, channel(port, tmp_path)) as consumer:
        await until(lambda: consumer.counts["retries"] >= 3)
        assert "cannot be reached" in consumer.trouble
        async with Hook(port).up() as hook:
            await until(lambda: consumer.counts["sent"] == 5)
    assert {json.loads(body)["alert"]["id"] for _, body in hook.got} == {f"a{n}" for n in range(5)}
    assert consumer.counts["skipped"] == 0


async def test_a_lost_answer_sends_the_same_key_again(state: State, tmp_path: Path) -> None:
    happens(state, "raised")
    async with (
        Hook(answers=["cut", "500 Oops", "429 Slow"]).up() as hook,
        running(state, channel(hook.port, tmp_path)),
    ):
        await until(lambda: len(hook.got) == 4)
    assert len(set(hook.keys())) == 1


async def test_a_slow_webhook_is_given_up_on_and_tried_again(state: State, tmp_path: Path) -> None:
    happens(state, "raised")
    async with (
        Hook(delay=1.0).up() as hook,
        running(state, channel(hook.port, tmp_path, timeout=0.1)) as consumer,
    ):
        await until(lambda: consumer.counts["retries"] >= 2)
        assert "did not answer within 0.1 s" in consumer.trouble
        hook.delay = 0.0
        await until(lambda: consumer.counts["sent"] == 1)


async def test_a_restart_between_answer_and_cursor_loses_nothing(state: State, tmp_path: Path) -> None:
    for number in range(20):
        happens(state, "raised", f"a{number}")
    async with Hook().up() as hook:
        for stop_at in (3, 9, 15):
            async with running(state, channel(hook.port, tmp_path)):
                await until(lambda at=stop_at: len(hook.got) >= at)  # type: ignore[misc]
        async with running(state, channel(hook.port, tmp_path)):
            await until(lambda: state.consumer("webhook:duty").seq == 20)
    first_seen = list(dict.fromkeys(json.loads(body)["alert"]["id"] for _, body in hook.got))
    assert first_seen == [f"a{number}" for number in range(20)]
    assert len(set(hook.keys())) == 20


async def test_a_redirect_is_never_followed(state: State, tmp_path: Path) -> None:
    happens(state, "raised")
    async with (
        Hook().up() as inner,
        Hook(answers=[f"307 Go\r\nLocation: http://127.0.0.1:{inner.port}/"]).up() as hook,
    ):
        async with running(state, channel(hook.port, tmp_path)) as consumer:
            await until(lambda: consumer.counts["sent"] == 1)
        assert inner.got == []
        assert len(hook.got) == 2


async def test_a_request_refused_for_good_is_skipped_and_the_next_one_sent(
    state: State, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    happens(state, "raised")
    happens(state, "cleared")
    async with (
        Hook(answers=["400 Bad Request"]).up() as hook,
        running(state, channel(hook.port, tmp_path)) as consumer,
    ):
        await until(lambda: consumer.counts["sent"] == 1)
    assert hook.kinds() == ["raised", "cleared"]
    assert "answered 400" in caplog.text
    assert CANARY not in caplog.text
    assert "geheim" not in caplog.text


@pytest.mark.parametrize("answer", ["404 Gone", "401 Who", "500 Oops", "503 Busy\r\nRetry-After: 0"])
async def test_a_receiver_that_is_set_up_wrong_gets_every_note_once_it_is_mended(
    state: State, tmp_path: Path, answer: str
) -> None:
    happens(state, "raised", "a1")
    happens(state, "raised", "a2")
    async with (
        Hook(answers=[answer] * 8).up() as hook,
        running(state, channel(hook.port, tmp_path)) as consumer,
    ):
        await until(lambda: consumer.stuck)
        assert f"answered {answer[:3]}" in consumer.trouble
        await until(lambda: consumer.counts["sent"] == 2 and not consumer.stuck)
    assert consumer.counts["skipped"] == 0
    assert len(set(hook.keys())) == 2


async def test_a_name_that_turns_to_this_machine_is_never_connected_to(tmp_path: Path) -> None:
    async def rebound(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    note = Note(1, "raised", 0, {"id": "a1"}, {})
    async with Hook().up() as hook:
        config = Webhook(name="duty", url=f"http://hooks.example:{hook.port}/")
        there = WebhookChannel(config, resolver=rebound)
        with pytest.raises(NotSent, match="not on the open internet"):
            await there.send(note)
        await there.close()
        allowed = WebhookChannel(config.model_copy(update={"allow_private": True}), resolver=rebound)
        await allowed.send(note)
        await allowed.close()
    assert [headers["host"] for headers, _ in hook.got] == [f"hooks.example:{hook.port}"]
