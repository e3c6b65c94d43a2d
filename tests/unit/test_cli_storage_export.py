"""`nagari storage export`: what is in the store is in the files."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import numpy as np
import pytest
from typer.testing import CliRunner

from collector.cli.main import app
from collector.core.readings import Readings, SeriesKey, SeriesTable
from collector.store.base import Ledger
from collector.store.duckdb import open_store
from devices.problems import Problems

KEYS = [SeriesKey("130501", "ont-1", "rx_dbm"), SeriesKey("130502", "rtr-1", "latency_ms")]
T0 = 1_764_000_000 * 10**9
COLUMNS = ["site", "device", "metric", "time", "value", "quality", "received"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with three days of two series, a reading a minute, two of the days closed."""
    folder, table = tmp_path / "data", SeriesTable()
    store = open_store("duckdb:", folder, table, 64_000_000)
    when = np.repeat(T0 + np.arange(3 * 1440) * 60 * 10**9, 2)
    series = np.tile(np.array([table.number(key) for key in KEYS], np.int32), 3 * 1440)
    store.commit(
        Readings(series, when, when / 7e15, np.zeros(len(when), np.uint8), when + 10**9), [], Ledger(1)
    )
    store.tidy(T0 + 3 * 86_400 * 10**9)
    store.close()
    return folder


def exported(*arguments: str) -> dict[str, object]:
    result = CliRunner().invoke(app, ["storage", "export", "--json", *arguments], catch_exceptions=False)
    return json.loads(result.stdout)  # type: ignore[no-any-return]


def test_every_reading_is_in_the_file_of_its_day(data: Path, tmp_path: Path) -> None:
    said = exported("--from", f"duckdb:{data}/readings.duckdb", "--to", str(tmp_path / "out"))
    assert said["rows"] == 8640
    assert [file.name for file in sorted((tmp_path / "out").iterdir())] == [
        f"readings-2025-11-{day}.parquet" for day in (24, 25, 26, 27)
    ]
    with duckdb.connect() as con:
        found = con.execute(f"select * from '{tmp_path}/out/*.parquet' order by time, site")
        assert [column[0] for column in found.description] == COLUMNS
        rows = found.fetchall()
        [(first,)] = con.execute(f"select min(epoch_ns(time)) from '{tmp_path}/out/*.parquet'").fetchall()
    assert [row[:3] for row in rows[:2]] == [tuple(key) for key in KEYS]
    assert [row[4] for row in rows] == [t / 7e15 for t in np.repeat(T0 + np.arange(4320) * 60 * 10**9, 2)]
    assert first == T0


def test_a_stretch_and_one_series_can_be_had_by_the_settings(data: Path, tmp_path: Path) -> None:
    config = tmp_path / "nagari.toml"
    config.write_text(f'[data]\ndir = "{data}"\n')
    asked = ("--config", str(config), "--to", str(tmp_path / "out"), "--device", "ont-1")
    said = exported(*asked, "--start", "2025-11-25T12:00", "--end", "2025-11-25T13:00")
    assert said["rows"] == 60
    assert exported(*asked, "--metric", "latency_ms")["files"] == []


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Problems, match="there is no"):
        exported("--from", f"duckdb:{tmp_path}/none.duckdb", "--to", str(tmp_path))
