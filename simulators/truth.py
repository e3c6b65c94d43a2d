"""What was broken, where, from when to when: the answer that an alarm system is measured against."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from errno import EISDIR
from pathlib import Path

from devices.problems import Problems


@dataclass(slots=True)
class Broken:
    """One fault as it was. Times are seconds from the scenario's start; `until` None: not mended in time.

    `root` is the (kind, id) to be found. `sites` are those it hit: that lost power or their fibre to the
    centre at that moment or, for a device's fault, where the device stands. `ambient`: a habit of people.
    """

    fault: str
    name: str
    cause: str
    root: dict[str, str]
    at: float
    until: float | None
    sites: list[str]
    devices: list[str]
    params: dict[str, float | str]
    ambient: bool = False


@dataclass(slots=True)
class Outage:
    """A site without its fibre: `lte` or `down`, from when to when, seconds from the start."""

    site: str
    state: str
    at: float
    until: float | None = None


@dataclass(slots=True)
class Truth:
    """Everything that was broken in one simulation."""

    broken: list[Broken] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    _open: dict[str, Outage] = field(default_factory=dict)

    def service(self, site: str, state: str, t: int) -> None:
        """A site's service is now `fibre`, `lte` or `down`."""
        before = self._open.pop(site, None)
        if before is not None:
            before.until = t / 1000
        if state != "fibre":
            outage = self._open[site] = Outage(site, state, t / 1000)
            self.outages.append(outage)

    def document(self, **head: object) -> dict[str, object]:
        """As JSON: the head, then `faults` and `outages`, each in the order of its beginning."""
        return {**head, "faults": _rows(self.broken), "outages": _rows(self.outages)}


def _rows(records: Iterable[Broken | Outage]) -> list[dict[str, object]]:
    return [
        {{"at": "from", "until": "to"}.get(key, key): value for key, value in asdict(record).items()}
        for record in records
    ]


def check(file: Path) -> None:
    """Raise Problems if the document could not be written there: better before the simulation than after."""
    with _told(file):
        if file.is_dir():
            raise IsADirectoryError(EISDIR, "it is a folder")
        _partial(file).touch()
        _partial(file).unlink()


def write(file: Path, document: dict[str, object]) -> None:
    """Write the document, whole or not at all. Raises Problems."""
    with _told(file):
        partial = _partial(file)
        partial.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
        partial.replace(file)


def _partial(file: Path) -> Path:
    return file.with_name(file.name + ".part")


@contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Problems.one(str(file), f"cannot be written ({error.strerror})", "name another file") from None
