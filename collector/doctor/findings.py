"""What the doctor says: one finding for each thing it looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` is what was looked at, `what` was found, `mend` would make it right ("" when ok)."""

    status: Status
    check: str
    what: str
    mend: str = ""


def worst(findings: list[Finding]) -> Status:
    """The gravest status among them; ok for none."""
    order: tuple[Status, ...] = ("bad", "warning")
    return next((status for status in order if any(f.status == status for f in findings)), "ok")
