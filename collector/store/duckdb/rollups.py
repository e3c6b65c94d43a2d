"""SQL over hot tables and cold parts: series' points, roll-ups that merge, and days being closed.

Everything is first brought into partial aggregates (time, least, most, mean, n, last, last_at), one per
reading or per row of a roll-up. These can be merged in any order: that is why late data is right at once.
"""

from __future__ import annotations

from collections.abc import Iterable

from collector.store.base import Aggregate, Tier
from collector.store.duckdb.layout import HotTable, Layout, PartFile, Partition
from collector.store.tiers import UNIT, WIDTH, Stretch

COLD: dict[Tier, str] = {
    "raw": "place bigint not null, ns integer not null, value double not null, quality utinyint not null, \
delay bigint not null",
    **dict.fromkeys(
        ("minute", "hour"),
        "place bigint not null, least double not null, most double not null, total double not null, \
scaled utinyint not null, n bigint not null, last double not null, last_ms integer not null, \
last_ns integer not null",
    ),
}
SMALL = f"{2.0**-64!r}"
BIG = f"{2.0**64!r}"
# The sum of large finite values may overflow where their mean does not: then it is taken at 2^-64 of scale.
_MEAN = f"""case when isfinite(sum(mean * n)) then sum(mean * n) / sum(n)
else sum(mean * {SMALL} * n) / sum(n) * {BIG} end"""
# Kept is the total, not the mean: decimals add up to decimals, which compress to a third. What adding up
# blurred in the last bits is made a decimal again.
_TOTAL = f"""case when not isfinite(sum(mean * n)) then sum(mean * {SMALL} * n)
when abs(round(sum(mean * n), 6) - sum(mean * n)) <= 1e-13 * abs(sum(mean * n)) then round(sum(mean * n), 6)
else sum(mean * n) end"""
_KEPT_MEAN = f"case when scaled = 1 then total / n * {BIG} else total / n end"
_KEPT_LAST = "last_ms::bigint * 1000000 + last_ns"
_AGGREGATES: dict[Aggregate, str] = {
    "mean": _MEAN,
    "min": "min(least)",
    "max": "max(most)",
    "last": "arg_max(last, last_at)",
    "count": "sum(n)::double",
}


def _union(selects: Iterable[str]) -> str:
    return " union all ".join(selects)


def points(
    layout: Layout, segments: list[Stretch], series: list[int], step: int | None, agg: Aggregate, limit: int
) -> str:
    """The query for (series, time, value), in that order; "" if nothing can be there."""
    sources = [each for segment in segments for each in _sources(layout, segment, series)]
    if not sources:
        return ""
    if step is None and all(segment.tier == "raw" for segment in segments):
        return f"""select series, time, last as value from ({_union(sources)})
order by series, time limit {limit}"""
    if step is None and agg == "count":
        agg = "mean"  # a roll-up's row stands for a reading, as raw ones do: nothing is counted
    bucket = "time" if step is None else f"time - ((time % {step}) + {step}) % {step}"
    return f"""select series, {bucket} as bucket, {_AGGREGATES[agg]} as value from ({_union(sources)})
group by series, bucket order by series, bucket limit {limit}"""


def _sources(layout: Layout, segment: Stretch, series: list[int]) -> list[str]:
    tier, width = segment.tier, WIDTH[segment.tier]
    first, last = (-(-t // width) * width for t in (segment.start, segment.end))
    hot = [
        f"""select series::bigint as series, {_start(width)} as time, value as least, value as most,
value as mean, 1 as n, value as last, time as last_at from {table.name}
where {_among("series", series)} and time >= {first} and time < {last}"""
        for table in layout.hot_in(first, last)
    ]
    parts = layout.parts_in(tier, first, last)
    read = _raw if tier == "raw" else _rolled
    return hot + [read(part, series, first, last) for part in parts]


def _start(width: int) -> str:
    return "time" if width == 1 else f"time - ((time % {width}) + {width}) % {width}"


def _among(what: str, series: list[int]) -> str:
    return f"{what} = {series[0]}" if len(series) == 1 else f"{what} in ({', '.join(map(str, series))})"


def _bounds(part: PartFile, series: list[int], first: int, last: int) -> str:
    """One series' places are a stretch, which is found at once; those of many are all looked at."""
    unit, most = UNIT[part.tier], part.places
    low, high = max((first - part.start) // unit, 0), min(-(-(last - part.start) // unit), most)
    stretch = f"place >= {min(series) * most + low} and place < {max(series) * most + high}"
    if len(series) == 1:
        return stretch
    inside = f"place % {most} >= {low} and place % {most} < {high}"
    return f"{stretch} and {_among(f'place // {most}', series)} and {inside}"


def _raw(part: PartFile, series: list[int], first: int, last: int) -> str:
    decoded = f"""select {_series(part)} as series, {_when(part)} + ns as time, value
from {part.name}.rows where {_bounds(part, series, first, last)}"""
    return f"""select series, time, value as least, value as most, value as mean, 1 as n, value as last,
time as last_at from ({decoded}) where time >= {first} and time < {last}"""


def _rolled(part: PartFile, series: list[int], first: int, last: int) -> str:
    return f"""select {_series(part)} as series, {_when(part)} as time, least, most, {_KEPT_MEAN} as mean, n,
last, {_when(part)} + {_KEPT_LAST} as last_at from {part.name}.rows
where {_bounds(part, series, first, last)}"""


def _series(part: PartFile) -> str:
    return f"place // {part.places}"


def _when(part: PartFile) -> str:
    return f"({part.start}) + (place % {part.places}) * {UNIT[part.tier]}"


def readings(layout: Layout, start: int, end: int) -> str:
    """All raw readings with start <= time < end; "" if none can be there."""
    inside = f"time >= {start} and time < {end}"
    hot = [
        f"select series, time, value, quality, received from {table.name} where {inside}"
        for table in layout.hot_in(start, end)
    ]
    cold = [f"select * from ({_decoded(part)}) where {inside}" for part in layout.parts_in("raw", start, end)]
    return _union(hot + cold)


def _decoded(part: PartFile) -> str:
    return f"""select ({_series(part)})::integer as series, {_when(part)} + ns as time, value, quality,
time + delay * 1000000000 as received from {part.name}.rows"""


def merged(
    part: Partition, hot: list[HotTable], inside: str, old: PartFile | None, low: int, high: int
) -> str:
    """The rows of a part's next generation, series low <= s < high.

    They are the old one's, and those of hot tables for which `inside` (SQL) is true.
    """
    tier, places, base = part.tier, part.places, part.start
    mine = f"series >= {low} and series < {high} and {inside}"
    columns = "*" if tier == "raw" else f"place, least, most, {_KEPT_MEAN}, n, last, {_KEPT_LAST}"
    stretch = f"place >= {low * places} and place < {high * places}"
    kept = [f"select {columns} from {old.name}.rows where {stretch}"] if old else []
    if tier == "raw":
        fresh = [
            f"""select series::bigint * {places} + (time - ({base})) // 1000000 as place,
((time - ({base})) % 1000000)::integer as ns, value, quality, (received - time) // 1000000000 as delay
from {table.name} where {mine}"""
            for table in hot
        ]
        return f"select * from ({_union(fresh + kept)}) order by place, ns"
    unit = UNIT[tier]
    fresh = [
        f"""select series::bigint * {places} + (time - ({base})) // {unit} as place, value as least,
value as most, value as mean, 1::bigint as n, value as last, (time - ({base})) % {unit} as last_in
from {table.name} where {mine}"""
        for table in hot
    ]
    return f"""select place, min(least), max(most), {_TOTAL}, not isfinite(sum(mean * n)), sum(n)::bigint,
arg_max(last, last_in), max(last_in) // 1000000, max(last_in) % 1000000
from ({_union(fresh + kept)}) group by place order by place"""


def stock(part: Partition) -> str:
    """What the part being built has in it: rows, readings, oldest, newest."""
    unit, raw = UNIT[part.tier], part.tier == "raw"
    count = "count(*)" if raw else "coalesce(sum(n), 0)::bigint"
    when = f"({part.start}) + (place % {part.places}) * {unit} + {'ns' if raw else '0'}"
    newest = when if raw else f"{when} + {_KEPT_LAST}"
    return f"select count(*), {count}, min({when}), max({newest}) from building.rows"
