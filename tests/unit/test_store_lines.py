"""Lines: whatever is measured comes back as it went, and nothing in an id becomes syntax."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.core.readings import SeriesKey
from collector.store.server.lines import head, lines, speakable
from collector.store.server.victoria import Victoria
from tests.servers import VictoriaMetrics

IDS = st.from_regex(re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII), fullmatch=True)
METRICS = st.from_regex(re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII), fullmatch=True)
KEYS = st.builds(SeriesKey, IDS, IDS, METRICS)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def read(line: str) -> tuple[SeriesKey, int, float, int]:
    """A line as the protocol's own rules read it: no quotes, no backslashes, so plain cuts."""
    name, fields, when = line.split(" ")
    metric, device, site = name.split(",")
    value, *more = (field.split("=") for field in fields.split(","))
    assert device.startswith("device=")
    assert site.startswith("site=")
    assert value[0] == "value"
    assert [each[0] for each in more] in ([], ["quality"])
    key = SeriesKey(site.removeprefix("site="), device.removeprefix("device="), metric)
    return key, int(when), float(value[1]), int(float(more[0][1])) if more else 0


ROWS = st.lists(st.tuples(KEYS, st.integers(0, 2**62), FLOATS, st.integers(0, 255)), max_size=20)


@given(rows=ROWS)
def test_what_goes_into_lines_comes_out_to_the_bit(rows: list[tuple[SeriesKey, int, float, int]]) -> None:
    heads = [head(key) for key, *_ in rows]
    time, value, quality = ([row[n] for row in rows] for n in (1, 2, 3))
    made = lines(heads, np.array(time, np.int64), np.array(value, np.float64), np.array(quality, np.uint8))
    assert [read(line) for line in made] == rows
    assert not any(re.search(r"[\\\"\n]| value=\d+i?[, ]", line) for line in made)  # always a float


@pytest.mark.parametrize(
    "key",
    [
        SeriesKey("a\\", "b", "m"),
        SeriesKey("a,site=x", "b", "m"),
        SeriesKey("a", "b c", "m"),
        SeriesKey("a", "b\n", "m"),
        SeriesKey("a", 'b"} or {x="', "m"),
        SeriesKey("", "b", "m"),
        SeriesKey("a", "b", ""),
        SeriesKey("a", "b", "m value=1"),
        SeriesKey("a", "b", "9m"),
        SeriesKey("a" * 65, "b", "m"),
        SeriesKey("desa-é", "b", "m"),
    ],
    ids=repr,
)
def test_what_is_no_id_is_refused(key: SeriesKey) -> None:
    assert not speakable(key)
    with pytest.raises(ValueError, match="is no series"):
        head(key)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=st.lists(KEYS, min_size=1, max_size=5, unique=True))
def test_a_real_server_reads_every_id_as_it_was_written(
    one_victoria: VictoriaMetrics, keys: list[SeriesKey]
) -> None:
    server = Victoria(one_victoria.http, None)
    one_victoria.empty()
    when = 1_764_000_000_123_000_000
    n = len(keys)
    columns = np.full(n, when), np.full(n, 1.5), np.zeros(n, np.uint8)
    server.write(lines([head(key) for key in keys], *columns))
    found = [json.loads(line)["metric"] for line in one_victoria.export('{__name__=~".+_value"}')]
    names = sorted((row["site"], row["device"], row["__name__"].removesuffix("_value")) for row in found)
    assert names == sorted(map(tuple, keys))
    for key in keys:
        assert server.points(key, when, when + 1, None, "mean", 9) == [(when, 1.5)]
    server.close()
