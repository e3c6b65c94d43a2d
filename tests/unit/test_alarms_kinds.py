"""What every kind of rule keeps to: the values that it calls quiet are those that move no alarm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.alarms.alarm import Alarm, feed
from collector.alarms.kinds import RULE_KINDS
from collector.alarms.kinds.criterion import EVERYTHING, Criterion, Judgement, Phase
from collector.alarms.model import Alert
from collector.alarms.rules import Rule
from collector.alarms.rules.tables import When, schema
from collector.core.readings import SeriesKey
from devices.catalogue import KINDS

WRITTEN: Mapping[str, list[dict[str, Any]]] = {
    "above": [{"above": 2}, {"above": 2, "clear_below": 1}],
    "below": [{"below": 0}, {"below": 0, "clear_above": 1}],
    "equals": [{"equals": 2}, {"equals": True}],
    "absent": [{"absent": True}, {"absent": "5m"}],
}
ALERT = Alert("x", "r", "v", "s", "d", "m", "major", "active", 0, 1.0, count=1)
VALUES = st.sampled_from([-1.0, -5e-324, 0.0, 5e-324, 0.5, 1.0, 1.5, 2.0, np.nextafter(2, 3), 2.5, 1e300])


def criteria() -> list[Criterion]:
    found = []
    for written in WRITTEN.values():
        for keys in written:
            when = When.model_validate(keys)
            (kind,) = when.kinds
            found.append(kind.compile(when, KINDS["ont"]))
    return found


def alarm(criterion: Criterion, phase: Phase, armed: bool) -> Alarm:
    rule = Rule("r", "v", "major", "m", criterion, 5, 5, "", False, {})
    return Alarm(rule, SeriesKey("s", "d", "m"), 1, 1, phase, alert=ALERT if phase else None, armed=armed)


def test_every_kind_is_tried_here_and_stands_in_the_schema() -> None:
    assert WRITTEN.keys() == RULE_KINDS.keys() <= schema()["$defs"]["When"]["properties"].keys()


@pytest.mark.parametrize("criterion", criteria(), ids=repr)
@given(st.sampled_from(Phase), st.booleans(), st.none() | VALUES, VALUES)
def test_a_quiet_value_moves_nothing(
    criterion: Criterion, phase: Phase, armed: bool, present: float | None, value: float
) -> None:
    one = alarm(criterion, phase, armed)
    low, high = one.quiet(present)
    if low <= value <= high:
        before = (one.phase, one.due, one.alert)
        assert feed(one, criterion.judge(value), value, 9, 9) is None
        assert (one.phase, one.due, one.alert) == before
        assert one.quiet(value) == (low, high), "and later ones are as quiet as they were"


@pytest.mark.parametrize("criterion", criteria(), ids=repr)
@given(VALUES)
def test_a_normal_value_is_passed_over_when_it_comes_again(criterion: Criterion, value: float) -> None:
    low, high = alarm(criterion, Phase.NORMAL, armed=True).quiet(value)
    assert (low <= value <= high) == (criterion.judge(value) is not Judgement.VIOLATES)


@pytest.mark.parametrize("criterion", criteria(), ids=repr)
@given(st.lists(st.none() | VALUES, min_size=1, max_size=6))
def test_many_new_series_at_once_are_as_quiet_as_one(
    criterion: Criterion, present: list[float | None]
) -> None:
    low, high = (np.full(len(present), end) for end in EVERYTHING)
    values = np.array([np.nan if value is None else value for value in present])
    criterion.narrow(values, low, high)
    new = alarm(criterion, Phase.NORMAL, armed=False)
    assert list(zip(low.tolist(), high.tolist(), strict=True)) == [new.quiet(value) for value in present]


def test_equal_criteria_are_one_and_different_kinds_never_are() -> None:
    first, second = criteria(), criteria()
    assert first == second
    assert len(set(first)) == len(first)
