"""What a surveyor delivers: tables and lines like those of a region folder, of which most may be left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from devices import geojson, regionfiles
from devices.geo import Point
from devices.problems import Problem
from devices.regiontables import DEVICES, SITES, Column, ident, listed, table

REPLACES = "replaces"


@dataclass(frozen=True, slots=True)
class Given:
    """A file as it was given: its name, and its content."""

    where: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Row:
    """A row or a line: where it stands, what it says by field, and which ids of the plan it replaces.

    `path` is a link's line, None if it says nothing about it.
    """

    where: str
    id: str
    says: Mapping[str, Any]
    replaces: tuple[str, ...] = ()
    path: tuple[Point, ...] | None = None


class _LinkSays(BaseModel):
    # As in links.geojson, but for `id` everything may be left out.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    a: str = Field("", alias="from", min_length=1)
    b: str = Field("", alias="to", min_length=1)
    kind: Literal["fibre", "radio", "lte"] = "fibre"
    length_km: float = Field(0.0, ge=0, le=10_000, allow_inf_nan=False)
    cable: str = ""
    cores: int = Field(0, ge=0)
    owner: str = ""
    source: Literal["plan", "as-built"] = "as-built"
    replaces: list[str] | str = []


def site_rows(given: Given | None, problems: list[Problem]) -> list[Row]:
    """The rows of a table of sites."""
    return _once(_rows(given, _partly(SITES), problems), "site", problems)


def device_rows(given: Given | None, problems: list[Problem]) -> list[Row]:
    """The rows of a table of devices."""
    return _once(_rows(given, _partly(DEVICES), problems), "device", problems)


def link_rows(given: Given | None, problems: list[Problem]) -> list[Row]:
    """The features of a GeoJSON of links; a feature without geometry changes properties only."""
    return _once(_lines(given, problems), "link", problems) if given else []


def _partly(columns: Mapping[str, Column]) -> dict[str, Column]:
    known = {name: replace(column, needed=name == "id") for name, column in columns.items()}
    return {**known, REPLACES: Column(listed(ident))}


def _rows(given: Given | None, columns: Mapping[str, Column], problems: list[Problem]) -> Iterator[Row]:
    if given is None:
        return
    for line, says in table(given.where, given.raw, columns, problems):
        replaces = says.pop(REPLACES, ())
        yield Row(f"{given.where}:{line}", says.pop("id"), says, replaces)


def _lines(given: Given, problems: list[Problem]) -> Iterator[Row]:
    found = geojson.features(given.where, given.raw, problems)
    for index, feature in enumerate(found.items):
        at = found.at(index)
        properties = feature.get("properties") if isinstance(feature, dict) else None
        says = regionfiles.model(_LinkSays, properties, lambda _, at=at: at, problems)  # type: ignore[misc]
        geometry = feature.get("geometry") if isinstance(feature, dict) else None
        path = geojson.line_path(geometry)
        if geometry is not None and path is None:
            what = f"the link {says.id if says else index} is not a LineString in degrees"
            mend = "draw it as a line of two or more [lon, lat] in WGS 84"
            problems.append(Problem(at, what, mend))
        elif says is not None:
            yield Row(at, says.id, _said(says), _ids(says.replaces), path)


def _said(says: _LinkSays) -> dict[str, Any]:
    fields = says.model_fields_set - {"id", REPLACES}
    return {name: getattr(says, name) for name in fields} | {"source": says.source}


def _ids(replaces: list[str] | str) -> tuple[str, ...]:
    parts = replaces.split(";") if isinstance(replaces, str) else replaces
    return tuple(part.strip() for part in parts if part.strip())


def _once(rows: Iterator[Row], noun: str, problems: list[Problem]) -> list[Row]:
    found: dict[str, Row] = {}
    for row in rows:
        if row.id in found:
            what = f"the {noun} {row.id} stands in {found[row.id].where} already"
            problems.append(Problem(row.where, what, "say everything about it in one place"))
        else:
            found[row.id] = row
    return list(found.values())
