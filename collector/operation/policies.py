"""What is done about each worker of the collector that fails."""

from __future__ import annotations

from collections.abc import Mapping

from collector.store.base import StoreError
from collector.supervision.policy import Policy

POLICIES: Mapping[str, Policy] = {
    # After a failed write this process cannot know what is on disk: nothing is acknowledged any more, and
    # only a fresh start reads the files again.
    "journal": Policy(tries=0, mend="look at the disk; nothing was acknowledged since"),
    # A broker that is away is no fault: the session waits for it. A fault of its own may be one packet's.
    "ingest": Policy(tries=5, mend="look at the log; the broker keeps what comes meanwhile"),
    # Readings are late, and the journal keeps them: no fault of the store's is worth an alert's delay.
    # A damaged file is another matter: it is set aside as the store is opened, and filled from the journal.
    "storing": Policy(
        hopeless=lambda error: isinstance(error, StoreError) and error.permanent,
        mend="the damaged file is set aside at the next start, and filled again from the journal",
    ),
    # Anew from the newest snapshot. Where that fails again and again, what all share may be damaged, so the
    # process ends: a collector that does not alarm must not look alive. Journal and broker keep what comes.
    "alarming": Policy(tries=5, mend="look at the log; it goes on from its cursor when it is started again"),
    # All others only make it blind or deaf in part, and say so: they are tried for ever.
    "http": Policy(),
    "tidying": Policy(),
    "keeper": Policy(),
    "selfwatch": Policy(),
    "housekeeping": Policy(),
    "reload": Policy(),
    "watchdog": Policy(),
    "notify": Policy(),  # of each channel: notify-NAME
}
