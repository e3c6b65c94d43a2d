"""Large answers are made and written in a thread; what we made ourselves is not validated again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import ParamSpec

from anyio import to_thread
from fastapi import Response

from collector.core.readings import Quality

P = ParamSpec("P")


async def rendered(make: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> Response:
    """What `make` gives, as JSON; both in a thread. Raises what `make` raises."""
    body = await to_thread.run_sync(lambda: _json(make(*args, **kwargs)))
    return Response(body, media_type="application/json")


def _json(body: object) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def quality(flags: int) -> list[str]:
    """The names of a reading's flags, in lower case; empty for a live reading."""
    return [str(flag.name).lower() for flag in Quality if flag & flags]
