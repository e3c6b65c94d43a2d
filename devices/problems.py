"""One way to say what is wrong: where, what, and the mend. Used from the field's contract up to the page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: `where` (file:line, key or topic), `what`, and the `mend`: what is right."""

    where: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.mend}"


class Problems(Exception):  # noqa: N818 (it carries several)
    """Refuses an input, naming everything wrong with it at once."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

    @classmethod
    def one(cls, where: str, what: str, mend: str) -> Self:
        """Refuse for a single reason."""
        return cls([Problem(where, what, mend)])


class Faults(Problems):
    """What is wrong is not in the settings: another process, the disk, a fault of ours. It may pass."""
