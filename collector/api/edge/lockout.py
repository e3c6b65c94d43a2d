"""From where too many wrong tokens came: a bounded memory of failures by address."""

from __future__ import annotations

from collections import OrderedDict


class Lockout:
    """After `tries` failures within `window` seconds an address must wait until the window has passed.

    Times are monotonic seconds. At most `size` addresses are remembered; the one longest quiet is forgotten.
    """

    def __init__(self, tries: int = 10, window: float = 300.0, size: int = 4096) -> None:
        self._tries = tries
        self._window = window
        self._size = size
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()  # failures, the first of them

    def __len__(self) -> int:
        return len(self._seen)

    def wait(self, address: str, now: float) -> float:
        """Seconds that the address must wait; 0 if it may try."""
        failures, since = self._seen.get(address, (0, now))
        return max(0.0, since + self._window - now) if failures >= self._tries else 0.0

    def failed(self, address: str, now: float) -> None:
        """The address has failed once more."""
        failures, since = self._seen.pop(address, (0, now))
        if now - since >= self._window:
            failures, since = 0, now
        self._seen[address] = (failures + 1, since)
        while len(self._seen) > self._size:
            self._seen.popitem(last=False)

    def succeeded(self, address: str) -> None:
        """The address has proven itself: its failures are forgiven."""
        self._seen.pop(address, None)
