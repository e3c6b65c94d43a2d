"""How an alert reads: figures, yes and no, and stretches of time in the operator's language."""

from __future__ import annotations

from collections.abc import Mapping

_YES_NO: Mapping[str, tuple[str, str]] = {"id": ("tidak", "ya"), "en": ("no", "yes")}
_UNITS: Mapping[str, tuple[str, str, str, str]] = {
    "id": ("detik", "menit", "jam", "hari"),
    "en": ("s", "min", "h", "d"),
}
_SECONDS = (1, 60, 3600, 86400)


def figure(value: float, boolean: bool, lang: str) -> str:
    """A number to six figures, with the decimal comma in Indonesian; a boolean as yes or no."""
    if boolean:
        return _YES_NO.get(lang, _YES_NO["en"])[bool(value)]
    written = f"{round(value, 3):.15g}" if abs(value) < 1e6 else f"{value:.6g}"
    return written.replace(".", ",") if lang == "id" else written


def span(seconds: float, lang: str) -> str:
    """A stretch of time in its largest unit that divides it: 300 s reads `5 min`, in Indonesian `5 menit`."""
    names = _UNITS.get(lang, _UNITS["en"])
    place = max((i for i, size in enumerate(_SECONDS) if seconds >= size and seconds % size == 0), default=0)
    return f"{figure(seconds / _SECONDS[place], False, lang)} {names[place]}"
