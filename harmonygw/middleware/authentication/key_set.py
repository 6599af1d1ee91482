"""The keys of an issuer as it publishes them (RFC 7517 §5): fetched when they are wanted, and kept."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from harmonygw.errors import TransportError
from harmonygw.middleware.authentication.keys import VerificationKey

log = Logger(namespace="harmonygw.authentication")

FRESH_SECS: Final = 600.0
"""Seconds that keys are used without asking again. Default 600: a key that the issuer withdraws is not taken longer,
while its server answers."""

GRACE_SECS: Final = 3600.0
"""Seconds beyond `FRESH_SECS` that keys are used while the issuer's server does not answer. Default 3600: nobody is
locked out because it starts anew."""

UNKNOWN_KEY_SECS: Final = 30.0
"""Seconds between fetches because a token names a key that is not known. Default 30: a new key is known soon, and
nobody can make us ask the issuer by sending us invented ones."""

RETRY_SECS: Final = 5.0
"""Seconds between fetches while there are no fresh keys. Default 5."""

MAX_REASON: Final = 300
"""Characters of what went wrong that are logged. Default 300."""


class KeySet:
    """Fetches keys once for all who wait, and never because of what a token says but its key's identifier."""

    def __init__(
        self,
        url: str,
        fetch: Callable[[], Awaitable[Sequence[VerificationKey]]],
        clock: Any,
    ) -> None:
        """`fetch` brings the keys; `url` is where from, for the log."""
        self._url = url
        self._fetch = fetch
        self._clock = clock
        self._keys: Sequence[VerificationKey] = ()
        self._fetched = float("-inf")
        self._tried = float("-inf")
        self._is_fetching = False
        self._fetching: Deferred[None] | None = None
        self._waiters: list[Deferred[None]] = []
        self._has_failed = False

    def start(self) -> None:
        """Begin to fetch, so that the first token need not wait."""
        self._refresh()

    def stop(self) -> None:
        """Break off what is being fetched."""
        if self._is_fetching and self._fetching is not None:
            self._fetching.cancel()

    async def keys(self, kid: str) -> Sequence[VerificationKey]:
        """Return the keys of an identifier, all for none; none when it is not known.

        Raises `TransportError` when there are no keys that are fresh enough.
        """
        found = self._of(kid)
        age = self._clock.seconds() - self._fetched
        since = self._clock.seconds() - self._tried
        if age >= FRESH_SECS:
            refreshed = self._refresh() if self._is_fetching or since >= RETRY_SECS else None
            # Keys that are still good enough are used while new ones come.
            if refreshed is not None and (not found or age >= FRESH_SECS + GRACE_SECS):
                await refreshed
        elif not found and (self._is_fetching or since >= UNKNOWN_KEY_SECS):
            await self._refresh()
        if self._clock.seconds() - self._fetched >= FRESH_SECS + GRACE_SECS:
            raise TransportError(
                "The keys that tokens are checked with are not to be had.", log_detail=f"keys of {self._url}"
            )
        return self._of(kid)

    def _of(self, kid: str) -> Sequence[VerificationKey]:
        return [key for key in self._keys if key.kid == kid] if kid else self._keys

    def _refresh(self) -> "Deferred[None]":
        """Return what fires when the fetch under way has ended, however it has; begun now unless it is."""
        waiter: Deferred[None] = Deferred()
        # Who waits may go; the fetch goes on for the others, and for whoever comes next.
        self._waiters.append(waiter)
        if not self._is_fetching:
            self._is_fetching = True
            self._tried = self._clock.seconds()
            self._fetching = Deferred.fromCoroutine(self._renew()).addBoth(self._ended)
        return waiter

    async def _renew(self) -> None:
        try:
            keys = await self._fetch()
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a server did, the keys that there are stay
            if not self._has_failed:
                why = (str(error) or type(error).__name__)[:MAX_REASON]
                log.error("{url}: the keys cannot be fetched: {why}", url=self._url, why=why)
            self._has_failed = True
            return
        self._keys = keys
        self._fetched = self._clock.seconds()
        if self._has_failed:
            log.info("{url}: the keys are fetched again", url=self._url)
        self._has_failed = False

    def _ended(self, _result: object) -> None:
        self._is_fetching = False
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.called:
                waiter.callback(None)
