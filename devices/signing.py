"""A command's signature: hex HMAC-SHA256, keyed by the publisher's command key.

It is taken over the compact, key-sorted JSON (UTF-8, nothing escaped that need not be) of
`args`, `device`, `expires`, `id`, `name` and `site`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from typing import Literal

from devices.model import Command

SignatureFault = Literal["altered", "expired"]
"""Why a command is not obeyed: its signature is not its own (or by another key), or its time is over."""


def sign(command: Command, site: str, device: str, key: bytes) -> Command:
    """The command with its signature for that device. Raises ValueError for an empty key."""
    return replace(command, sig=_signature(command, site, device, key))


def verify(command: Command, site: str, device: str, key: bytes, now: int) -> SignatureFault | None:
    """Why to refuse the command at `now` (epoch ms), or None. Raises ValueError if the key is empty."""
    right = _signature(command, site, device, key)
    if not hmac.compare_digest(right.encode(), command.sig.encode()):
        return "altered"
    return "expired" if now >= command.expires else None


def _signature(command: Command, site: str, device: str, key: bytes) -> str:
    if not key:
        raise ValueError("the command key is empty; give the file 32 random bytes, e.g. as hex")
    body = {
        "args": dict(command.args),
        "device": device,
        "expires": command.expires,
        "id": command.id,
        "name": command.name,
        "site": site,
    }
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
