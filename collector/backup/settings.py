"""The settings of a collector that moves: which files they name, and how they read in another folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from collector.core.config import Config, with_paths

DELETE = "\x7f"
OWN = {("data", "dir"), ("region", "dir")}
"""Folders that have a place of their own in a backup."""


def named_files(config: Config) -> list[Path]:
    """Every file and folder that the settings name: passwords, certificates, tokens, and [backup] include."""
    return sorted({path for where, path in _paths(config, ()) if where[:2] not in OWN})


def moved(tree: Mapping[str, Any], to: Path, within: Path) -> str:
    """The settings as TOML, for a collector that lives in `to`: its files below `within`, as they lay before.

    `tree` is what `kept` gave. The comments are lost; the file as it was lies beside.
    """
    config = Config.model_validate(tree)
    changed = with_paths(config, partial(below, within))
    changed = changed.model_copy(
        update={
            "data": changed.data.model_copy(update={"dir": to / "data"}),
            "region": changed.region.model_copy(update={"dir": to / "region"}),
        }
    )
    place = changed.store.place
    if place.kind == "duckdb" and (name := changed.store.url.partition(":")[2]):
        url = f"duckdb:{Path(name).name}"
        changed = changed.model_copy(update={"store": changed.store.model_copy(update={"url": url})})
    return toml(kept(changed))


def kept(config: Config) -> dict[str, Any]:
    """What is not as it is by default, the environment's overrides included, fit for JSON."""
    return config.model_dump(mode="json", exclude_defaults=True)


def toml(tree: Mapping[str, Any]) -> str:
    """Tables of plain values, and lists of such tables one floor below, as TOML."""
    out = []
    for section, table in tree.items():
        lists = {key: value for key, value in table.items() if _is_tables(value)}
        if plain := {key: value for key, value in table.items() if key not in lists}:
            out.append(_table(f"[{section}]", plain))
        for key, rows in lists.items():
            out += [_table(f"[[{section}.{key}]]", row) for row in rows]
    return "\n".join(out)


def _table(head: str, values: Mapping[str, Any]) -> str:
    rows = [f"{key} = {_value(value)}" for key, value in values.items() if value is not None]
    return "\n".join([head, *rows, ""])


def _value(value: Any) -> str:
    """JSON's strings, numbers, booleans and lists are TOML's; one character alone TOML wants escaped."""
    return json.dumps(value, ensure_ascii=False).replace(DELETE, r"\u007f")


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _paths(node: Any, where: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Path]]:
    if isinstance(node, Path):
        yield where, node
    elif isinstance(node, tuple):
        for item in node:
            yield from _paths(item, where)
    elif isinstance(node, BaseModel):
        for name in type(node).model_fields:
            yield from _paths(getattr(node, name), (*where, name))


def below(folder: Path, file: Path) -> Path:
    """Where a file of an absolute path lies in a folder that has the old machine's tree."""
    return folder / file.relative_to(file.anchor)
