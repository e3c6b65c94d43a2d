"""Lists come in pages: `limit` rows, and the cursor that leads to the next page."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated

from fastapi import Query

from devices.region import Region

MOST = 1000
Limit = Annotated[int, Query(ge=1, le=MOST, description="rows per page")]
PageCursor = Annotated[str, Query(max_length=128, description="`next` of the page before")]


def page(ids: Sequence[str], limit: int, cursor: str) -> tuple[Sequence[str], str | None]:
    """Of sorted ids those after the cursor, and the next page's cursor (None at the end)."""
    start = bisect_right(ids, cursor) if cursor else 0
    end = start + limit
    return ids[start:end], ids[end - 1] if end < len(ids) else None


class Listing:
    """The ids of a region in order, sorted once."""

    def __init__(self, region: Region) -> None:
        self.region = region

    @cached_property
    def devices(self) -> Sequence[str]:
        """All devices."""
        return sorted(self.region.devices)

    @cached_property
    def links(self) -> Sequence[str]:
        """All links."""
        return sorted(self.region.links)


class Listings:
    """The listing of the region that holds: made anew when another one does. From any thread."""

    def __init__(self) -> None:
        self._newest: Listing | None = None

    def of(self, region: Region) -> Listing:
        """The region's listing."""
        found = self._newest
        if found is None or found.region is not region:
            found = self._newest = Listing(region)
        return found
