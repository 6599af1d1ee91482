"""Reloads one after another: what is asked for while one is under way is done once, after it."""

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

from harmonygw.config.model import Configuration
from harmonygw.errors import TransportError

Source = Callable[[], Configuration]
"""Brings the configuration; raises `ConfigurationError`."""

Changes = dict[str, Any]
"""What a reload has changed, as JSON."""


class Reloads:
    """The queue of reloads: one is under way, and at most one waits. `perform` does one.

    One that waits gives way to the next that is asked for; whoever asked for it hears what came of that.
    """

    def __init__(self, perform: Callable[[Source], Awaitable[Changes]]) -> None:
        self._perform = perform
        self._source: Source | None = None
        self._waiting: list[Deferred[Changes]] = []
        self._under_way = False
        self._running: Deferred[None] | None = None
        self._stopped = False

    def ask(self, source: Source) -> "Deferred[Changes]":
        """Ask for one; fires with what `perform` returns, and fails with what it raises.

        Cancelling that ends the waiting, and not the reload.
        """
        waiter: Deferred[Changes] = Deferred()
        self._waiting.append(waiter)
        self._source = source
        if self._stopped:
            self._refuse()
        elif not self._under_way:
            self._running = Deferred.fromCoroutine(self._run())
        return waiter

    def stop(self) -> "Deferred[None]":
        """Break off the one that is under way, and refuse those that are asked for; fires when it has ended."""
        self._stopped = True
        self._refuse()
        if self._running is None:
            return succeed(None)
        self._running.cancel()
        return self._running

    async def _run(self) -> None:
        self._under_way = True
        while self._source is not None:
            source, self._source = self._source, None
            waiting, self._waiting = self._waiting, []
            outcome: Changes | Failure
            try:
                outcome = await self._perform(source)
            except CancelledError:
                outcome = Failure(_stopping())
            except Exception:  # noqa: BLE001 - whoever asked hears of it, and the next one has its turn
                outcome = Failure()
            _tell(waiting, outcome)
        self._under_way = False

    def _refuse(self) -> None:
        self._source = None
        waiting, self._waiting = self._waiting, []
        _tell(waiting, Failure(_stopping()))


def _stopping() -> TransportError:
    return TransportError("the gateway is being stopped")


def _tell(waiting: "list[Deferred[Changes]]", outcome: "Changes | Failure") -> None:
    for one in waiting:
        one.callback(outcome)  # a Failure as its errback; one that was cancelled hears nothing
