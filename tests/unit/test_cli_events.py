"""Server-sent events, line by line."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from collector.cli.events import StreamEvent, events

DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_an_event_has_name_data_and_id() -> None:
    lines = ["event: alert", "id: 7", 'data: {"id": "a"}', ""]
    assert list(events(lines)) == [StreamEvent("alert", {"id": "a"}, "7")]


def test_signs_of_life_and_what_is_not_json_are_passed_over() -> None:
    lines = [": ping", "", "data: {half", "", "event: stats", "", "data: 1", ""]
    assert list(events(lines)) == [StreamEvent("message", 1)]


def test_data_of_several_lines_is_joined() -> None:
    assert list(events(["data: [1,", "data: 2]", ""])) == [StreamEvent("message", [1, 2])]


def test_an_event_that_was_cut_off_is_none() -> None:
    assert list(events(["event: alert", "data: 1"])) == []


@given(st.lists(st.tuples(st.sampled_from(["alert", "stats"]), DATA, st.integers(0))))
def test_what_was_sent_is_what_comes(sent: list[tuple[str, object, int]]) -> None:
    lines = [
        line
        for name, data, number in sent
        for line in (f"event: {name}", f"id: {number}", f"data: {json.dumps(data)}", "")
    ]
    assert [(e.name, e.data, int(e.id)) for e in events(lines)] == sent
