"""Another client with our client id: found by how our connections end. Pure: time comes in as an argument."""

from __future__ import annotations

SHORT = 5.0
"""A connection that did not live so long (seconds) ended early."""
SUSPECT = 3
"""So many early ends in a row, each without a word of the broker, are the work of another client."""
FORGET = 600.0
"""Seconds without a takeover after which the next one counts as the first."""
PAUSE_FIRST, PAUSE_MOST = 2.0, 60.0


class Rivals:
    """Counts the times another client took our session over. Times are monotonic seconds.

    A broker may say so when it disconnects us (reason 0x8E; mosquitto from 2.1 on). An older one closes the
    connection without a word: `SUSPECT` early ends in a row count as a takeover, and then every such end.
    """

    def __init__(self) -> None:
        self.times = 0
        self.at = -FORGET
        self._early = 0

    def ended(self, now: float, lived: float, *, told: bool, silent: bool) -> bool:
        """A connection ended after `lived` seconds; whether it was taken over.

        `told`: the broker gave that as its reason; `silent`: it closed in order, without any reason.
        """
        recent = self.times > 0 and now - self.at < FORGET
        self._early = self._early + 1 if silent and lived < SHORT else 0
        if not (told or (silent and recent) or self._early >= SUSPECT):
            return False
        self.times = self.times + 1 if recent else 1
        self.at = now
        return True

    def unreachable(self) -> None:
        """The broker could not be reached: it was down, and nobody took anything over."""
        self._early = 0

    def pause(self, now: float) -> float:
        """Seconds to wait before connecting again, if the last connection was just taken over.

        Two collectors that throw each other out do so less and less often.
        """
        return min(PAUSE_MOST, PAUSE_FIRST * 2 ** (self.times - 1)) if now == self.at else 0.0
