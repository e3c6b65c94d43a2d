"""Wire formats, one file each, and the table that maps a topic filter to the format spoken there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from devices.model import Suffix
from devices.payload import native
from devices.payload.native import PayloadError
from devices.topics import ROOT

__all__ = ["FORMATS", "PayloadError"]

FORMATS: Final[Mapping[str, Callable[[bytes], object]]] = {
    f"{ROOT}/+/+/{Suffix.TELE}": native.parse_tele_checked,
    f"{ROOT}/+/+/{Suffix.STATE}": native.parse_state,
    f"{ROOT}/+/+/{Suffix.EVENT}": native.parse_event,
    f"{ROOT}/+/+/{Suffix.CMD}": native.parse_command,
    f"{ROOT}/+/+/{Suffix.ACK}": native.parse_ack,
}
"""How the payloads under a topic filter are read; each raises PayloadError."""
