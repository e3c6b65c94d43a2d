"""Series are numbered once for all threads; bundles come back as they were or are refused."""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core.bundle import BundleError, joined, pack, parted, unpack
from collector.core.readings import DEVICE, WIDE, Readings, SeriesKey, SeriesTable, grown


def test_threads_that_race_for_the_same_series_agree_on_its_number() -> None:
    table, keys = SeriesTable(), [SeriesKey("1305012001", f"d{n}", "m") for n in range(400)]
    found: list[dict[SeriesKey, int]] = [{} for _ in range(8)]
    start = threading.Barrier(8)

    def work(mine: dict[SeriesKey, int], seed: int) -> None:
        order = keys.copy()
        random.Random(seed).shuffle(order)
        start.wait()
        for key in order:
            mine[key] = table.number(key)
            assert table.keys[mine[key]] == key

    threads = [threading.Thread(target=work, args=(mine, n)) for n, mine in enumerate(found)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(mine == found[0] for mine in found)
    assert sorted(found[0].values()) == list(range(400))
    assert len(table) == 400


def test_a_series_never_seen_has_no_number() -> None:
    table = SeriesTable()
    assert table.find(SeriesKey("a", "b", "c")) is None
    assert len(table) == 0


def test_series_numbered_in_bulk_and_as_siblings_are_those_numbered_one_by_one() -> None:
    table, again = SeriesTable(), SeriesTable()
    keys = [SeriesKey(f"s{n % 3}", f"d{n % 7}", f"m{n % 5}") for n in range(40)]
    for key in keys:
        table.number(key)
    again.number(SeriesKey("elsewhere", "d0", "m1"))
    found = again.numbers(*table.names(), *table.columns())
    assert [again.keys[number] for number in found.tolist()] == list(table.keys)
    first = table.number(SeriesKey("s9", "d9", DEVICE))
    row = table.siblings(first, ["m1", "x", "y"])
    assert [table.keys[number] for number in row] == [SeriesKey("s9", "d9", m) for m in ("m1", "x", "y")]
    assert list(table.siblings(first, ["y", "z", "m1"])) == [row[2], row[2] + 1, row[0]]
    assert [table.find(table.keys[number]) for number in range(len(table))] == list(range(len(table)))
    assert table.names_of(np.array([first, row[1]], np.int32)) == (["s9"] * 2, ["d9"] * 2, [DEVICE, "x"])


def test_a_device_of_very_many_series_finds_each_of_them() -> None:
    table = SeriesTable()
    first = table.number(SeriesKey("s", "d", DEVICE))
    numbers = [table.number(SeriesKey("s", "d", f"m{n}")) for n in range(3 * WIDE)]
    more = table.siblings(first, ["m5", "new"])
    assert list(more) == [numbers[5], len(table) - 1]
    assert [table.find(SeriesKey("s", "d", f"m{n}")) for n in range(3 * WIDE)] == numbers
    assert table.find(SeriesKey("s", "d", "none")) is None


def test_the_series_at_a_site_come_in_order() -> None:
    table = SeriesTable()
    for n in range(12):
        table.number(SeriesKey(f"s{n % 2}", f"d{n % 4}", f"m{n}"))
    assert [table.keys[number].metric for number in table.at_site("s1")] == [f"m{n}" for n in range(1, 12, 2)]
    assert table.at_site("s2") == []


def test_keys_are_a_sequence() -> None:
    table = SeriesTable()
    keys = [SeriesKey("s", f"d{n}", "m") for n in range(5)]
    for key in keys:
        table.number(key)
    assert list(table.keys) == keys
    assert table.keys[1:3] == keys[1:3]
    assert table.keys[-1] == keys[-1]
    with pytest.raises(IndexError):
        table.keys[5]


def test_names_joined_come_apart() -> None:
    assert parted(joined([("a", "b"), ("c", "")])) == [("a", "b"), ("c", "")]
    assert parted(joined([])) == []


def readings(*series: int) -> Readings:
    n = np.array(series, np.int32)
    return Readings(n, n * np.int64(10), n * 1.5, n.astype(np.uint8), n * np.int64(20))


def test_readings_are_joined_and_picked_in_order() -> None:
    both = Readings.concat([readings(1, 2), readings(3)])
    assert both.series.tolist() == [1, 2, 3]
    assert both.take(np.array([True, False, True])).value.tolist() == [1.5, 4.5]
    assert both.take(np.array([2, 0])).time.tolist() == [30, 10]
    assert len(Readings.concat([])) == 0


def test_a_column_grows_and_keeps_what_it_had() -> None:
    column = np.array([1, 2], np.int64)
    wider = grown(column, 5, -1)
    assert wider[:2].tolist() == [1, 2]
    assert set(wider[2:].tolist()) == {-1}
    assert grown(wider, 5, -1) is wider


HEADS = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9) | st.lists(st.booleans()))


@settings(max_examples=40, deadline=None)
@given(head=HEADS, column=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20), raw=st.binary(max_size=60))
def test_a_bundle_comes_back_as_it_was(head: dict[str, object], column: list[int], raw: bytes) -> None:
    head.pop("form", None)
    columns = {"a": np.array(column, np.int64), "b": np.frombuffer(raw, np.uint8)}
    got, found = unpack("form-1", pack("form-1", head, columns))
    assert got == head
    assert found["a"].tolist() == column
    assert found["b"].tobytes() == raw


def test_a_bundle_of_another_form_is_refused() -> None:
    with pytest.raises(BundleError, match="this is no form-2"):
        unpack("form-2", pack("form-1", {}, {}))


def test_a_bundle_that_would_need_pickle_is_refused() -> None:
    with pytest.raises((BundleError, ValueError)):
        unpack("f", pack("f", {}, {"a": np.array([{}], object)}))


def test_damage_is_refused_or_harmless() -> None:
    whole = pack("form-1", {"k": [1, 2]}, {"a": np.arange(9)})
    for length in range(0, len(whole), 7):
        with pytest.raises(BundleError):
            unpack("form-1", whole[:length])
    for at in range(len(whole)):
        for bit in (1, 0x80):
            bad = bytearray(whole)
            bad[at] ^= bit
            try:
                head, columns = unpack("form-1", bytes(bad))
            except BundleError:
                continue
            assert head == {"k": [1, 2]}
            for column in columns.values():
                assert column.tolist() == list(range(9))
