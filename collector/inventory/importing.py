"""The as-built laid over the plan: a folder's files as they are afterwards, or all that is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from collector.inventory import survey, writing
from collector.inventory.overlay import Overlay
from collector.inventory.survey import Given
from devices import geojson, regionfiles, regiontables
from devices.problems import Problem, Problems
from devices.region import Region, load, path_in

_SITES, _DEVICES, _LINKS = "sites.csv", "devices.csv", "links.geojson"


@dataclass(frozen=True, slots=True)
class AsBuilt:
    """What is brought in: files of a surveyor, and ids of sites, devices and links that are not there."""

    sites: Given | None = None
    devices: Given | None = None
    links: Given | None = None
    drop: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Imported:
    """The region before and after, and the files that change, by name."""

    before: Region
    after: Region
    files: Mapping[str, bytes]


def imported(files: Mapping[str, bytes], root: str, given: AsBuilt) -> Imported:
    """Lay what is given over a region folder's files. Raises Problems, all of them, and changes nothing.

    A mistake in what was given is named with its file and line; any other with the folder's.
    """
    before = load(files, root)
    problems: list[Problem] = []
    overlay = Overlay(before, problems)
    overlay.lay(
        survey.site_rows(given.sites, problems),
        survey.device_rows(given.devices, problems),
        survey.link_rows(given.links, problems),
        given.drop,
    )
    if problems:
        raise Problems(problems)
    changed = _changed(files, before, overlay)
    try:
        after = load({**files, **changed}, root)
    except Problems as found:
        raise _in_given_words(found, files, root, overlay, changed) from None
    return Imported(before, after, changed)


def _changed(files: Mapping[str, bytes], before: Region, overlay: Overlay) -> dict[str, bytes]:
    changed: dict[str, bytes] = {}
    if list(overlay.sites.values()) != list(before.sites.values()):
        changed[_SITES] = writing.sites_csv(overlay.sites.values())
    if list(overlay.devices.values()) != list(before.devices.values()):
        changed[_DEVICES] = writing.devices_csv(overlay.devices.values())
    if list(overlay.links.values()) != list(before.links.values()):
        changed[_LINKS] = writing.links_geojson(overlay.links.values())
    centre = overlay.renamed.get(before.centre)
    if centre:
        pattern = rb'(?m)^(\s*centre\s*=\s*["\'])' + re.escape(before.centre.encode())
        changed["region.toml"] = re.sub(pattern, rb"\g<1>" + centre.encode(), files["region.toml"])
    return changed


def _in_given_words(
    found: Problems, files: Mapping[str, bytes], root: str, overlay: Overlay, changed: Mapping[str, bytes]
) -> Problems:
    """The problems of the files that would be written (one row a line), each where its row comes from."""
    was = _places(files, root)
    came: dict[str, str] = {}
    for name, ids in ((_SITES, overlay.sites), (_DEVICES, overlay.devices), (_LINKS, overlay.links)):
        for index, ident in enumerate(ids if name in changed else ()):
            source = overlay.origins.get((name, ident)) or was.get((name, overlay.olds.get(ident, ident)))
            came[f"{path_in(root, name)}:{index + 2}"] = source or path_in(root, name)
    return Problems(
        Problem(came.get(each.where, each.where), each.what, each.mend) for each in found.problems
    )


def _places(files: Mapping[str, bytes], root: str) -> dict[tuple[str, str], str]:
    """Where each id stands in the folder's own files."""
    found: dict[tuple[str, str], str] = {}
    ignored: list[Problem] = []
    for name, columns in ((_SITES, regiontables.SITES), (_DEVICES, regiontables.DEVICES)):
        for line, row in regiontables.table(name, files[name], columns, ignored):
            found[name, row["id"]] = f"{path_in(root, name)}:{line}"
    links = geojson.features(path_in(root, _LINKS), files.get(_LINKS, b""), ignored)
    for index, link in regionfiles.links(links, ignored):
        found[_LINKS, link.id] = links.at(index)
    return found
