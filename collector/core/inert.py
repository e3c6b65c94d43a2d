"""Text from outside, made harmless for a log or a terminal."""

from __future__ import annotations


def inert(text: str) -> str:
    """The text on one line, everything unprintable escaped: it can forge no log entry, steer no terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
