"""The parts of a running collector, as its status and its watch need them: the wiring has them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from collector.api.hub import Hub
from collector.core.clock import Clock
from collector.core.config import Config
from collector.core.readings import SeriesTable
from collector.followers.alarming import Alarming
from collector.followers.storing import Storing
from collector.followers.versions import Versions
from collector.ingest.decode import Decoder
from collector.ingest.journal import Journal
from collector.ingest.recorder import Recorder
from collector.ingest.session import Session
from collector.notify.consumer import Consumer
from collector.operation.admission import Admission
from collector.operation.keeper import Keeper
from collector.state import State
from collector.store.base import Store


class Parts(Protocol):
    """What the wiring has put together."""

    config: Config
    clock: Clock
    state: State
    store: Store
    table: SeriesTable
    versions: Versions
    decoder: Decoder
    journal: Journal
    recorder: Recorder
    session: Session
    storing: Storing
    alarming: Alarming
    hub: Hub
    consumers: Sequence[Consumer]
    admission: Admission
    keeper: Keeper
