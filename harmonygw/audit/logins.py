"""Who is known to have logged in: HTTP has no sessions, and each request brings its credentials again."""

from collections import OrderedDict
from typing import Final

from twisted.internet.interfaces import IReactorTime

SESSION_SECS: Final = 1800.0
"""Seconds without a request after which the next one is a login again. Default half an hour."""

MAX_SESSIONS: Final = 10_000
"""Pairs of a principal and an address that are remembered; the one that was quiet longest is forgotten first. Default
10,000, at 200 bytes each."""


class Logins:
    """Tells the first request of somebody at an address from the others."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str], float] = OrderedDict()

    def is_new(self, principal: str, peer: str) -> bool:
        """Note a request; return whether it is a login."""
        key = (principal, peer)
        now = self._clock.seconds()
        last = self._seen.pop(key, None)
        self._seen[key] = now
        if len(self._seen) > MAX_SESSIONS:
            self._seen.popitem(last=False)
        return last is None or now - last >= SESSION_SECS
