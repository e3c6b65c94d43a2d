"""The embedded store: one DuckDB file with the open days, and a folder of files with the closed ones."""

from collector.store.duckdb.store import DuckStore, open_store

__all__ = ["DuckStore", "open_store"]
