"""The sizes measured lately, in a file, so that a restart forgets neither the growth nor what was shed."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from collector.storage.contract import Measured
from collector.storage.forecast import slope
from collector.storage.holding import Shed
from collector.store.base import Tier, TierUsage
from collector.store.tiers import TIERS

log = logging.getLogger(__name__)
FILE = "storage.json"
EVERY = 3_600 * 10**9
_DAY = 86_400e9
LATELY, LONG = 14 * int(_DAY), 90 * int(_DAY)
_LEAST = int(_DAY) // 4


class Samples:
    """Sizes by share: hourly of a fortnight, daily of a quarter. What was shed is added back to them.

    Of a tier the growth is the rows that come in a day, lately, times what a row has cost since long: a rate
    that changes shows at once, and the steps in which a file grows do not.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._rows: list[dict[str, int]] = []
        self._gone_rows: dict[str, int] = {}
        self.shed: dict[tuple[Tier, str], Shed] = {}
        self.measured: dict[Tier, Measured] = {}
        self.growth: Mapping[str, float] = {}
        try:
            self._load(json.loads(file.read_text("utf-8")))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("storage: %s is not used (%s); the growth is measured anew", file, error)
            self._rows, self._gone_rows, self.shed, self.measured, self.growth = [], {}, {}, {}, {}

    def _load(self, found: dict[str, Any]) -> None:
        self._rows = [{str(name): int(value) for name, value in row.items()} for row in found["samples"]]
        self._gone_rows = {str(tier): int(rows) for tier, rows in found["gone_rows"].items()}
        self.shed = {(each.tier, each.why): each for each in (Shed(**row) for row in found["shed"])}
        self.measured = {
            row["tier"]: Measured(row["rows"], row["bytes"], row["days"]) for row in found["tiers"]
        }
        self.growth = self._grow()

    def take(self, now: int, tiers: Sequence[TierUsage], state: int) -> None:
        """Take in what is kept now (epoch ns), once an hour; a clock set back begins anew."""
        self.measured = {tier.tier: Measured(tier.rows, tier.bytes, _days(tier)) for tier in tiers}
        if self._rows and now < self._rows[-1]["at"]:
            self._rows = []
        if self._rows and now - self._rows[-1]["at"] < EVERY:
            return
        sample = {"at": now, "state": state}
        for tier in tiers:
            sample[tier.tier] = tier.bytes + self._gone(tier.tier)
            sample[_rows(tier.tier)] = tier.rows + self._gone_rows.get(tier.tier, 0)
        self._rows = [*self._thinned(now), sample]
        self.growth = self._grow()
        self.save()

    def note(self, tier: Tier, freed: int, before: int, now: int, why: str) -> None:
        """So many bytes more were shed of the tier."""
        sofar = self.shed[tier, why].bytes if (tier, why) in self.shed else 0
        self.shed[tier, why] = Shed(tier, sofar + freed, before, now, why)

    def note_rows(self, tier: Tier, rows: int) -> None:
        """So many rows more were shed of the tier."""
        self._gone_rows[tier] = self._gone_rows.get(tier, 0) + rows

    def save(self) -> None:
        """Write the file, whole or not at all; a disk that refuses is told in the log."""
        tiers = [{"tier": tier, **asdict(each)} for tier, each in self.measured.items()]
        found = {
            "samples": self._rows,
            "gone_rows": self._gone_rows,
            "shed": [asdict(each) for each in self.shed.values()],
            "tiers": tiers,
        }
        new = self._file.with_suffix(".new")
        try:
            new.write_text(json.dumps(found), "utf-8")
            new.replace(self._file)
        except OSError as error:
            log.warning("storage: %s cannot be written (%s)", self._file, error.strerror)

    def _grow(self) -> Mapping[str, float]:
        """Bytes a day by share; what is not known yet is missing, and nothing is below zero."""
        lately = [row for row in self._rows if row["at"] > self._rows[-1]["at"] - LATELY]
        if len(lately) < 3 or lately[-1]["at"] - lately[0]["at"] < _LEAST:
            return {}
        found = {"state": _slope(lately, "at", "state") or 0.0}
        for tier in TIERS:
            came, each = _slope(lately, "at", _rows(tier)), _slope(self._rows, _rows(tier), tier) or 0.0
            if came is not None:
                found[tier] = came * each
        return {share: max(0.0, a_ns * _DAY) for share, a_ns in found.items()}

    def _thinned(self, now: int) -> list[dict[str, int]]:
        """Without what is too old; of what is not of lately, the first sample of a day."""
        kept: list[dict[str, int]] = []
        for row in self._rows:
            day = row["at"] // int(_DAY)
            if row["at"] > now - LATELY or not kept or kept[-1]["at"] // int(_DAY) != day:
                kept.append(row)
        return [row for row in kept if row["at"] > now - LONG]

    def _gone(self, tier: Tier) -> int:
        return sum(each.bytes for each in self.shed.values() if each.tier == tier)


def measured(folder: Path) -> Mapping[Tier, Measured]:
    """What the collector that keeps its data in the folder measured last; empty if it never did."""
    return Samples(folder / FILE).measured


def _days(tier: TierUsage) -> float:
    return 0.0 if tier.oldest is None or tier.newest is None else (tier.newest - tier.oldest) / _DAY


def _rows(tier: str) -> str:
    return f"{tier}_rows"


def _slope(samples: Sequence[Mapping[str, int]], along: str, name: str) -> float | None:
    """How `name` rises with `along`, over the samples that know it."""
    rows = [row for row in samples if name in row]
    first = rows[0] if rows else {}
    return slope([row[along] - first[along] for row in rows], [row[name] - first[name] for row in rows])
