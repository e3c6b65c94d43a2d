"""A state.db that is empty, or damaged, instead of the one that was: it is said, and all goes on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from collector.state import State
from tests.acceptance.faults.checks import alerts, settled, wait_for
from tests.acceptance.faults.publishers import Wire, tele, topic
from tests.bench.rig import Rig

RULE = (
    b'[[rule]]\nname = "slow"\nselect = { kind = "router", metric = "latency_ms" }\nseverity = "minor"\n'
    b'when = { above = 300.0 }\nsummary = { id = "{value}", en = "{value}" }\n'
)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "rig", sites=3, rules={"rules/r.toml": RULE})
    with ExitStack() as stack:
        stack.callback(rig.end)
        rig.broker.start()
        rig.start()
        with Wire(rig.broker.port, "publisher") as wire:
            for site, device in rig.devices:
                wire.publish(topic(site, device), tele({"latency_ms": 400}))
            wire.flush()
        settled(rig, len(rig.devices))
        wait_for("the alerts are there", lambda: len(alerts(rig, "slow")) == len(rig.devices), 10)
        rig.stop()
        yield rig


def test_an_empty_state_db_is_said_and_the_alerts_come_again(rig: Rig) -> None:
    file = rig.data / "state.db"
    for path in rig.data.glob("state.db*"):
        path.unlink()
    file.touch()
    rig.start()
    rig.token = ""  # the old one is gone with the file
    wait_for("the alerts are there again", lambda: len(alerts(rig, "slow")) == len(rig.devices), 10)
    assert "tokens, comments and audit are lost" in rig.tail()
    state = State(file)
    assert [row.who for row in state.audited("state.lost", 9)] == ["collector"]
    assert state.verify_audit() is None
    state.close()
    rig.stop()
    rig.start()  # once is enough
    state = State(file)
    assert len(state.audited("state.lost", 9)) == 1
    state.close()


def test_a_garbage_page_is_said_in_log_health_and_an_alert(rig: Rig) -> None:
    file = rig.data / "state.db"
    with closing(sqlite3.connect(file)) as con:
        con.execute("pragma wal_checkpoint(truncate)")
        [page] = con.execute("select rootpage from sqlite_master where name = 'sessions'").fetchone()
        [size] = con.execute("pragma page_size").fetchone()
    with file.open("r+b") as out:
        out.seek((page - 1) * size)
        out.write(b"\xa5" * size)
    rig.start()
    wait_for("the alert is there", lambda: alerts(rig, "collector-state-damaged"), 10)
    assert "damaged" in json.dumps(rig.get("/readyz"))
    assert rig.tail().count("state.db is damaged (") == 1
    assert len(alerts(rig, "slow")) == len(rig.devices)  # what is whole goes on
