"""How a changed inventory looks in a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict

from rich.text import Text

from collector.cli import show as looks
from collector.core.inert import inert
from collector.inventory.diff import Change, Diff, diff
from devices.region import Region

_LOOKS: Mapping[str, tuple[str, str]] = {
    "added": ("+", "green"),
    "removed": ("−", "red"),
    "changed": ("~", "yellow"),
}


def show(before: Region, after: Region, *, as_json: bool = False) -> bool:
    """Print what is different, a line each, then the sums; say whether anything is."""
    found = diff(before, after)
    if as_json:
        looks.print_json(asdict(found))
        return bool(found)
    out = looks.console()
    for line in _lines(found, before, after):
        out.print(line, soft_wrap=True)
    out.print(_total(found), soft_wrap=True)
    return bool(found)


def _lines(found: Diff, before: Region, after: Region) -> Iterator[Text]:
    names = {site.id: site.name for site in (*before.sites.values(), *after.sites.values())}
    for noun, part in found.parts.items():
        for how, ids in (("removed", part.removed), ("added", part.added)):
            for ident in ids:
                yield _line(how, noun, ident, names.get(ident, "") if noun == "site" else "")
        for change in part.changed:
            yield _line("changed", noun, change.id, "; ".join(_said(change)))


def _line(how: str, noun: str, ident: str, rest: str) -> Text:
    shape, style = _LOOKS[how]
    return Text.assemble(
        (f"{shape} ", style), f"{noun:<6} ", (inert(ident), style), f"  {inert(rest)}".rstrip()
    )


def _said(change: Change) -> Iterator[str]:
    if change.was:
        yield f"was {change.was}"
    if change.moved_m is not None:
        yield f"moved {change.moved_m:g} m"
    for name, (old, new) in change.fields.items():
        if name == "path":
            yield "its line"
        else:
            yield f"{name} {_value(old)} → {_value(new)}"


def _value(value: object) -> str:
    return "–" if value == "" else str(value)


def _total(found: Diff) -> str:
    if not found:
        return "no difference"
    counts = []
    for noun, part in found.parts.items():
        numbers = zip("+−~", (part.added, part.removed, part.changed), strict=True)
        said = " ".join(f"{sign}{len(ids)}" for sign, ids in numbers if ids)
        counts += [f"{noun}s {said}"] if said else []
    (was, now), (was_built, now_built) = found.fibre_km, found.as_built_km
    fibre = f"fibre {was:.1f} → {now:.1f} km, of it as-built {was_built:.1f} → {now_built:.1f} km"
    return " · ".join([*counts, fibre])
