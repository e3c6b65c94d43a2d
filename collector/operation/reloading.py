"""Takes the region folder anew while the collector runs; in a thread, as it syncs to disk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from collector.followers.versions import Versions
from collector.storage.admission import Admission
from collector.supervision.systemd import Notifier
from devices import region as regions
from devices.problems import Problems

log = logging.getLogger(__name__)


class Reloading:
    """`asked`, set, asks for it; `record` writes down that another version is in force."""

    def __init__(
        self,
        folder: Path,
        versions: Versions,
        admission: Admission,
        notifier: Notifier,
        asked: asyncio.Event,
        record: Callable[[], None],
    ) -> None:
        self._folder, self._versions, self._admission = folder, versions, admission
        self._notifier, self._asked, self._record = notifier, asked, record

    async def work(self) -> None:
        """One after the other, for the supervisor; who asked during the start is served after it."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            self._notifier.reloading()
            try:
                await asyncio.to_thread(self._tried_to_renew)
            except Exception:
                self._asked.set()  # it was asked for: after a rest once more
                raise
            finally:
                self._notifier.ready()

    def _tried_to_renew(self) -> None:
        """A region with a mistake changes nothing, and the log says which."""
        try:
            changed = self.renew()
        except Problems as problems:
            for problem in problems.problems:
                log.error("the region is not taken: %s", problem)  # noqa: TRY400 (a mistake, not a fault)
            return
        log.info("the region %s: %s", self._folder, "taken anew" if changed else "is unchanged")

    def renew(self) -> bool:
        """Take the folder as it is now; whether it holds another region than before. Raises Problems."""
        root = str(self._folder)
        files = regions.read_folder(self._folder)
        self._admission.check(files, root)
        changed = self._versions.renew(files, root)
        self._admission.renew(self._versions.inventory)
        if changed:
            self._record()
        return changed
