"""How the files of a region folder are read: each gives its rows, and every problem with file and line.

Nothing here looks from one file into another; `devices.region` does. The CSV files are in `regiontables`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from datetime import date
from typing import Literal, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from devices.geo import Outline
from devices.geojson import Features, line_path, outline
from devices.model import Area, Link, Person
from devices.problems import Problem
from devices.regiontables import decode, hours
from devices.topics import is_id


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


_Text = Field(min_length=1, max_length=256)


class RegionToml(_Strict):
    """region.toml."""

    name: str = _Text
    timezone: str = _Text
    languages: list[str] = Field(min_length=1)
    holidays: list[date] = []
    centre: str = _Text

    @field_validator("timezone")
    @classmethod
    def _timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (OSError, ValueError, LookupError):
            raise ValueError(f'{value!r} is no time zone here; write one like "Asia/Jakarta"') from None
        return value

    @field_validator("languages")
    @classmethod
    def _languages(cls, value: list[str]) -> list[str]:
        for code in value:
            if not re.fullmatch("[a-z]{2}", code):
                raise ValueError(f'{code!r} is no language; write codes like "id" and "en"')
        return value


class _PersonToml(_Strict):
    name: str = _Text
    language: str = Field("id", pattern=r"^[a-z]{2}$")
    channels: list[str] = []
    roster: str = "24/7"

    @field_validator("roster")
    @classmethod
    def _roster(cls, value: str) -> str:
        return hours(value)


class _PeopleToml(_Strict):
    person: list[_PersonToml] = []


class _LinkProperties(_Strict):
    # "from" is a word of Python's own.
    id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    a: str = Field(alias="from", min_length=1)
    b: str = Field(alias="to", min_length=1)
    kind: Literal["fibre", "radio", "lte"]
    length_km: float = Field(ge=0, le=10_000, allow_inf_nan=False)
    cable: str = ""
    cores: int = Field(0, ge=0)
    owner: str = ""
    source: Literal["plan", "as-built"] = "plan"


_M = TypeVar("_M", bound=BaseModel)


def model(kind: type[_M], tree: object, where: Callable[[str], str], problems: list[Problem]) -> _M | None:
    """The tree as a model, or None. `where` says where a key stands."""
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        for detail in error.errors():
            key = ".".join(map(str, detail["loc"]))
            known = ", ".join(field.alias or key for key, field in kind.model_fields.items())
            problems.append(_mend(where(key), key, detail["type"], detail["msg"], known))
        return None


def _mend(where: str, key: str, kind: str, message: str, known: str) -> Problem:
    if kind == "extra_forbidden":
        return Problem(where, f"{key} is not a key", f"one of {known} was meant, or delete it")
    if kind == "missing":
        return Problem(where, f"{key} is missing", "write it")
    what, _, mend = message.removeprefix("Value error, ").partition("; ")
    return Problem(where, f"{key}: {what[:1].lower()}{what[1:]}", mend or "write such a value")


def toml(where: str, raw: bytes, kind: type[_M], problems: list[Problem]) -> _M | None:
    """A TOML file as a model, or None."""
    content = decode(where, raw, problems)
    if not content and raw:
        return None
    try:
        tree = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+), column \d+\)|\(at end of document\)", str(error))
        line = int(found[1]) if found and found[1] else content.count("\n") + 1
        what = re.sub(r" \(at .*\)$", "", str(error))
        problems.append(
            Problem(f"{where}:{line}", f"is not TOML: {what[:1].lower()}{what[1:]}", "mend that line")
        )
        return None
    return model(kind, tree, lambda key: f"{where}:{line_of(content, key)}", problems)


def line_of(content: str, key: str) -> int:
    """The line of a key, as near as a search can tell: for `person.1.name` that of the second person."""
    first, *rest = key.split(".")
    lines = content.splitlines()
    plain = rf"\s*(?:\[\[?\s*)?{re.escape(first)}\s*(?:=|\])"
    hits = [index for index, line in enumerate(lines, 1) if re.match(plain, line)]
    if not rest or not rest[0].isdigit() or int(rest[0]) >= len(hits):
        return hits[0] if hits else 1
    start = hits[int(rest[0])]
    for index in range(start, len(lines)):
        if re.match(r"\s*\[", lines[index]):
            break
        if len(rest) > 1 and re.match(rf"\s*{re.escape(rest[1])}\s*=", lines[index]):
            return index + 1
    return start


def people(where: str, raw: bytes, problems: list[Problem]) -> dict[str, Person]:
    """people.toml: tables `[[person]]`, by name."""
    found = toml(where, raw, _PeopleToml, problems)
    persons: dict[str, Person] = {}
    for index, person in enumerate(found.person if found else ()):
        if person.name in persons:
            line = line_of(raw.decode("utf-8-sig"), f"person.{index}.name")
            problems.append(Problem(f"{where}:{line}", f"{person.name!r} stands twice", "tell the two apart"))
        persons[person.name] = Person(person.name, person.language, tuple(person.channels), person.roster)
    return persons


def areas(found: Features, problems: list[Problem]) -> dict[str, Area]:
    """The areas of boundaries.geojson that have a code, by code."""
    known: dict[str, Area] = {}
    for index, feature in enumerate(found.items):
        properties = feature.get("properties") if isinstance(feature, dict) else None
        geometry = feature.get("geometry") if isinstance(feature, dict) else None
        if not isinstance(properties, dict) or not isinstance(geometry, dict):
            what = "the feature has no properties or no geometry"
            problems.append(Problem(found.at(index), what, "give it both, or delete it"))
            continue
        code = properties.get("code")
        if code is None:
            continue
        if not isinstance(code, str) or not is_id(code):
            what = f"the code {code!r} is no id"
            problems.append(Problem(found.at(index), what, 'write it like "1305012001"'))
        elif code in known:
            problems.append(Problem(found.at(index), f"the code {code} stands twice", "keep one"))
        else:
            rest = (str(properties.get(key) or "") for key in ("name", "level", "parent"))
            known[code] = Area(code, *rest)
    return known


def outlines(found: Features) -> list[Outline]:
    """What the areas of boundaries.geojson cover: one for each feature that has polygons."""
    shapes = (outline(each.get("geometry")) for each in found.items if isinstance(each, dict))
    return [shape for shape in shapes if shape is not None]


def links(found: Features, problems: list[Problem]) -> Iterator[tuple[int, Link]]:
    """The links of links.geojson as (index of the feature, link), good ones only."""
    for index, feature in enumerate(found.items):
        wrong: list[Problem] = []
        properties = feature.get("properties") if isinstance(feature, dict) else None
        path = line_path(feature.get("geometry") if isinstance(feature, dict) else None)
        named = _named(properties)
        if path is None:
            mend = "draw it as a line of two or more [lon, lat] in WGS 84"
            wrong.append(Problem("", f"{named} is not a LineString in degrees", mend))
        good = model(_LinkProperties, properties, lambda _: "", wrong)
        problems += [Problem(found.at(index), _of(named, each.what), each.mend) for each in wrong]
        if good is not None and path is not None:
            yield index, Link(**good.model_dump(), path=path)


def _named(properties: object) -> str:
    """How a link is called in problems: by its id, if it has one."""
    name = properties.get("id") if isinstance(properties, dict) else None
    return f"the link {name}" if isinstance(name, str) and is_id(name) else "the link"


def _of(named: str, what: str) -> str:
    return what if what.startswith(named) else f"{named}: {what}"
