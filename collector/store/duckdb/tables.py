"""The words DuckDB is spoken to in: tables, queries, and columns from Python objects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import duckdb
import numpy as np

from collector.core.readings import I32, SeriesTable
from collector.store.base import Reject, plain

SCHEMA = 3

CREATE = f"""
begin;
create table parts (tier varchar not null, shared boolean not null, number bigint not null,
                    generation bigint not null, rows bigint not null, readings bigint not null,
                    bytes bigint not null, oldest bigint not null, newest bigint not null);
create table floors (tier varchar not null, time bigint not null);
create table newest (series integer not null, time bigint not null, value double not null);
create table meta (version integer not null);
insert into meta values ({SCHEMA});
create table series (id integer not null, site varchar not null, device varchar not null,
                     metric varchar not null);
create table rejects ("offset" bigint not null, received bigint not null, topic varchar not null,
                      reason varchar not null, head blob not null, size bigint not null);
create table ledger (cursor bigint not null, messages bigint not null, stored bigint not null,
                     duplicate bigint not null, quarantined bigint not null, dropped bigint not null,
                     "values" bigint not null, conflicts bigint not null, qos0 bigint not null);
commit;
"""
HOT = """
series integer not null, time bigint not null, value double not null, quality utinyint not null,
received bigint not null
"""
HOT_TABLES = r"""
select table_name from duckdb_tables()
where database_name = current_database() and table_name like 'hot\_%' escape '\'
"""
LEDGER = """
select cursor, messages, stored, duplicate, quarantined, dropped, "values", conflicts, qos0 from ledger
"""
FIRST_LEDGER = "insert into ledger values (?, ?, ?, ?, ?, ?, ?, ?, ?)"
NEXT_LEDGER = """
update ledger set cursor = ?, messages = ?, stored = ?, duplicate = ?, quarantined = ?, dropped = ?,
                  "values" = ?, conflicts = ?, qos0 = ?
"""
PRUNE = """
delete from rejects where "offset" <
    (select min("offset") from (select "offset" from rejects order by "offset" desc limit ?))
"""
REJECTS = 'select * from rejects where "offset" < ? order by "offset" desc limit ?'

_SERIES = """
select id, dense_rank() over (order by site, device) - 1 as place,
       dense_rank() over (order by metric) - 1 as metric from series
"""


@contextmanager
def named(con: duckdb.DuckDBPyConnection, name: str, columns: dict[str, Any]) -> Iterator[None]:
    """While it lasts the columns are a table of that name (no table if they are empty)."""
    if not len(next(iter(columns.values()))):
        yield
        return
    con.register(name, columns)
    try:
        yield
    finally:
        with suppress(duckdb.Error):  # a broken DuckDB forgets it by itself
            con.unregister(name)


def number_of(time: str, width: int) -> str:
    """SQL: in which stretch of `width` ns since the epoch a time is."""
    return f"({time} - (({time} % {width}) + {width}) % {width}) // {width}"


def scalar(con: duckdb.DuckDBPyConnection, query: str) -> Any:
    """The one value the query gives, its result read to the end: an unfinished one blocks what follows."""
    return con.execute(query).fetchall()[0][0]


def scan(con: duckdb.DuckDBPyConnection) -> None:
    """Read every block of the hot rows. (A bare max() would be answered from statistics.)"""
    for (name,) in con.execute(HOT_TABLES).fetchall():
        row = "hash(series, time, value, quality, received)"
        con.execute(f'select bit_xor({row}) from "{name}"').fetchall()


def reject_columns(rejects: list[Reject]) -> dict[str, Any]:
    """The rejects as columns."""
    return {
        "offset": np.array([r.offset for r in rejects], np.int64),
        "received": np.array([r.received for r in rejects], np.int64),
        "topic": _objects([plain(r.topic) for r in rejects]),
        "reason": _objects([plain(r.reason) for r in rejects]),
        "head": _objects([r.head for r in rejects]),
        "size": np.array([r.size for r in rejects], np.int64),
    }


def series_columns(ids: I32, sites: list[str], devices: list[str], metrics: list[str]) -> dict[str, Any]:
    """New series and their ids as columns."""
    return {"id": ids, "site": _objects(sites), "device": _objects(devices), "metric": _objects(metrics)}


def series_numbers(con: duckdb.DuckDBPyConnection, table: SeriesTable) -> tuple[I32, I32]:
    """The ids of all series that the store knows, and their numbers in the table, given now to new ones.

    Names are read once each, and the series as pairs of numbers: there may be millions.
    """
    places = con.execute("select distinct site, device from series order by all").fetchall()
    metrics = [name for (name,) in con.execute("select distinct metric from series order by all").fetchall()]
    found = con.execute(_SERIES).fetchnumpy()
    place, metric = found["place"].astype(np.int32), found["metric"].astype(np.int32)
    return found["id"].astype(np.int32), table.numbers(places, metrics, place, metric)


def _objects(items: list[Any]) -> Any:
    column = np.empty(len(items), object)
    column[:] = items
    return column
