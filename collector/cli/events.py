"""Server-sent events as lines come in: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event. `id` is "" for those that are not to be resumed after."""

    name: str
    data: Any
    id: str = ""


def events(lines: Iterable[str]) -> Iterator[StreamEvent]:
    """The events that the lines make. Comments (signs of life) and what is not JSON are passed over."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            fields[name] = f"{fields['data']}\n{value}" if name == "data" and "data" in fields else value
            continue
        found, fields = _event(fields), {}
        if found is not None:
            yield found


def _event(fields: dict[str, str]) -> StreamEvent | None:
    if "data" not in fields:
        return None
    try:
        data = json.loads(fields["data"])
    except ValueError:
        return None
    return StreamEvent(fields.get("event", "message"), data, fields.get("id", ""))
