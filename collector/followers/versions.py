"""Versions of the region: inventory and rules, by the hash of the folder they came from."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from importlib import resources

from collector.alarms.model import Alert
from collector.alarms.rules import parse_rules
from collector.course.course import Version
from collector.state import State
from devices import region as regions
from devices.catalogue import COLLECTOR
from devices.model import Device
from devices.problems import Problems
from devices.region import Region

_KEPT = 4
"""So many versions stay loaded; older ones are read from state.db again."""


def with_rules(region: Region, root: str = "") -> Version:
    """The region with the collector itself in it, and its rules with the collector's own. Raises Problems."""
    if COLLECTOR in region.devices:
        what = f"the device id {COLLECTOR} is the collector's own"
        raise Problems.one(f"{root}/devices.csv", what, "give the device another id")
    watched = region.plus(Device(region.centre, COLLECTOR, COLLECTOR))
    own = resources.files("collector.alarms") / "builtin.toml"
    rules = {f"{root}/{name}" if root else name: text for name, text in region.rules.items()}
    return watched, parse_rules({"(built in)": own.read_bytes(), **rules}, watched)


class Versions:
    """The version in force for new things; older ones out of state.db, for replay. Safe across threads."""

    def __init__(self, state: State, files: Mapping[str, bytes], root: str = "") -> None:
        self._state = state
        self._lock = threading.Lock()
        self.inventory = regions.load(files, root)  # as the folder says, without the collector
        self.current = with_rules(self.inventory, root)
        self._cache: OrderedDict[str, Version] = OrderedDict({self.current[0].hash: self.current})
        state.put_region(self.current[0].hash, files)

    def renew(self, files: Mapping[str, bytes], root: str = "") -> bool:
        """Take these files from now on; whether they differ. Raises Problems, and nothing changes."""
        inventory = regions.load(files, root)
        version = with_rules(inventory, root)
        if version[0].hash == self.current[0].hash:
            return False
        self._state.put_region(version[0].hash, files)
        with self._lock:
            self._remember(version)
            self.inventory, self.current = inventory, version
        return True

    def get(self, content: str) -> Version:
        """The version of that hash. Raises KeyError if it was never put, Problems if it is refused by now."""
        with self._lock:
            found = self._cache.get(content) or with_rules(regions.load(self._state.region(content)))
            self._remember(found)
            return found

    def region(self, content: str) -> Region:
        """The inventory of that version, the collector in it. Raises KeyError, Problems."""
        return self.get(content)[0]

    def _remember(self, version: Version) -> None:
        self._cache[version[0].hash] = version
        self._cache.move_to_end(version[0].hash)
        while len(self._cache) > _KEPT:
            self._cache.popitem(last=False)

    def summary(self, content: str, alert: Alert) -> dict[str, str]:
        """The alert in one line, in Indonesian and in English, in the words of that version."""
        rules = self.get(content)[1]
        return {lang: rules.summary(alert, lang) for lang in ("id", "en")}
