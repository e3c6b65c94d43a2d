"""What alarming decided is committed once, with its cursor, and read back as it was."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.alarms.model import Alert, Transition
from collector.state import State, StateError
from collector.state.alerts import OPEN

S = 10**9
T0 = 1_764_000_000 * S


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    state = State(tmp_path / "state.db")
    yield state
    state.close()


def alert(name: str = "a1", **changes: object) -> Alert:
    raised = Alert(
        id=name,
        rule="rx-power-low",
        rule_version="v1",
        site="1305012001",
        device="ont-1305012001",
        metric="rx_dbm",
        severity="major",
        condition="active",
        at=T0 + 1_999_999,
        value=-28.25,
        count=1,
        raised_at=T0 + 2 * S,
    )
    return raised.but(**changes)


def raised(offset: int, which: Alert | None = None) -> Transition:
    return Transition("raised", T0 + offset, offset, which or alert())


def summary(which: Alert) -> dict[str, str]:
    return {"id": f"Daya optik {which.value} dBm", "en": f"Optical power {which.value} dBm"}


def test_a_new_state_stands_at_the_beginning(state: State) -> None:
    assert state.cursor() == 0
    assert state.alerts("all") == []
    assert state.outbox(0) == []
    assert state.outbox_bounds() == (1, 0)


def test_an_alert_comes_back_whole(state: State, tmp_path: Path) -> None:
    whole = alert(
        holds=("shelved", "suppressed:k1"), acked=True, shelved_until=T0 + 9, assignee="Siti", cleared_at=T0
    )
    state.commit(10, [raised(3, whole)], summary)
    state.close()
    row = State(tmp_path / "state.db").alert("a1")
    assert row is not None
    assert row.alert == whole
    assert row.summary == summary(whole)


def test_the_api_shows_an_alert_in_milliseconds_and_plain_words(state: State) -> None:
    [told] = state.commit(10, [raised(3)], summary)
    row = state.alert("a1")
    assert row is not None
    assert told.body == row.body() == state.outbox(0)[0].body
    assert row.body() == {
        "id": "a1",
        "rule": "rx-power-low",
        "rule_version": "v1",
        "site": "1305012001",
        "device": "ont-1305012001",
        "metric": "rx_dbm",
        "severity": "major",
        "condition": "active",
        "acked": False,
        "holds": [],
        "state": "unacknowledged",
        "at": 1_764_000_000_001,
        "raised_at": 1_764_000_002_000,
        "cleared_at": None,
        "shelved_until": None,
        "assignee": "",
        "value": -28.25,
        "count": 1,
        "summary": {"id": "Daya optik -28.25 dBm", "en": "Optical power -28.25 dBm"},
        "incident": None,
    }


def test_a_commit_below_the_cursor_changes_nothing(state: State) -> None:
    assert len(state.commit(10, [raised(3)], summary)) == 1
    assert state.commit(10, [raised(3)], summary) == []
    assert state.commit(9, [raised(8, alert("a2"))], summary) == []
    assert state.cursor() == 10
    assert len(state.decisions()) == 1


def test_of_a_batch_that_overlaps_only_what_is_new_is_taken_in(state: State) -> None:
    state.commit(10, [raised(3)], summary)
    told = state.commit(20, [raised(3), raised(9, alert("a2")), raised(10, alert("a3"))], summary)
    assert [row.body["id"] for row in told] == ["a3"]
    assert [row.decision.offset for row in state.decisions()] == [3, 10]
    assert state.cursor() == 20


def test_a_transition_the_cursor_does_not_cover_is_refused(state: State) -> None:
    with pytest.raises(ValueError, match="at or after the cursor 10"):
        state.commit(10, [raised(10)], summary)
    assert state.cursor() == 0


def test_a_summary_that_fails_leaves_nothing_behind(state: State) -> None:
    def broken(which: Alert) -> dict[str, str]:
        if which.id == "a2":
            raise KeyError("value")
        return summary(which)

    with pytest.raises(KeyError):
        state.commit(10, [raised(3), raised(4, alert("a2"))], broken)
    assert state.cursor() == 0
    assert state.decisions() == []
    assert state.outbox_bounds() == (1, 0)
    assert len(state.commit(10, [raised(3)], summary)) == 1


def test_pending_is_kept_but_not_told(state: State) -> None:
    pending = alert(condition="pending", count=0, raised_at=None)
    assert state.commit(10, [Transition("pending", T0, 3, pending)], summary) == []
    assert [row.alert for row in state.alerts("all")] == [pending]
    assert state.alerts("active") == []


@pytest.mark.parametrize("end", ["withdrawn", "retired"])
def test_an_alert_that_was_never_raised_leaves_only_its_trail(state: State, end: str) -> None:
    pending = alert(condition="pending", count=0, raised_at=None)
    state.commit(10, [Transition("pending", T0, 3, pending)], summary)
    gone = pending.but(condition="cleared")
    assert state.commit(20, [Transition(end, T0 + 1, 13, gone)], summary) == []  # type: ignore[arg-type]
    assert state.alert("a1") is None
    assert [row.decision.change for row in state.trail("a1")] == ["pending", end]


def test_an_alert_raised_before_survives_a_withdrawn_return(state: State) -> None:
    back = alert(condition="cleared", cleared_at=T0 + 9)
    state.commit(10, [raised(3), Transition("withdrawn", T0 + 9, 5, back)], summary)
    row = state.alert("a1")
    assert row is not None
    assert row.alert == back


def test_a_retired_alert_is_told_and_kept_for_history(state: State) -> None:
    over = alert(condition="cleared", acked=True)
    told = state.commit(10, [raised(3), Transition("retired", T0 + 9, 5, over)], summary)
    assert [row.change for row in told] == ["raised", "retired"]
    assert [row.alert for row in state.alerts("all")] == [over]


def test_the_trail_tells_who_did_what_and_what_then_held(state: State) -> None:
    acked = alert(acked=True)
    told = state.commit(
        10,
        [raised(3), Transition("acked", T0 + 7, 5, acked, by="Siti", comment="on it", action="x1")],
        summary,
    )
    assert [(row.change, row.by, row.comment) for row in told] == [
        ("raised", "", ""),
        ("acked", "Siti", "on it"),
    ]
    first, second = state.trail("a1")
    assert first.decision == raised(3)
    assert second.decision == Transition("acked", T0 + 7, 5, acked, by="Siti", comment="on it", action="x1")
    assert second.seq > first.seq
    assert second.body()["alert"]["acked"] is True


def test_an_action_finds_its_answer_even_a_refusal(state: State) -> None:
    refusal = Transition("refused", T0, 4, None, by="Siti", comment="there is no such alert", action="x9")
    assert state.commit(10, [refusal], summary) == []
    row = state.of_action("x9")
    assert row is not None
    assert row.decision == refusal
    assert state.of_action("x8") is None
    assert state.of_action("") is None


def test_a_refusal_about_an_alert_does_not_touch_it(state: State) -> None:
    state.commit(10, [raised(3)], summary)
    state.commit(
        20, [Transition("refused", T0, 14, alert(acked=True), by="Siti", comment="no", action="x1")], summary
    )
    row = state.alert("a1")
    assert row is not None
    assert not row.alert.acked


def test_alerts_are_listed_newest_first_by_page_and_filter(state: State) -> None:
    several = [
        alert(f"a{i}", at=T0 + i // 2 * S, site=f"s{i % 2}", severity="minor" if i % 3 else "critical")
        for i in range(20)
    ]
    state.commit(100, [raised(i, which) for i, which in enumerate(several)], summary)
    state.commit(200, [Transition("cleared", T0 + S, 150, several[0].but(condition="cleared"))], summary)
    want = [a.id for a in sorted(several, key=lambda a: (a.at, a.id), reverse=True)]
    got, after = [], None
    while page := state.alerts("all", limit=3, after=after):
        got += [row.alert.id for row in page]
        after = page[-1].key
    assert got == want
    assert {row.alert.id for row in state.alerts("active")} == set(want) - {"a0"}
    assert {row.alert.site for row in state.alerts("all", site="s1")} == {"s1"}
    assert len(state.alerts("active", site="s0", severity="critical")) == 3  # a6, a12, a18
    with pytest.raises(ValueError):
        state.alerts("all", after="nonsense")


def test_an_alert_that_nobody_acknowledged_stays_open_while_it_is_pending_again(state: State) -> None:
    first = alert("a0", condition="active", count=1)
    again = first.but(condition="pending")
    new = alert("b0", condition="pending", count=0)
    state.commit(10, [Transition("pending", T0, 1, again), Transition("pending", T0, 2, new)], summary)
    assert [row.alert.id for row in state.alerts("open")] == ["a0"]
    assert state.alerts("active") == []
    plan = state._db.read().execute(
        f"explain query plan select * from alerts where {OPEN} order by at desc, id desc limit 9"
    )
    assert "alerts_open" in plan.fetchone()["detail"]


def test_transitions_cannot_be_more_than_the_disk_lets(state: State, tmp_path: Path) -> None:
    state.commit(10, [raised(3)], summary)
    held = sqlite3.connect(tmp_path / "state.db")
    pages = held.execute("pragma page_count").fetchone()[0]
    state._db._writer.execute(f"pragma max_page_count = {pages}")  # a full disk, as SQLite sees it
    with pytest.raises(StateError, match="full") as refused:
        state.commit(20, [raised(11 + i // 100, alert(f"b{i}")) for i in range(500)], summary)
    assert (refused.value.full, refused.value.permanent, refused.value.damaged) == (True, False, False)
    assert state.cursor() == 10
    assert len(state.alerts("all")) == 1
    state._db._writer.execute("pragma max_page_count = 1000000")
    state.commit(20, [raised(11, alert("b0"))], summary)
    assert (state.cursor(), len(state.alerts("all"))) == (20, 2)
    held.close()
