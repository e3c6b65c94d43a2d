"""Readings into Parquet, one file a UTC day: for a notebook, a data lake, or keeping."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np

from collector.core.readings import Bools, Readings, SeriesTable
from collector.store.base import Store
from collector.store.duckdb.parts import quoted
from collector.store.duckdb.tables import named, scalar, series_columns
from collector.store.tiers import DAY

FORMAT = "(format parquet, compression zstd)"
_ROWS = """
series integer not null, time bigint not null, value double not null, quality utinyint not null,
received bigint not null
"""
_QUERY = """
select site, device, metric, make_timestamp_ns(time) as time, value, quality,
       make_timestamp_ns(received) as received
from rows join series on rows.series = series.id order by site, device, metric, time
"""


@dataclass(frozen=True)
class Selection:
    """Which readings: start <= time < end (epoch ns); of one site, device, metric, where these are given."""

    start: int
    end: int
    site: str | None = None
    device: str | None = None
    metric: str | None = None


def export(
    store: Store, table: SeriesTable, wanted: Selection, folder: Path, told: Callable[[Path, int], None]
) -> int:
    """A file `readings-YYYY-MM-DD.parquet` for each day with readings; `told` hears of it.

    Gives the rows of all. Columns: site, device, metric, time and received (UTC, ns), value, quality. A file
    is there whole or not at all; one of that name is replaced. Raises StoreError, OSError, duckdb.Error.
    """
    folder.mkdir(parents=True, exist_ok=True)
    total = 0
    for day in range(wanted.start // DAY, -(-wanted.end // DAY)):
        low, high = max(day * DAY, wanted.start), min((day + 1) * DAY, wanted.end)
        with _workshop(folder) as con:
            rows = _collect(con, store.scan(low, high), table, wanted)
            if not rows:
                continue
            date = datetime.fromtimestamp(day * 86_400, UTC).date()
            file = folder / f"readings-{date}.parquet"
            half = file.with_suffix(".parquet.part")
            con.execute(f"copy ({_QUERY}) to {quoted(half)} {FORMAT}")
            half.replace(file)
        total += rows
        told(file, rows)
    return total


@contextmanager
def _workshop(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database for one day's rows: memory stays small, whatever a day has."""
    file = folder / ".export.duckdb"
    for each in (file, file.with_name(file.name + ".wal")):
        each.unlink(missing_ok=True)
    try:
        with duckdb.connect(str(file), config={"memory_limit": "256MB", "threads": 2}) as con:
            con.execute(f"create table rows ({_ROWS})")
            con.execute("create table series (id integer, site varchar, device varchar, metric varchar)")
            yield con
    finally:
        file.unlink(missing_ok=True)


def _collect(
    con: duckdb.DuckDBPyConnection, pieces: Iterator[Readings], table: SeriesTable, wanted: Selection
) -> int:
    seen = np.empty(0, np.int32)
    for piece in pieces:
        series = np.unique(piece.series)
        chosen = series[_chosen(table, series.tolist(), wanted)]
        rows = piece.take(np.isin(piece.series, chosen))
        fresh = np.setdiff1d(chosen, seen)
        seen = np.concatenate([seen, fresh])
        columns = {name: getattr(rows, name) for name in ("series", "time", "value", "quality", "received")}
        with named(con, "named", series_columns(fresh, *table.names_of(fresh))), named(con, "piece", columns):
            if len(fresh):
                con.execute("insert into series select * from named")
            if len(rows):
                con.execute("insert into rows select * from piece")
    return int(scalar(con, "select count(*) from rows"))


def _chosen(table: SeriesTable, series: list[int], wanted: Selection) -> Bools:
    asked = (wanted.site, wanted.device, wanted.metric)
    return np.array(
        [
            all(want is None or want == name for want, name in zip(asked, table.keys[number], strict=True))
            for number in series
        ],
        np.bool_,
    )
