"""Failed logins in the log: from where, and not more than somebody reads."""

from typing import Any, Final

from twisted.logger import Logger

log = Logger(namespace="harmonygw.authentication")

MAX_LOGGED: Final = 10
"""Failed logins in the log in `PERIOD_SECS`, of one middleware. Default 10: whoever guesses fills no disk."""

PERIOD_SECS: Final = 60.0
"""Seconds in which `MAX_LOGGED` count. Default 60."""


class Refusals:
    """Logs who was refused, by address: what they gave for a user name may be a password."""

    def __init__(self, name: str, clock: Any) -> None:
        self._name = name
        self._clock = clock
        self._began = float("-inf")
        self._logged = 0
        self._left_out = 0

    def log(self, peer: str, why: str) -> None:
        """Log one, unless there were `MAX_LOGGED`; how many were left out is said with the next that is logged."""
        now = self._clock.seconds()
        if now - self._began >= PERIOD_SECS:
            self._began, self._logged = now, 0
        if self._logged >= MAX_LOGGED:
            self._left_out += 1
            return
        self._logged += 1
        more = f" ({self._left_out} before it were not logged)" if self._left_out else ""
        self._left_out = 0
        log.warn("{name}: failed login from {peer}: {why}{more}", name=self._name, peer=peer, why=why, more=more)
