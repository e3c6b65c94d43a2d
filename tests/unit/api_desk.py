"""A collector in memory, over the real state.db and the real DuckDB, served by a real uvicorn."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import uvicorn
import uvloop

from collector.alarms.model import Alert, Severity, Transition, TransitionKind
from collector.api.app import create_app, server_settings
from collector.api.context import Context, Pace
from collector.api.figures import Health
from collector.api.hub import Hub
from collector.core.config import Config, check
from collector.core.readings import Readings, SeriesKey, SeriesTable
from collector.core.records import Action
from collector.followers.lasts import Lasts
from collector.state import State
from collector.storage.holding import Holding
from collector.store.base import Ledger, Reject
from collector.store.duckdb import open_store
from devices import region as regions
from devices.model import Device, Presence
from devices.problems import Problems

T = TypeVar("T")

FILES = {
    "region.toml": b'name = "Padang Pariaman"\ntimezone = "Asia/Jakarta"\nlanguages = ["id", "en"]\n'
    b'centre = "1305-kominfo"\n',
    "boundaries.geojson": b'{"type": "FeatureCollection", "features": []}',
    "sites.csv": b"id,name,kind,parent,agency,lon,lat,feeder,hours,priority,alias\n"
    b"1305-kominfo,Pusat data Kominfo,centre,,Diskominfo,100.2,-0.6,,,9,\n"
    b"1305012001,Lubuk Alung,nagari,,,100.28,-0.67,,,1,1305019999\n"
    b"1305012002,Pasie Laweh,nagari,,,100.29,-0.66,,,1,\n"
    b"1305012003,Aie Tajun,nagari,,,100.3,-0.65,,,1,\n",
    "devices.csv": b"site,id,kind,via,actuators,labels\n"
    b"1305-kominfo,centre-host,host,,,\n"
    b"1305012001,lubuk-alung-ont,ont,,,rack=1\n"
    b"1305012001,lubuk-alung-rtr,router,,,\n"
    b"1305012002,pasie-laweh-ont,ont,,,\n",
    "links.geojson": b'{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": '
    b'{"id": "l1", "from": "1305-kominfo", "to": "1305012001", "kind": "fibre", "length_km": 12.5}, '
    b'"geometry": {"type": "LineString", "coordinates": [[100.2, -0.6], [100.28, -0.67]]}}, '
    b'{"type": "Feature", "properties": '
    b'{"id": "l2", "from": "1305012001", "to": "1305012002", "kind": "fibre", "length_km": 1.6}, '
    b'"geometry": {"type": "LineString", "coordinates": [[100.28, -0.67], [100.29, -0.66]]}}, '
    b'{"type": "Feature", "properties": '
    b'{"id": "l3", "from": "1305012002", "to": "1305012003", "kind": "fibre", "length_km": 1.6}, '
    b'"geometry": {"type": "LineString", "coordinates": [[100.29, -0.66], [100.3, -0.65]]}}]}',
}

KINDS: dict[str, TransitionKind] = {
    "ack": "acked",
    "unack": "unacked",
    "shelve": "shelved",
    "unshelve": "unshelved",
    "comment": "commented",
    "assign": "assigned",
}


def summarise(alert: Alert) -> Mapping[str, str]:
    return {
        "id": f"Nilai {alert.metric} {alert.value} di {alert.device}",
        "en": f"{alert.metric} is {alert.value} at {alert.device}",
    }


class Desk:
    """What the API sees of a collector; a test moves it with raise_alert, clear, reading, reject."""

    def __init__(
        self,
        folder: Path,
        http: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        self.config: Config = check({"http": dict(http or {})}, folder / "nagari.toml")
        self.state = State(folder / "state.db")
        self.table = SeriesTable()
        self.store = open_store("duckdb:", folder, self.table, 64_000_000)
        self.hub = Hub()
        self.storage_stats: dict[str, float] = {}
        self.holding = Holding(0, None, 0, 0, ())
        self.broken: Problems | None = None
        self.slow = False
        self.asked: list[str] = []
        self.parts = {"mqtt": "ok", "journal": "ok", "store": "ok"}
        self.online: dict[str, Presence] = {}
        self.region = regions.load(files or FILES)
        self.lasts = Lasts(self.table)
        self._ledger = Ledger()
        self._offset = self.state.cursor()

    def close(self) -> None:
        self.store.close()
        self.state.close()

    def token(self, role: str, name: str = "") -> str:
        return self.state.create_token(role, name or f"{role}-1", time.time_ns())  # type: ignore[arg-type]

    def stats(self) -> dict[str, int | float]:
        book = self._ledger
        return {
            "received": book.messages + 3,
            "stored": book.stored,
            "duplicate": book.duplicate,
            "quarantined": book.quarantined,
            "dropped": book.dropped,
            "in_flight": 3,
            "values": book.values,
            "conflicts": book.conflicts,
            **self.storage_stats,
        }

    def health(self) -> Health:
        ready = self.parts["mqtt"] == self.parts["journal"] == "ok"
        return Health(ready, dict(self.parts))

    def presence_of(self, device: Device) -> Presence | None:
        return self.online.get(device.id)

    def presence(self) -> Mapping[str, Presence]:
        return self.online

    def metrics(self) -> bytes:
        return b"# TYPE nagari_received_total counter\nnagari_received_total 3\n"

    async def stage_backup(self) -> dict[str, Any]:
        return {"folder": "staging", "accounts": {}}

    async def act(self, action: Action) -> Transition | None:
        if self.broken:
            raise self.broken
        if self.slow:
            self.asked.append(action.id)
            return None
        if row := self.state.of_action(action.id):
            assert isinstance(row.decision, Transition)
            return row.decision
        return await self.commit(self._acted(action))

    def acting(self, action: str) -> bool:
        return action in self.asked

    async def commit(self, transition: Transition) -> Transition:
        """Through the state into the hub, as the collector does it."""
        self._offset += 10
        rows = await asyncio.to_thread(self.state.commit, self._offset, [transition], summarise)
        self.hub.publish(rows)
        return transition

    async def raise_alert(
        self,
        device: str = "lubuk-alung-ont",
        metric: str = "rx_dbm",
        value: float = -28.5,
        severity: Severity = "major",
        site: str = "1305012001",
        rule: str = "rx-power-low",
        holds: tuple[str, ...] = (),
    ) -> Alert:
        at = time.time_ns()
        alert = Alert(
            f"a{at}", rule, "v1", site, device, metric, severity, "active", at, value, 1, raised_at=at
        ).but(holds=holds)
        await self.commit(Transition("raised", at, self._offset, alert))
        return alert

    async def clear(self, alert_id: str) -> None:
        at = time.time_ns()
        alert = self._alert(alert_id).but(condition="cleared", cleared_at=at)
        await self.commit(Transition("cleared", at, self._offset, alert))

    async def unshelve(self, alert_id: str) -> None:
        alert = self._alert(alert_id).but(holds=())
        await self.commit(Transition("unshelved", time.time_ns(), self._offset, alert))

    def reading(self, device: str, metric: str, value: float, at: int | None = None) -> None:
        now = time.time_ns()
        self.readings(device, metric, [(now if at is None else at, value)])

    def readings(self, device: str, metric: str, points: list[tuple[int, float]]) -> None:
        site = self.region.devices[device].site if device in self.region.devices else "1305012003"
        key = SeriesKey(site, device, metric)
        number = self.table.number(key)
        size, now = len(points), time.time_ns()
        times, values = (np.array(column) for column in zip(*points, strict=True))
        batch = Readings(
            np.full(size, number, np.int32),
            times.astype(np.int64),
            values.astype(np.float64),
            np.zeros(size, np.uint8),
            times.astype(np.int64),
        )
        self._ledger.cursor += 1
        self._ledger.messages += 1
        self._ledger.stored += 1
        self._ledger.values += size
        self.store.commit(batch, [], self._ledger)
        self.lasts.take(
            replace(batch.take(np.array([size - 1])), received=np.array([min(points[-1][0], now)]))
        )

    def reject(self, topic: str, reason: str, head: bytes) -> None:
        self._ledger.cursor += 1
        self._ledger.messages += 1
        self._ledger.quarantined += 1
        row = Reject(self._ledger.cursor, time.time_ns(), topic, reason, head, len(head))
        self.store.commit(Readings.concat([]), [row], self._ledger)

    def _alert(self, alert_id: str) -> Alert:
        row = self.state.alert(alert_id)
        assert row is not None
        return row.alert

    def _acted(self, action: Action) -> Transition:
        at, alert, args = time.time_ns(), self._alert(action.alert), action.args or {}
        changes: dict[str, Any] = {
            "ack": {"acked": True},
            "unack": {"acked": False},
            "shelve": {"holds": ("shelved",), "shelved_until": at + int(str(args.get("seconds", 0))) * 10**9},
            "unshelve": {"holds": (), "shelved_until": None},
            "comment": {},
            "assign": {"assignee": args.get("to")},
        }[action.name]
        if action.name == "ack" and alert.acked:
            return Transition(
                "refused",
                at,
                self._offset,
                None,
                by=action.by,
                comment="it is acknowledged already",
                action=action.id,
            )
        after = alert.but(**changes)
        return Transition(
            KINDS[action.name],
            at,
            self._offset,
            after,
            by=action.by,
            comment=action.comment,
            action=action.id,
        )


@dataclass
class Live:
    """The API on a port of its own."""

    desk: Desk
    url: str
    loop: asyncio.AbstractEventLoop
    context: Context

    def do(self, what: Awaitable[T]) -> T:
        """Run it on the server's loop and wait for it."""

        async def run() -> T:
            return await what

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(20)


@contextmanager
def serving(desk: Desk, pace: Pace | None = None) -> Iterator[Live]:
    """A real server in a thread of its own."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        app = create_app(desk, desk.hub, pace=pace)
        server = uvicorn.Server(server_settings(app))
        loops: list[asyncio.AbstractEventLoop] = []

        async def main() -> None:
            loops.append(asyncio.get_running_loop())
            await server.serve([listening])

        thread = threading.Thread(target=lambda: uvloop.run(main()), daemon=True)
        thread.start()
        deadline = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        try:
            yield Live(desk, f"http://127.0.0.1:{port}", loops[0], app.state.context)
        finally:
            loops[0].call_soon_threadsafe(desk.hub.close)
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive(), "the server did not stop"
