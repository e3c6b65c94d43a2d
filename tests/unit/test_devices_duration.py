"""Durations as people write them, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from devices.duration import Seconds, seconds

UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("30s", 30.0),
        ("10m", 600.0),
        ("1h30m", 5400.0),
        ("1h 30m", 5400.0),
        ("2d12h", 216_000.0),
        ("5m30s", 330.0),
        ("30d", 2_592_000.0),
        ("1.5s", 1.5),
        ("250ms", 0.25),
        ("1s500ms", 1.5),
        ("0s", 0.0),
        (" 7 m ", 420.0),
        ("15", 15.0),
        (15, 15.0),
        (0.5, 0.5),
    ],
)
def test_a_duration_is_read_as_it_is_meant(words: object, wanted: float) -> None:
    assert seconds(words) == pytest.approx(wanted)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "soon",
        "1h30",
        "h",
        "5 minutes",
        "-5s",
        -5,
        "1e3s",
        "1.s",
        ".5s",
        "1h,30m",
        "m5",
        "nan",
        True,
        None,
    ],
)
def test_what_is_no_duration_is_said_with_an_example(words: object) -> None:
    with pytest.raises(ValueError, match='is no duration; write it like "30s", "10m", "1h30m" or "30d"'):
        seconds(words)


def test_a_time_without_end_is_no_duration() -> None:
    with pytest.raises(ValueError, match=r"9… is too long a time; write it like"):
        seconds("9" * 400 + "d")


def test_a_setting_that_takes_a_duration_takes_no_time_at_all_for_a_mistake() -> None:
    class Setting(BaseModel):
        lasts: Seconds

    assert Setting.model_validate({"lasts": "1h30m"}).lasts == 5400.0
    with pytest.raises(ValidationError, match="greater than 0"):
        Setting.model_validate({"lasts": "0s"})
    with pytest.raises(ValidationError, match="'soon' is no duration; write it like"):
        Setting.model_validate({"lasts": "soon"})


@given(st.integers(0, 10**11), st.booleans())
def test_written_out_in_any_units_it_is_the_same_time(ms: int, spaced: bool) -> None:
    left, parts = ms, []
    for unit, size in UNITS.items():
        number, left = divmod(left, size)
        if number:
            parts.append(f"{number}{unit}")
    words = (" " if spaced else "").join(parts) or "0s"
    assert round(seconds(words) * 1000) == ms
    assert round(seconds(ms / 1000 if ms > 100 else f"{ms}ms") * 1000) == ms


@given(st.text(max_size=12))
def test_any_other_text_is_refused_in_words_never_otherwise(words: str) -> None:
    try:
        assert seconds(words) >= 0
    except ValueError as error:
        assert "; write it like" in str(error)  # noqa: PT017 (most texts are none, some are)
