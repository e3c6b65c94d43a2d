"""Service hours: the words of sites.csv, read as seconds of the local week."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.hours import DAY, WEEK, Hours
from devices.regiontables import hours as checked
from tests.unit.sims import regency, ring

NAMES = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")
MINUTES = st.integers(0, 1439)


def at(day: str, clock: str) -> float:
    hour, minute = clock.split(":")
    return NAMES.index(day) * DAY + int(hour) * 3600 + int(minute) * 60


@pytest.mark.parametrize(
    ("words", "open_at", "closed_at"),
    [
        ("Mo-Fr 08:00-16:00", ("Mo 08:00", "We 12:00", "Fr 15:59"), ("Mo 07:59", "Mo 16:00", "Sa 12:00")),
        ("Mo,We,Sa 09:00-10:30", ("Mo 09:00", "We 10:29", "Sa 09:30"), ("Tu 09:30", "Sa 10:30")),
        ("Mo-Th 08:00-16:00; Fr 08:00-11:30", ("Th 14:00", "Fr 11:00"), ("Fr 11:30", "Fr 14:00")),
        ("Mo-Fr 08:00-12:00;Mo-Fr 13:00-16:00", ("Tu 11:59", "Tu 13:00"), ("Tu 12:00", "Tu 12:59")),
        ("Fr 22:00-06:00", ("Fr 22:00", "Fr 23:59", "Sa 05:59"), ("Fr 05:00", "Sa 06:00", "Sa 22:00")),
        ("Su 22:00-06:00", ("Su 23:00", "Mo 00:00", "Mo 05:59"), ("Mo 06:00", "Su 06:00")),
        ("Sa-Mo 10:00-11:00", ("Sa 10:00", "Su 10:30", "Mo 10:59"), ("Tu 10:30", "Fr 10:30")),
        ("Mo 00:00-00:00", ("Mo 00:00", "Mo 23:59"), ("Su 23:59", "Tu 00:00")),
    ],
)
def test_a_place_is_open_when_its_hours_say_so(
    words: str, open_at: tuple[str, ...], closed_at: tuple[str, ...]
) -> None:
    found = Hours.parse(words)
    assert checked(words) == words
    assert [when for when in open_at if not found.open(at(*when.split()))] == []
    assert [when for when in closed_at if found.open(at(*when.split()))] == []
    assert not found.always


@pytest.mark.parametrize("words", ["24/7", "", "  ", "Mo-Fr 08:00-16:00;24/7"])
def test_a_place_without_hours_or_with_all_of_them_never_closes(words: str) -> None:
    found = Hours.parse(words)
    assert found.always
    assert all(found.open(hour * 3600) for hour in range(7 * 24))


@pytest.mark.parametrize("words", ["soon", "Mo-Fr 8-16", "Mo-Fr 08:00", "Mo-Fr  08:00-16:00"])
def test_what_are_no_hours_is_said_with_an_example(words: str) -> None:
    with pytest.raises(ValueError, match=r'are no hours; write them like "Mo-Fr 08:00-16:00" or "24/7"'):
        Hours.parse(words)


def test_the_hours_of_every_site_that_we_ship_are_read() -> None:
    for region in (ring(), regency()):
        spoken = {site.hours for site in region.sites.values()}
        assert "Mo-Fr 08:00-16:00" in spoken
        for words in spoken:
            assert Hours.parse(words).spans


@given(st.integers(0, 6), st.integers(0, 6), MINUTES, MINUTES, st.floats(0, WEEK, exclude_max=True))
def test_whatever_the_hours_a_week_later_it_is_the_same_and_their_length_is_what_was_written(
    first: int, last: int, begin: int, end: int, second: float
) -> None:
    words = f"{NAMES[first]}-{NAMES[last]} {begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"
    assert checked(words) == words
    found = Hours.parse(words)
    days = (last - first) % 7 + 1
    length = (end - begin) % 1440 or 1440
    assert sum(until - since for since, until in found.spans) == days * length * 60
    assert found.open(second) == found.open(second + WEEK)
    clock = (second % DAY) / 60
    if begin < end and not begin <= clock < end:
        assert not found.open(second)
