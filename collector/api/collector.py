"""All that the API needs of the running collector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from collector.alarms.model import Transition
from collector.core.config import Config
from collector.core.readings import I64, U8, SeriesTable
from collector.core.records import Action
from collector.state import State
from collector.storage.holding import Holding
from collector.store.base import Store
from devices.model import Presence
from devices.region import Region


@dataclass(frozen=True, slots=True)
class Health:
    """`ready`: subscribed and able to journal. `parts`: mqtt, journal, store …: "ok" or why not."""

    ready: bool
    parts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Last:
    """A series' newest reading. `time` and `received` in epoch ns; `quality` are Quality flags."""

    site: str
    device: str
    metric: str
    time: int
    value: float
    quality: int
    received: int


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest reading of every series in columns, by the series' number in the table.

    `time` and `received` in epoch ns, `time` the least int64 where nothing came; `quality` are Quality flags.
    The columns may be longer than the table, and another thread may be writing.
    """

    time: I64
    received: I64
    quality: U8


class Collector(Protocol):
    """The running collector. Everything here but `act` answers at once, from memory, on the event loop."""

    config: Config
    state: State
    store: Store
    table: SeriesTable

    def region(self) -> Region:
        """The inventory that holds now."""

    def stats(self) -> dict[str, int | float]:
        """The accounts (their identity holds in each answer), rates per second, lags in seconds."""

    def health(self) -> Health:
        """How its parts are."""

    def lasts(self, site: str | None) -> list[Last]:
        """The newest reading of every series, or of one site's."""

    def newest(self) -> Newest:
        """When the newest reading of every series was measured and came, not copied. From any thread."""

    def presence(self) -> Mapping[str, Presence]:
        """By device id; a device that was never heard of is missing. May be called from any thread."""

    def storage(self) -> Holding:
        """How full the disk is, as it was looked at last."""

    async def act(self, action: Action) -> Transition:
        """Journal the action and return the transition it caused (`refused` with a reason as its comment).

        Raises Problems if the journal cannot take it now.
        """

    async def stage_backup(self) -> dict[str, Any]:
        """Lay out a state that is one whole: its `folder`, and the `accounts` as they stood at least.

        Raises Problems if it cannot, or is at it.
        """

    def metrics(self) -> bytes:
        """Prometheus' text exposition; no device ids in labels."""
