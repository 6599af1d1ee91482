"""What several want at once is done once, for as long as anybody wants it."""

from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from harmonygw.files import again

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Work(Generic[T]):
    waiters: "list[Deferred[T]]" = field(default_factory=list)
    running: "Deferred[None] | None" = None


class Joining(Generic[K, T]):
    """Work under way, by key. Whoever began it may go: it is broken off when the last one who waits has gone."""

    def __init__(self) -> None:
        self._works: dict[K, _Work[T]] = {}

    async def wait(self, key: K, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Wait for the work under way for a key, begun now unless it is; raises what it raises."""
        work = self._works.get(key)
        begins = work is None
        if work is None:
            work = self._works[key] = _Work()
        waiter: Deferred[T] = Deferred(partial(self._gone, key, work))
        work.waiters.append(waiter)
        if begins:
            work.running = Deferred.fromCoroutine(begin()).addBoth(partial(self._done, key, work))
        return await waiter

    async def finish(self) -> None:
        """Return when what is under way now has ended."""
        for work in tuple(self._works.values()):
            if work.running is not None:
                ended: Deferred[None] = Deferred()
                work.running.addBoth(_passed, ended)
                await ended

    def _gone(self, key: K, work: _Work[T], waiter: "Deferred[T]") -> None:
        work.waiters.remove(waiter)
        if not work.waiters and work.running is not None:
            self._forget(key, work)
            work.running.cancel()

    def _done(self, key: K, work: _Work[T], result: "T | Failure") -> None:
        self._forget(key, work)
        while work.waiters:
            waiter = work.waiters.pop(0)
            if isinstance(result, Failure):
                waiter.errback(again(cast(BaseException, result.value)))
            else:
                waiter.callback(result)

    def _forget(self, key: K, work: _Work[T]) -> None:
        if self._works.get(key) is work:
            del self._works[key]


def _passed(result: Any, ended: "Deferred[None]") -> Any:
    ended.callback(None)
    return result
