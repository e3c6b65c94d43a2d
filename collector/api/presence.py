"""Who is online, of those who say so; what the readings tell comes from the newest readings."""

from __future__ import annotations

from collections.abc import Mapping

from devices.model import Device, Presence


def name_of(device: Device) -> str:
    """How alarming's account of presence names a device."""
    return device.id


def presence(device: Device, said: Mapping[str, bool]) -> Presence | None:
    """What is said of the device; None if nothing. Behind a publisher that is gone it is unknown."""
    if device.via and said.get(device.via) is False:
        return "unknown"
    online = said.get(name_of(device))
    return None if online is None else "online" if online else "offline"
