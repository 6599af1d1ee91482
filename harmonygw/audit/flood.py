"""How many messages of one kind about one peer there are: who attacks must not fill the trail, nor hide in it."""

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

PERIOD_SECS: Final = 60.0
"""Seconds in which `MAX_MESSAGES` count. Default 60."""

MAX_MESSAGES: Final = 20
"""Messages of one kind about one peer in `PERIOD_SECS`; how many more there were is told at its end. Default 20: an
operator reads them, and one address fills 30 MB a day at most."""

MAX_PEERS: Final = 1000
"""Peers of any kind that are told apart in `PERIOD_SECS`; all further ones are one. Default 1000."""

OTHERS: Final = "others"
"""What those are called."""

Summarise = Callable[[str, str, int], None]
"""Told kind, peer and number of what was left out."""


class Flood:
    """Lets the first ones through, and counts the rest."""

    def __init__(self, clock: IReactorTime, summarise: Summarise) -> None:
        self._clock = clock
        self._summarise = summarise
        self._counts: dict[tuple[str, str], int] = {}
        self._end: IDelayedCall | None = None
        self.left_out = 0
        """All that were counted and not told one by one."""

    def admits(self, kind: str, peer: str) -> bool:
        """Count one; return whether it is told by itself."""
        key = (kind, peer)
        if key not in self._counts and len(self._counts) >= MAX_PEERS:
            key = (kind, OTHERS)
        count = self._counts[key] = self._counts.get(key, 0) + 1
        if self._end is None:
            self._end = self._clock.callLater(PERIOD_SECS, self._period_ended)
        if count > MAX_MESSAGES:
            self.left_out += 1
        return count <= MAX_MESSAGES

    def stop(self) -> None:
        """Tell at once what was left out so far."""
        if self._end is not None:
            self._end.cancel()
            self._period_ended()

    def _period_ended(self) -> None:
        self._end = None
        counts, self._counts = self._counts, {}
        for (kind, peer), count in counts.items():
            if count > MAX_MESSAGES:
                self._summarise(kind, peer, count - MAX_MESSAGES)
