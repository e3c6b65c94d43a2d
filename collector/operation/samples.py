"""The sizes measured lately, in a file, so that a restart forgets neither the growth nor what was shed."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from collector.core.contract import KEPT, Kept, Measured
from collector.core.forecast import slope
from collector.core.holding import Shed
from collector.store.base import TierUsage

log = logging.getLogger(__name__)
FILE = "storage.json"
EVERY = 3_600 * 10**9
WINDOW = 14 * 86_400 * 10**9
_DAY = 86_400e9


class Samples:
    """Sizes by share, hourly, of a fortnight; what was shed is added back, so that growth stays growth."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._rows: list[dict[str, int]] = []
        self.shed: dict[tuple[Kept, str], Shed] = {}
        self.measured: dict[Kept, Measured] = {}
        try:
            self._load(json.loads(file.read_text("utf-8")))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("storage: %s is not used (%s); the growth is measured anew", file, error)
            self._rows, self.shed, self.measured = [], {}, {}

    def _load(self, found: dict[str, Any]) -> None:
        self._rows = [{str(name): int(value) for name, value in row.items()} for row in found["samples"]]
        self.shed = {(each.tier, each.why): each for each in (Shed(**row) for row in found["shed"])}
        self.measured = {
            row["tier"]: Measured(row["rows"], row["bytes"], row["days"]) for row in found["tiers"]
        }

    def take(self, now: int, tiers: Sequence[TierUsage], state: int) -> None:
        """Take in what is kept now (epoch ns), once an hour; a clock set back begins anew."""
        self.measured = {tier.tier: Measured(tier.rows, tier.bytes, _days(tier)) for tier in tiers}
        if self._rows and now < self._rows[-1]["at"]:
            self._rows = []
        if self._rows and now - self._rows[-1]["at"] < EVERY:
            return
        sizes = {str(tier.tier): tier.bytes + self._gone(tier.tier) for tier in tiers}
        self._rows = [row for row in self._rows if row["at"] > now - WINDOW]
        self._rows.append({"at": now, "state": state, **sizes})
        self.save()

    def note(self, tier: Kept, freed: int, before: int, now: int, why: str) -> None:
        """So many bytes more were shed of the tier."""
        sofar = self.shed[tier, why].bytes if (tier, why) in self.shed else 0
        self.shed[tier, why] = Shed(tier, sofar + freed, before, now, why)

    def save(self) -> None:
        """Write the file, whole or not at all; a disk that refuses is told in the log."""
        tiers = [{"tier": tier, **asdict(each)} for tier, each in self.measured.items()]
        text = json.dumps(
            {"samples": self._rows, "shed": list(map(asdict, self.shed.values())), "tiers": tiers}
        )
        new = self._file.with_suffix(".new")
        try:
            new.write_text(text, "utf-8")
            new.replace(self._file)
        except OSError as error:
            log.warning("storage: %s cannot be written (%s)", self._file, error.strerror)

    def slope(self, share: str) -> float | None:
        """How the share grows, in bytes a day, whatever was shed; None while it is not known."""
        rows = [row for row in self._rows if share in row]
        return slope([row["at"] for row in rows], [row[share] for row in rows])

    def growth(self) -> Mapping[str, float]:
        """The slopes that are known, none below zero."""
        found = {share: self.slope(share) for share in (*KEPT, "state")}
        return {share: max(0.0, each) for share, each in found.items() if each is not None}

    def _gone(self, tier: Kept) -> int:
        return sum(each.bytes for each in self.shed.values() if each.tier == tier)


def measured(folder: Path) -> Mapping[Kept, Measured]:
    """What the collector that keeps its data in the folder measured last; empty if it never did."""
    return Samples(folder / FILE).measured


def _days(tier: TierUsage) -> float:
    return 0.0 if tier.oldest is None or tier.newest is None else (tier.newest - tier.oldest) / _DAY
