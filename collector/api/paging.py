"""Lists come in pages: `limit` rows, and the cursor that leads to the next page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import nsmallest
from typing import Annotated, TypeVar

from fastapi import Query

MOST = 1000
Limit = Annotated[int, Query(ge=1, le=MOST, description="rows per page")]
Cursor = Annotated[str, Query(max_length=128, description="`next` of the page before")]

T = TypeVar("T")


def page(rows: Iterable[T], key: Callable[[T], str], limit: int, cursor: str) -> tuple[list[T], str | None]:
    """The rows whose key comes after the cursor, by key, and the next page's cursor (None at the end)."""
    found = nsmallest(limit + 1, (row for row in rows if key(row) > cursor), key=key)
    more = len(found) > limit
    found = found[:limit]
    return found, key(found[-1]) if more else None
