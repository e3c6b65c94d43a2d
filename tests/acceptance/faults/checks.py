"""What every fault test checks at the end: the accounts, nothing acknowledged missing, the alarms."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb

from collector.core.config import JournalSettings as Caps
from collector.core.decision import Decision
from collector.core.readings import SeriesTable
from collector.core.records import Batch
from collector.followers.alarming import Alarming
from collector.followers.versions import Versions
from collector.ingest.decode import Decoder
from collector.ingest.files import FileLog
from collector.ingest.journal import Journal
from collector.ingest.reserve import Reserve
from collector.state import State
from collector.state.snapshots import Snapshots
from collector.store.duckdb import manifest, rollups
from devices.region import read_folder
from tests.acceptance.faults.publishers import NUMBER
from tests.bench.rig import Rig, balanced

UNCLAIMED = 10_000


def wait_for(what: str, true: Callable[[], Any], seconds: float, every: float = 0.05) -> float:
    """Wait until it is true; gives the seconds that took. Fails with `what` after so many seconds."""
    begun = time.monotonic()
    while not true():
        took = time.monotonic() - begun
        assert took <= seconds, f"not within {seconds} s: {what}"
        time.sleep(every)
    return time.monotonic() - begun


def settled(rig: Rig, received: int, seconds: float = 60.0) -> dict[str, Any]:
    """The accounts once so many messages came, none is in flight and alarming has seen all; they balance."""
    stats = rig.settle(received, seconds)
    wait_for("alarming has seen it all", lambda: rig.stats()["alarm_lag_s"] == 0, seconds)
    assert balanced(stats), stats
    return stats


NO_ROWS = "select 0 as series, 0 as time, 0.0 as value, 0 as quality, 0 as received"


def query(rig: Rig, text: str, *values: object) -> list[tuple[Any, ...]]:
    """What the store holds: tables of its file, and `readings`. The collector must have stopped."""
    with duckdb.connect(str(rig.data / "readings.duckdb"), read_only=True) as con:
        view = manifest.load(con, 0)
        for part in view.parts_in("raw", -(2**62), 2**62):
            con.execute(f"attach '{rig.data / 'parts' / part.file}' as {part.name} (read_only)")
        rows = rollups.readings(view, -(2**62), 2**62) or f"select * from ({NO_ROWS}) where false"
        con.execute(f"create temp view readings as {rows}")
        return con.execute(text, list(values)).fetchall()


def stored_numbers(rig: Rig) -> list[int]:
    """The numbers of all numbered messages in the store. The collector must have stopped."""
    text = "select value from readings join series on series = id where metric = ?"
    return [int(value) for (value,) in query(rig, text, NUMBER)]


def nothing_missing(rig: Rig, acked: Iterable[int]) -> None:
    """Every number is in the store, none of them twice. The collector must have stopped."""
    stored = stored_numbers(rig)
    missing = sorted(set(acked) - set(stored))
    assert not missing, f"{len(missing)} acknowledged messages are missing, such as {missing[:5]}"
    assert len(stored) == len(set(stored)), "a message is stored twice"


def alerts(rig: Rig, rule: str, state: str = "active") -> list[dict[str, Any]]:
    """The alerts of a rule."""
    found = rig.get(f"/api/v1/alerts?state={state}&limit=500")["alerts"]
    return [alert for alert in found if alert["rule"] == rule]


Row = tuple[object, ...]


def committed(rig: Rig) -> list[Row]:
    """The transitions that the collector committed, in order."""
    return _transitions(rig.data / "state.db")


def replayed(rig: Rig, scratch: Path) -> list[Row]:
    """The transitions of an uninterrupted run over a copy of the same journal, with nothing remembered.

    The collector must have stopped.
    """
    return alarmed(rig.data / "journal", rig.folder / "region", scratch)


def alarmed(journal_folder: Path, region: Path, scratch: Path, *, stop: bool = True) -> list[Row]:
    """The transitions that the product makes of a copy of this journal, up to its end.

    Without `stop` it is left as a kill would leave it: nothing is committed or saved at the end.
    """
    shutil.copytree(journal_folder, scratch / "journal")  # makes scratch, too
    state = State(scratch / "state.db")
    journal = Journal(
        FileLog(scratch / "journal", Caps()), Reserve(scratch / "reserve", 4096), lambda _: None
    )
    journal.open()
    try:
        table = SeriesTable()
        versions = Versions(state, read_folder(region), str(region))
        decoder = Decoder(table, versions.region)
        snapshots = Snapshots(scratch / "snapshots")
        alarming = Alarming(journal, state, decoder, table, snapshots, versions, lambda _: None)
        alarming.recover()
        if stop:
            alarming.thread.start()
            wait_for("it reads it all", lambda: alarming.cursor >= journal.end or alarming.failed, 120)
            alarming.stop()
        assert alarming.failed is None, alarming.failed
        assert not journal.damage, journal.damage
    finally:
        journal.close()
        state.close()
    return _transitions(scratch / "state.db")


def _transitions(file: Path) -> list[Row]:
    state = State(file)
    try:
        rows: list[Row] = []
        seq = 0
        while page := state.decisions(seq):
            rows += [_row(each.decision) for each in page]
            seq = page[-1].seq
        return rows
    finally:
        state.close()


def _row(decision: Decision) -> Row:
    return (decision.change, decision.at, decision.offset, decision.subject, repr(decision))


def missing_and_doubled(found: list[Row], right: list[Row]) -> tuple[int, int]:
    """How many transitions of `right` are not in `found`, and how many in `found` are too many."""
    left = _count(right)
    for row in found:
        left[row] = left.get(row, 0) - 1
    return sum(n for n in left.values() if n > 0), -sum(n for n in left.values() if n < 0)


def _count(rows: list[Row]) -> dict[Row, int]:
    counted: dict[Row, int] = {}
    for row in rows:
        counted[row] = counted.get(row, 0) + 1
    return counted


def records(folder: Path) -> list[Batch]:
    """All batches of a journal's folder, read through the product's own files."""
    files = FileLog(folder, Caps())
    files.look()
    found, cursor = [], files.first
    while cursor < files.end:
        batch = files.read(cursor, files.end)
        found.append(batch)
        cursor = batch.end
    files.close()
    return found


class Watcher:
    """Looks at something again and again, in a thread, and keeps what it saw: (seconds, value)."""

    def __init__(self, look: Callable[[], Any], every: float = 0.1) -> None:
        self.seen: list[tuple[float, Any]] = []
        self._look, self._every = look, every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> list[tuple[float, Any]]:
        self._stop.set()
        self._thread.join(10)
        return self.seen

    def _run(self) -> None:
        begun = time.monotonic()
        while not self._stop.wait(self._every):
            try:
                self.seen.append((time.monotonic() - begun, self._look()))
            except OSError as error:
                self.seen.append((time.monotonic() - begun, error))


def rules(*blocks: Mapping[str, str]) -> dict[str, bytes]:
    """A rule file. Each block: name, select, when (TOML), severity."""
    text = "".join(
        f"""
[[rule]]
name = "{block["name"]}"
select = {{ {block["select"]} }}
when = {{ {block["when"]} }}
severity = "{block.get("severity", "major")}"
summary = {{ id = "{{value}}", en = "{{value}}" }}
"""
        for block in blocks
    )
    return {"rules/faults.toml": text.encode()}


def rule(name: str, metric: str, when: str) -> dict[str, str]:
    """A rule on routers; without a metric, on the router itself."""
    select = 'kind = "router"' + (f', metric = "{metric}"' if metric else "")
    return {"name": name, "select": select, "when": when}
