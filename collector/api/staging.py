"""A state of the collector that is one whole, laid out beside it for the backup to fetch.

Four parts that were copied one after the other agree if what follows the journal is copied before it:

1. the journal's closed files, as links, so that none can be dropped meanwhile;
2. the followers' snapshots: each at or before a cursor that is committed;
3. state.db and the store, each of one moment, each with its own cursor in it;
4. the journal's end, so that it reaches past both cursors; and from its front goes what lies before the older
   of the two newest snapshots.

A collector that starts on that does what it does after SIGKILL: it loads the snapshots, reads on silently to
each cursor, and from there to the journal's end, where accounts and alerts stand as at the backup.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from collector.followers.alarming import NAME as ALARMING
from collector.followers.storing import NAME as STORING
from collector.ingest.logcopy import DurableFiles, finish, link, link_closed
from collector.state import StateError
from collector.state.copying import copy_state
from collector.state.snapshots import Snapshots
from collector.store.base import Ledger, Store, StoreError
from devices.problems import Problems


def staging(data: Path) -> Path:
    """Where it is laid out, in the collector's data folder: always there, so that restic knows it again."""
    return data / "backup" / "staging"


def stage(data: Path, store: Store, files: Callable[[], DurableFiles]) -> dict[str, int]:
    """Lay out `data` and `store` in `staging(data)`; what was there before is gone. Raises Problems.

    `files` gives the journal's files as they are at that moment; the last one may be growing. Gives the
    accounts as they stood at least (counts of messages and values).
    """
    folder = staging(data)
    try:
        return asdict(_stage(data, store, files, folder))
    except (OSError, StateError, StoreError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        why = (isinstance(error, OSError) and error.strerror) or str(error)
        mend = "look at the disk: a backup needs room there for the newest readings twice"
        raise Problems.one(str(folder), f"the backup cannot be laid out ({why})", mend) from error


def _stage(data: Path, store: Store, files: Callable[[], DurableFiles], folder: Path) -> Ledger:
    shutil.rmtree(folder, ignore_errors=True)
    own, journal = folder / "data", folder / "data" / "journal"
    for made in (journal, own / "snapshots", folder / "store"):
        made.mkdir(parents=True, mode=0o700)
    link_closed(files(), journal)
    for snapshot in sorted((data / "snapshots").glob("*.snapshot")):
        link(snapshot, own / "snapshots")
    copy_state(data / "state.db", own / "state.db")
    link(data / "audit.key", own)
    ledger = store.ledger() or Ledger()
    store.snapshot(folder / "store")
    finish(files(), journal, _floor(own / "snapshots"))
    return ledger


def _floor(snapshots: Path) -> int:
    """The journal is needed from here on; from its beginning if a follower has no snapshot yet."""
    kept = Snapshots(snapshots)
    newest = [kept.newest(name) for name in (ALARMING, STORING)]
    return min(0 if found is None else found[0] for found in newest)
