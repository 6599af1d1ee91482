"""The life of parts, whichever house they are in: what has begun stops, once, in the opposite order."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from harmonygw.config.model import ListeningAddress
from harmonygw.errors import ConfigurationError

log = Logger()

ENDING_SECS: Final = 5.0
"""Seconds that what was broken off, or told to stop, has to come to its end; the rest of the house goes on then."""

Place = str
"""Where a part is in the configuration."""


class Life:
    """The parts that have begun, and have not been stopped."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._begun: dict[int, Any] = {}
        self._ending: dict[int, Any] = {}

    def has(self, part: Any) -> bool:
        """Whether a part has begun."""
        return id(part) in self._begun

    def is_held_up(self, part: Any) -> bool:
        """Whether a part cannot start because another one has its folder."""
        folder = _folder(part)
        others = (one for one in (*self._begun.values(), *self._ending.values()) if one is not part)
        return folder is not None and any(_folder(one) == folder for one in others)

    def listen(self, part: Any) -> None:
        """Let a part listen before it starts, if it can; raises `ConfigurationError`."""
        self._begun[id(part)] = part
        getattr(part, "listen", nothing)()

    async def start(self, parts: Iterable[tuple[Place, Any]]) -> None:
        """Start parts, one after another; raises what they raise. What has begun then is to be stopped."""
        for place, part in parts:
            self._begun[id(part)] = part
            try:
                await maybeDeferred(part.start)
            except CannotListenError as error:
                raise ConfigurationError((f"{place}: {refused(error)}",)) from error

    async def stop(self, parts: Iterable[tuple[Place, Any]]) -> None:
        """Stop those of some parts that have begun, the last one first; what cannot stop is left behind."""
        for place, part in reversed(tuple(parts)):
            if self._begun.pop(id(part), None) is not None:
                self._ending[id(part)] = part
                try:
                    await self._end(place, part)
                finally:
                    del self._ending[id(part)]

    async def _end(self, place: Place, part: Any) -> None:
        try:
            await maybeDeferred(part.stop).addTimeout(ENDING_SECS, self._reactor)
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - whatever keeps one part from stopping, the others stop
            log.failure("{place} did not stop", place=place)


def all_within(reactor: Any, seconds: float, waiting: "Iterable[Deferred[Any]]") -> "Deferred[bool]":
    """Fire with whether all have fired within some seconds, as soon as that is known."""
    known: Deferred[bool] = Deferred(lambda _: deadline.cancel())
    deadline = reactor.callLater(seconds, known.callback, False)

    def all_have(_results: object) -> None:
        if deadline.active():
            deadline.cancel()
            known.callback(True)

    DeferredList(tuple(waiting), consumeErrors=True).addCallback(all_have)
    return known


def refused(error: CannotListenError) -> str:
    """Say which address cannot be had, and why."""
    address = text(ListeningAddress(error.interface or "*", error.port))
    return f"cannot listen on {address}: {error.socketError.strerror or error.socketError}"


def text(address: ListeningAddress) -> str:
    """Return an address as it is written in a URL."""
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"


def nothing() -> None:
    """Stand in for what a part need not have."""


def call(part: Any, *names: str) -> "Deferred[Any]":
    """Call the first of some methods that a part has; fires when that has ended."""
    method: Callable[[], Any] = next((getattr(part, name) for name in names if hasattr(part, name)), nothing)
    return maybeDeferred(method)


def _folder(part: Any) -> Any:
    return getattr(part, "folder", None)
