"""Snapshots as the first versions wrote them, made from todays: they must open after an update."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict
from typing import Any

import numpy as np

from collector.alarms import snapshot
from collector.alarms.snapshot import State, Units
from collector.core.bundle import pack, parted, unpack
from collector.core.roster import Part, apart
from collector.ingest.decode import NO_TS

NEVER = np.iinfo(np.int64).min


def old_engine(state: State) -> bytes:
    """All as JSON: a row for each device heard of, and for each target that is not as a new one."""
    units = state.units
    names = parted(units.names)
    saved = [[*asdict(each).values()] for each in state.targets]
    tree = {
        "region": state.region,
        "rules": state.rules,
        "floor": state.floor,
        "orphans": [asdict(alert) for alert in state.orphans],
        "units": sorted(_units(names, units)),
        "targets": sorted(saved + _waiting(names, units, saved), key=lambda row: (row[0], row[1])),
    }
    return b"nagari-alarms\x01" + zlib.compress(json.dumps(tree).encode(), 1)


def _units(names: list[tuple[str, ...]], units: Units) -> list[list[Any]]:
    columns = (units.armed, units.gone, units.returned, units.heard)
    rows = zip(names, *(column.tolist() for column in columns), strict=True)
    return [[*name, *known] for name, *known in rows if any(known)]


def _waiting(names: list[tuple[str, ...]], units: Units, saved: list[list[Any]]) -> list[list[Any]]:
    """Rules on devices' own silence that are armed, and in no alarm."""
    told = {(row[0], *row[1][:2]) for row in saved if not row[1][2]}
    return [
        [rule, [*name, ""], 0, 0, 0, True, since, 0, None, None]
        for rule, column in units.since.items()
        for name, since in zip(names, column.tolist(), strict=True)
        if since and (rule, *name) not in told
    ]


def _keys(series: Part) -> list[list[str]]:
    places, metrics = parted(series.columns["places"]), series.head["metrics"]
    pairs = zip(series.columns["place"].tolist(), series.columns["metric"].tolist(), strict=True)
    return [[*places[place], metrics[metric]] for place, metric in pairs]


def _dating(part: Part, keys: list[list[str]]) -> np.ndarray:
    last = part.columns["last"]
    known = np.flatnonzero(last != NO_TS)
    head = {
        "series": [keys[number] for number in known],
        "wrong": [keys[number] for number in part.head["wrong"]],
        "suspects": [[*keys[number], *rest] for number, *rest in part.head["suspects"]],
    }
    columns = {"last": last[known], "copies": part.columns["copies"], "copied": part.columns["copied"]}
    return np.frombuffer(pack("nagari-dating-1", head, columns), np.uint8)


def _lasts(part: Part, keys: list[list[str]]) -> np.ndarray:
    known = np.flatnonzero(part.columns["time"] != NEVER)
    columns = {name: column[known] for name, column in part.columns.items()}
    return np.frombuffer(pack("nagari-lasts-1", {"series": [keys[n] for n in known]}, columns), np.uint8)


def old_storing(payload: bytes) -> bytes:
    """Storing's, from today's."""
    parts = apart(*unpack("nagari-storing-2", payload))
    keys = _keys(parts["series"])
    columns = {"dating": _dating(parts["dating"], keys), "lasts": _lasts(parts["lasts"], keys)}
    return pack("nagari-storing-1", {}, columns)


def old_alarming(payload: bytes) -> bytes:
    """Alarming's, from today's."""
    parts = apart(*unpack("nagari-alarming-2", payload))
    own, keys = parts["alarming"], _keys(parts["series"])
    presence = {device: True for (device,) in parted(own.columns["online"])}
    presence |= {device: False for (device,) in parted(own.columns["offline"])}
    engine = np.frombuffer(old_engine(snapshot.of(parts["engine"])), np.uint8)
    head = {"region": own.head["region"], "presence": presence, "offline": own.head["offline"]}
    return pack("nagari-alarming-1", head, {"dating": _dating(parts["dating"], keys), "engine": engine})
