"""A generator that runs ahead of its reader, within a bound."""

from collections.abc import AsyncGenerator, Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred

from harmonygw.streams import Feed

T = TypeVar("T")


class Prefetch(Generic[T]):
    """Runs `source` as far ahead as `limit` allows, in units of `cost`; `feed` is what the reader gets.

    So a thread reads the next piece while the network sends this one. A reader that gives the feed up ends
    the source: it is cancelled where it waits, and closed.
    """

    def __init__(
        self, source: AsyncGenerator[T, None], *, limit: int, cost: Callable[[T], int] = lambda item: 1
    ) -> None:
        self._source = source
        self._cost = cost
        self._room: Deferred[None] | None = None
        self.feed: Feed[T] = Feed(limit=limit, flow=self, on_abort=lambda reason: self._running.cancel())
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addCallbacks(lambda _: self.feed.end(), lambda failure: self.feed.fail(failure.value))

    def pause(self) -> None:
        """Let the source wait before its next item."""
        if self._room is None:
            self._room = Deferred()

    def resume(self) -> None:
        """Let the source go on."""
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    def cut(self, error: BaseException) -> None:
        """End the source, and let the reader find `error`."""
        self.feed.fail(error)
        self._running.cancel()

    async def _run(self) -> None:
        try:
            async for item in self._source:
                self.feed.put(item, self._cost(item))
                if self._room is not None:
                    await self._room
        finally:
            await self._source.aclose()
