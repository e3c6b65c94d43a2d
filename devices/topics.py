"""The one grammar of native topics: `nagari/v1/{site}/{device}/{tele|state|event|cmd|ack}`."""

from __future__ import annotations

import re
from typing import Final

from devices.model import Address, Suffix

ROOT: Final = "nagari/v1"
ID_PATTERN: Final = "[A-Za-z0-9_-]{1,64}"
FILTERS: Final = tuple(
    f"{ROOT}/+/+/{suffix}" for suffix in (Suffix.TELE, Suffix.STATE, Suffix.EVENT, Suffix.ACK)
)
"""What the collector subscribes to."""

_ID = re.compile(ID_PATTERN)
_TOPIC = re.compile(rf"nagari/v1/({ID_PATTERN})/({ID_PATTERN})/({'|'.join(Suffix)})")
_SUFFIXES = {suffix.value: suffix for suffix in Suffix}


class TopicError(ValueError):
    """A topic outside the grammar; its text is one short reason."""


def is_id(text: str) -> bool:
    """Whether `text` can be the id of a site or a device: `[A-Za-z0-9_-]{1,64}`, and nothing else."""
    return _ID.fullmatch(text) is not None


def parse(topic: str) -> Address:
    """Whose message this is and of what kind. Raises TopicError. About a microsecond."""
    found = _TOPIC.fullmatch(topic)
    if found is None:
        raise TopicError(_reason(topic))
    site, device, suffix = found.groups()
    return Address(site, device, _SUFFIXES[suffix])


def build(address: Address) -> str:
    """The topic of an address. Raises TopicError if an id is outside the grammar."""
    for name, value in (("site", address.site), ("device", address.device)):
        if not is_id(value):
            raise TopicError(f"the {name} {_short(value)} is no id, which is 1 to 64 of A-Z a-z 0-9 _ -")
    return f"{ROOT}/{address.site}/{address.device}/{address.suffix.value}"


def _reason(topic: str) -> str:
    levels = topic.split("/")
    if levels[:2] != ROOT.split("/"):
        return f"the topic {_short(topic)} does not begin with {ROOT}/"
    if len(levels) != 5:
        return f"the topic has {len(levels)} levels, not the 5 of {ROOT}/site/device/kind"
    for name, value in (("site", levels[2]), ("device", levels[3])):
        if not is_id(value):
            return f"the {name} {_short(value)} in the topic is no id, which is 1 to 64 of A-Z a-z 0-9 _ -"
    return f"the topic ends in {_short(levels[4])}, which is none of {', '.join(Suffix)}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
