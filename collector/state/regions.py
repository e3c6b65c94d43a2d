"""Versions of the region folder by the hash of their content; a file that did not change is kept once."""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Mapping


def put(con: sqlite3.Connection, region: str, files: Mapping[str, bytes]) -> None:
    """Keep the files under the region's hash; one that is known already is left as it is."""
    if con.execute("insert or ignore into regions values (?)", [region]).rowcount == 0:
        return
    for name, data in files.items():
        content = hashlib.sha256(data).digest()
        con.execute("insert or ignore into contents values (?, ?)", [content, zlib.compress(data)])
        con.execute("insert into region_files values (?, ?, ?)", [region, name, content])


def get(con: sqlite3.Connection, region: str) -> dict[str, bytes]:
    """Its files by name. Raises KeyError for a hash that was never put."""
    if con.execute("select 1 from regions where hash = ?", [region]).fetchone() is None:
        raise KeyError(region)
    rows = con.execute(
        "select name, data from region_files join contents on contents.hash = content "
        "where region = ? order by name",
        [region],
    )
    return {row["name"]: zlib.decompress(row["data"]) for row in rows}
