"""The storage contract as arithmetic: what is needed, what fits, and that what is suggested does fit."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core.config import StorageSettings
from collector.storage.contract import (
    DAY,
    Costs,
    Measured,
    StoragePlan,
    human,
    plan,
    rates,
    rates_of,
    readings_a_day,
    with_measured,
)
from collector.store.tiers import TIERS
from devices.model import Device

KINDS = st.dictionaries(st.sampled_from(["ont", "olt", "router", "power", "climate", "river", "host"]),
                        st.integers(1, 50_000), min_size=1)  # fmt: skip
SPANS = st.integers(1, 4000)
CAPACITY = st.integers(10**9, 10**14)
FEW = settings(max_examples=60, deadline=None)


def asked(raw: float = 90, minute: float = 730, hour: float = 3650) -> StorageSettings:
    return StorageSettings(raw=raw * DAY, minute=minute * DAY, hour=hour * DAY)


def planned(kinds: dict[str, int], kept: StorageSettings, capacity: int = 8 * 10**12) -> StoragePlan:
    return plan(rates_of(kinds), kept, 20 * 10**9, Costs(), capacity)


@FEW
@given(KINDS, st.integers(1, 1000))
def test_a_further_device_never_needs_less(kinds: dict[str, int], more: int) -> None:
    kind = next(iter(kinds))
    larger = kinds | {kind: kinds[kind] + more}
    assert planned(larger, asked()).total > planned(kinds, asked()).total


@FEW
@given(KINDS, SPANS, SPANS, st.sampled_from(TIERS))
def test_a_longer_retention_never_needs_less(kinds: dict[str, int], a: int, b: int, tier: str) -> None:
    short, long = sorted((a, b))
    one, other = (planned(kinds, asked(**{tier: days})) for days in (short, long))
    assert one.total <= other.total
    assert one.fits or not other.fits


@FEW
@given(KINDS, SPANS, SPANS, SPANS, CAPACITY)
def test_a_plan_fits_or_what_it_suggests_does(
    kinds: dict[str, int], raw: int, minute: int, hour: int, capacity: int
) -> None:
    found = planned(kinds, asked(raw, minute, hour), capacity)
    assert found.fits == (found.total <= capacity)
    if found.suggestion is None:
        assert not planned(kinds, asked(1, 1, 1), capacity).fits
        return
    assert planned(kinds, found.suggestion, capacity).fits
    kept = asked(raw, minute, hour)
    assert all(getattr(found.suggestion, tier) <= getattr(kept, tier) for tier in TIERS)
    assert found.fits == (found.suggestion == kept)


@FEW
@given(KINDS, CAPACITY)
def test_the_days_said_to_fit_are_the_days_that_fit(kinds: dict[str, int], capacity: int) -> None:
    for need in planned(kinds, asked(), capacity).needs:
        if need.share in TIERS and need.fits_days and need.fits_days > 1.5:
            shorter = asked(**{need.share: min(need.fits_days * 0.999, 1e9)})
            longer = asked(**{need.share: need.fits_days * 1.001})
            assert planned(kinds, shorter, capacity).fits
            assert not planned(kinds, longer, capacity).fits


def test_the_regency_keeps_ten_years_in_8_tb() -> None:
    found = planned({"ont": 150, "router": 150, "power": 60, "host": 10}, asked())
    assert found.fits
    assert found.suggestion == asked()


def test_a_router_is_planned_at_a_message_every_twenty_seconds() -> None:
    assert readings_a_day("router") == 7 * 86_400 / 20
    assert rates([Device("s", "collector", "collector")]).readings == 0


def test_a_week_of_readings_takes_the_place_of_the_defaults_and_a_day_does_not() -> None:
    day = with_measured(Costs(), {"raw": Measured(1_000_000, 12_000_000, 1.0)})
    assert (day.cold, day.measured) == (3.0, ())
    week = with_measured(Costs(), {"raw": Measured(1_000_000, 2_500_000, 8.0)})
    assert (week.cold, week.hot, week.measured) == (2.5, 2.5, ("raw",))


def test_a_refusal_names_the_retention_that_fits() -> None:
    what, mend = planned({"router": 5000}, asked(3650), 10**12).refusal()
    assert what.endswith("and the capacity is 1 TB")
    assert 'raw = "' in mend
    assert human(8e12) == "8 TB"
