"""Opens the store that `[store] url` names. A mistake in it is told in one sentence, at the start."""

from __future__ import annotations

import logging
from pathlib import Path

from collector.core.config import StoreConfig
from collector.core.readings import SeriesTable
from collector.core.storeurl import StoreUrl
from collector.store import duckdb
from collector.store.base import Store, StoreError
from collector.store.halfway import Halfway
from collector.store.server.accounts import Accounts
from collector.store.server.influx import Influx
from collector.store.server.store import ServerStore
from collector.store.server.victoria import Victoria
from devices.problems import Problems
from devices.secretfile import read_secret

HALF = "run its `nagari storage copy` again: it goes on where it stood"
log = logging.getLogger(__name__)


def open_store(config: StoreConfig, folder: Path, table: SeriesTable, *, half: bool = False) -> Store:
    """The store, its own files in `folder`; one that is half copied only if `half`. Raises Problems.

    A server must answer, and let us in, when it is used for the first time. Later nothing that is wrong with
    it keeps the collector from starting: it is told in the log, the journal waits, and alarms go on.
    """
    store = _open(config, folder, table)
    if not half and Halfway.of(store.ledger()) is not None:
        store.close()
        raise Problems.one("store.url", f"{config.url} is only half copied", HALF)
    return store


def _open(config: StoreConfig, folder: Path, table: SeriesTable) -> Store:
    place = config.place
    if place.kind == "duckdb":
        return duckdb.open_store(config.url, folder, table, config.memory)
    server = connect(place, config)
    accounts = Accounts(folder / f"accounts-{place.kind}-{place.slug}.db", table)
    try:
        _examine(server, new=accounts.ledger() is None)
    except Problems:
        accounts.close()
        server.close()
        raise
    return ServerStore(server, accounts, table)


def connect(place: StoreUrl, config: StoreConfig) -> Influx | Victoria:
    """The server at a place; nothing is sent yet. Raises Problems for a bad token file or certificate."""
    token = read_secret(config.token_file) if config.token_file else None
    ca = str(config.ca) if config.ca else None
    try:
        if place.kind == "victoria":
            return Victoria(place.http, token, ca)
        return Influx(place, token, ca)
    except OSError as error:
        what = f"{ca} is no certificate to trust ({error.strerror or error})"
        raise Problems.one("store.ca", what, "name the authority's PEM file") from None


def _examine(server: Influx | Victoria, *, new: bool) -> None:
    try:
        for doubt in server.check():
            log.warning("store: %s", doubt)
    except Problems as problems:
        if new:
            raise
        log.error("%s; until then the journal keeps what comes", problems)  # noqa: TRY400 (a mistake, no fault)
    except StoreError as error:
        if new:
            mend = "start the server, or mend the url; later the collector starts without it, too"
            raise Problems.one("store.url", str(error), mend) from None
        log.error("store: %s; until it does the journal keeps what comes", error)  # noqa: TRY400
