"""A table's series by name, in columns, for snapshots: numbers are a process' own, names are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from collector.core.bundle import BundleError, parted
from collector.core.readings import I32, SeriesTable

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Part:
    """What one part of a snapshot keeps: plain values, and columns. Nobody changes either any more."""

    head: dict[str, Any]
    columns: Columns


def roster(table: SeriesTable) -> tuple[int, Part]:
    """How many series the table has now, and their names."""
    place, metric = table.columns()
    names, metrics = table.text(), table.names(0)[1]
    return len(place), Part({"metrics": metrics}, {"places": names, "place": place, "metric": metric})


def numbers(table: SeriesTable, part: Part) -> I32:
    """What the series of a roster are numbered here. Raises BundleError."""
    try:
        places = [(site, device) for site, device in parted(part.columns["places"])]
        return table.numbers(places, part.head["metrics"], part.columns["place"], part.columns["metric"])
    except (KeyError, ValueError, IndexError) as error:
        raise BundleError(f"the names of the series are damaged ({error})") from None


def together(parts: Mapping[str, Part]) -> Part:
    """Several parts as one."""
    head = {name: part.head for name, part in parts.items()}
    columns = {
        f"{name}.{key}": column for name, part in parts.items() for key, column in part.columns.items()
    }
    return Part(head, columns)


def apart(head: Mapping[str, Any], columns: Columns) -> dict[str, Part]:
    """The parts that were put together. Raises BundleError."""
    parts = {name: Part(plain, {}) for name, plain in head.items()}
    try:
        for name, column in columns.items():
            part, _, key = name.partition(".")
            parts[part].columns[key] = column
    except KeyError as error:
        raise BundleError(f"there is no part {error}") from None
    return parts


def by_roster(column: npt.NDArray[Any], size: int, fill: object) -> npt.NDArray[Any]:
    """A copy of the column's first `size` entries, filled up with `fill` where it has fewer."""
    if len(column) >= size:
        return column[:size].copy()
    return np.concatenate([column, np.full(size - len(column), fill, column.dtype)])
