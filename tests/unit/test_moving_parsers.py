"""History from files: what was written is read, and what cannot be is told."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.moving import lineprotocol
from collector.moving.files import Format, format_of, lines
from collector.moving.messages import messages
from collector.moving.moments import Moments
from collector.moving.reading import Names, Reading, names
from collector.moving.rows import Checker, table
from collector.moving.survey import Survey
from devices.payload.native import MAX_BYTES, MAX_VALUES, parse_tele_checked
from devices.problems import Problems

NOW = 1_800_000_000_000
IDS = st.text("abcXYZ019_-", min_size=1, max_size=8)
METRICS = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
MS = st.integers(1_577_836_800_000, NOW - 1)
VALUES = st.floats(allow_nan=False, allow_infinity=False)
READINGS = st.builds(Reading, IDS, IDS, METRICS, MS, VALUES)


def check(moments: Moments | None = None, called: Names | None = None) -> Checker:
    return Checker(called or Names(), moments or Moments(), NOW)


def read(file: Path, form: Format, checker: Checker | None = None, after: int = 0) -> list[Reading]:
    found = list(lines(file, form, checker or check(), after))
    assert [line.bad for line in found if line.bad] == []
    return [reading for line in found for reading in line.readings]


@settings(max_examples=30)
@given(st.lists(READINGS, max_size=20), st.sampled_from(",;\t"), st.permutations(range(5)))
def test_a_long_csv_gives_back_what_was_written_whatever_its_order_of_columns(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Reading], delimiter: str, order: Sequence[int]
) -> None:
    file = tmp_path_factory.mktemp("csv") / "history.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out, delimiter=delimiter)
        for row in [("site", "device", "metric", "time", "value"), *rows]:
            writer.writerow([row[at] for at in order])
    assert read(file, "csv") == rows


def test_a_wide_csv_has_a_column_for_each_metric_and_leaves_out_what_is_empty(tmp_path: Path) -> None:
    file = tmp_path / "ont.csv"
    file.write_text("time,rx_dbm,tx_dbm\n2026-11-24T10:00:00+07:00,-21.5,\n1763953201.5,,true\n")
    called = names([], site="s1", device="d1")
    mixed = list(lines(file, "csv", check(called=called)))
    assert [line.readings for line in mixed] == [
        [Reading("s1", "d1", "rx_dbm", 1_795_489_200_000, -21.5)],
        [Reading("s1", "d1", "tx_dbm", 1_763_953_201_500, 1.0)],
    ]


@settings(max_examples=40)
@given(READINGS, st.sampled_from([1, 1_000, 1_000_000]), st.booleans())
def test_line_protocol_of_our_own_stores_gives_back_what_was_written(
    reading: Reading, per_ms: int, flagged: bool
) -> None:
    quality = ",quality=1.0" if flagged else ""
    time = reading.ms * per_ms
    tags = f"device={reading.device},site={reading.site}"
    line = f"{reading.metric},{tags} value={reading.value!r}{quality} {time}"
    assert lineprotocol.parse(line, check()) == ([reading], [])


def test_line_protocol_of_others_names_metrics_after_their_fields() -> None:
    called = names(["column:host=device", "metric:cpu_usage_idle=idle", "device:rtr\\,1=rtr-1"], site="s")
    called.today["device"]["rtr,1"] = "rtr-1"  # type: ignore[index]
    line = r'cpu,host=rtr\,1,core=cpu0 usage_idle=93.5,usage_user=2i,up=t,name="a b,c=d" 1763953201'
    found, bad = lineprotocol.parse(line, check(called=called))
    assert found == [
        Reading("s", "rtr-1", metric, 1_763_953_201_000, value)
        for metric, value in (("idle", 93.5), ("cpu_usage_user", 2.0), ("cpu_up", 1.0))
    ]
    assert "is text, no number" in bad[0].what


@settings(max_examples=30)
@given(st.text(max_size=60))
def test_no_line_whatever_breaks_the_parser(text: str) -> None:
    readings, bad = lineprotocol.parse(text, check())
    assert not (readings and bad) or text


@settings(max_examples=30)
@given(st.text('ab ,=\\"', max_size=20), st.sampled_from(" ,="))
def test_what_was_cut_joins_to_what_it_was(text: str, at: str) -> None:
    assert at.join(lineprotocol.split(text, at)) == text


def test_parquet_is_read_with_its_own_types(tmp_path: Path) -> None:
    file = tmp_path / "history.parquet"
    duckdb.sql(
        f"""copy (select 's1' as site, 'd1' as device, 'rx_dbm' as metric,
        timestamptz '2026-11-24 10:00:00.123+07' + interval 1 second * n as time, n::double as value
        from range(25000) t(n)) to '{file}' (format parquet)"""
    )
    found = read(file, "parquet")
    assert found[0] == Reading("s1", "d1", "rx_dbm", 1_795_489_200_123, 0.0)
    assert [reading.value for reading in found] == [float(n) for n in range(25_000)]
    assert len(read(file, "parquet", after=24_999)) == 1


def test_parquet_times_without_a_zone_are_refused_unless_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "naive.parquet"
    duckdb.sql(
        f"copy (select timestamp '2026-11-24 10:00:00' as time, 1 as rx_dbm) to '{file}' (format parquet)"
    )
    called = names([], "s", "d")
    (line,) = lines(file, "parquet", check(called=called))
    assert "does not say in which zone" in line.bad[0].what
    moments = Moments(zone=ZoneInfo("Asia/Jakarta"))
    assert read(file, "parquet", check(moments, called))[0].ms == 1_795_489_200_000


@given(MS, st.sampled_from([("s", 1e-3), ("ms", 1), ("us", 1e3), ("ns", 1e6)]))
def test_a_number_says_by_its_size_what_it_counts(ms: int, unit: tuple[str, float]) -> None:
    name, per_ms = unit
    whole = ms // 1000 * 1000
    text = str(whole // 1000) if name == "s" else str(whole * int(per_ms))
    moments = Moments()
    assert moments.ms(text) == whole
    assert moments.unit == name


@given(MS, st.integers(-14 * 60, 14 * 60), st.sampled_from("T "))
def test_iso_times_are_read_in_their_zone(ms: int, offset: int, between: str) -> None:
    zone = timezone(timedelta(minutes=offset))
    when = datetime.fromtimestamp(ms / 1000, UTC).replace(microsecond=ms % 1000 * 1000).astimezone(zone)
    assert Moments().ms(when.isoformat(between)) == ms


BAD_TIMES = [
    ("12345", "is not from 2020 to 2100"),
    ("2026-11-24", "is no time"),
    ("24/11/2026 10:00", "is no time"),
    ("2026-11-24T10:00:00", "does not say in which zone"),
    ("2026-13-24T10:00:00Z", "is no time"),
    ("2019-12-31T23:59:59Z", "before 2020"),
    ("2090-01-01T00:00:00Z", "yet to come"),
    ("", "is no time"),
]


@pytest.mark.parametrize(("text", "said"), BAD_TIMES)
def test_a_time_that_is_ambiguous_or_impossible_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check().when(text)


def test_numbers_of_another_unit_than_the_files_first_are_refused() -> None:
    moments = Moments()
    moments.ms("1763953201")
    with pytest.raises(ValueError, match="in s, as the file began"):
        moments.ms("1763953201000")


BAD_ROWS = [
    ("s1,d 1,rx_dbm,1763953201,1", "no device's id"),
    (",d1,rx_dbm,1763953201,1", "there is no site"),
    ("s1,d1,RX,1763953201,1", "the metric name 'RX' is not"),
    ("s1,d1,rx_dbm,1763953201,nan", "is no number"),
    ("s1,d1,rx_dbm,1763953201,1e999", "is no number"),
    ("s1,d1,rx_dbm,1763953201,1_0", "is no number"),
    ("s1,d1,rx_dbm,1763953201,high", "is no number"),
    ("s1,d1,rx_dbm,1763953201", "has 4 cells"),
]


@pytest.mark.parametrize(("row", "said"), BAD_ROWS)
def test_a_bad_row_is_told_with_its_line_and_the_others_go_on(tmp_path: Path, row: str, said: str) -> None:
    file = tmp_path / "h.csv"
    good = "s1,d1,rx_dbm,1763953200,1\n"
    file.write_text(f"site,device,metric,time,value\n{good}{row}\n{good}")
    found = Survey()
    found.take("h.csv", lines(file, "csv", check()), lambda series: "", NOW)
    assert (found.readings, found.bad) == (2, 1)
    ((name, line, bad),) = found.faults
    assert (name, line) == ("h.csv", 3)
    assert said in bad.what
    assert bad.mend


BAD_HEADERS = [
    ("a,b", "no column time"),
    ("time,rx_dbm", "no column site"),
    ("site,device,time", "no column but the time's"),
    ("site,device,time,a,a", "stands twice"),
]


@pytest.mark.parametrize(("header", "said"), BAD_HEADERS)
def test_a_header_that_names_no_readings_is_refused(header: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        table(header.split(","), check())


def test_a_file_that_is_none_of_its_kind_is_told_in_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "h.parquet"
    file.write_text("no")
    with pytest.raises(Problems, match="is no Parquet"):
        list(lines(file, "parquet", check()))
    with pytest.raises(Problems, match="say --format"):
        format_of(tmp_path / "h.dat", None)


@settings(max_examples=40)
@given(st.lists(READINGS, max_size=60))
def test_messages_hold_all_readings_and_are_valid(readings: list[Reading]) -> None:
    found: list[Reading] = []
    for topic, payload, values in messages(readings):
        _, _, site, device, suffix = topic.split("/")
        assert suffix == "tele"
        count = 0
        for tele in parse_tele_checked(payload):
            for metric, value in tele["values"].items():
                found.append(Reading(site, device, metric, tele["ts"], float(value)))
                count += 1
        assert count == values
    assert sorted(found) == sorted(readings)


def test_no_message_is_larger_than_a_collector_takes() -> None:
    long = "m" + "x" * 50
    rows = [
        Reading("s", "d", f"{long}{n % 1200}", NOW - 1 + n // 1200, -1.2345678901234567e300)
        for n in range(6000)
    ]
    made = messages(rows)
    assert all(len(message.payload) <= MAX_BYTES and message.values <= MAX_VALUES for message in made)
    assert sum(message.values for message in made) == 6000


def test_of_two_values_at_one_time_the_first_of_the_file_goes_first() -> None:
    (message,) = messages([Reading("s", "d", "a", 5, 1.0), Reading("s", "d", "a", 5, 2.0)])
    assert [item["values"]["a"] for item in json.loads(message.payload)] == [1.0, 2.0]


@pytest.mark.parametrize("text", ["metric:a", "a=b", "colour:a=b", "metric:=b"])
def test_a_map_that_maps_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="maps nothing"):
        names([text])


def test_young_readings_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "h.csv"
    file.write_text(f"site,device,metric,time,value\ns,d,a,{NOW - 10},1\ns,d,a,{NOW - 2 * 86_400_000},1\n")
    found = Survey()
    found.take("h.csv", lines(file, "csv", check()), lambda series: "no such device", NOW)
    assert (found.young, found.first, found.last) == (1, NOW - 2 * 86_400_000, NOW - 10)
    assert list(found.unknown) == [("s", "d", "a")]
    assert math.fsum(found.days[("s", "d", "a")].values()) == 1  # the second is not later than the first
