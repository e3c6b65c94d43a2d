"""Versions of the region: inventory and rules, by the hash of the folder they came from."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from importlib import resources

from collector.alarms.model import Alert
from collector.alarms.rules import RuleSet, parse_rules
from collector.state import State
from devices import region as regions
from devices.catalogue import COLLECTOR
from devices.model import Device
from devices.problems import Problems
from devices.region import Region

Version = tuple[Region, RuleSet]


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
        self._cache: dict[str, Version] = {self.current[0].hash: self.current}
        state.put_region(self.current[0].hash, files)

    def renew(self, files: Mapping[str, bytes], root: str = "") -> bool:
        """Take these files from now on; whether they differ. Raises Problems, and nothing changes."""
        inventory = regions.load(files, root)
        version = with_rules(inventory, root)
        if version[0].hash == self.current[0].hash:
            return False
        self._state.put_region(version[0].hash, files)
        with self._lock:
            self._cache[version[0].hash] = version
            self.inventory, self.current = inventory, version
        return True

    def get(self, content: str) -> Version:
        """The version of that hash. Raises KeyError."""
        with self._lock:
            if content not in self._cache:
                self._cache[content] = with_rules(regions.load(self._state.region(content)))
            return self._cache[content]

    def summary(self, content: str, alert: Alert) -> dict[str, str]:
        """The alert in one line, in Indonesian and in English, in the words of that version."""
        rules = self.get(content)[1]
        return {lang: rules.summary(alert, lang) for lang in ("id", "en")}
