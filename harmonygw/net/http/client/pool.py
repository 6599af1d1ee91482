"""The connections with one server: a bounded number of them, kept for a while, and a queue before them."""

from collections import deque
from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from harmonygw.errors import Busy, TransportError
from harmonygw.net.http.client.connection import Connection
from harmonygw.net.http.client.limits import MAX_WAITING, ClientLimits


class Pool:
    """Leases connections, one request each. A lease ends by itself, when the connection is idle again or closed."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], clock: IReactorTime, limits: ClientLimits) -> None:
        self._connect = connect
        self._clock = clock
        self._limits = limits
        self._idle: dict[Connection, IDelayedCall] = {}  # the newest last, and taken first
        self._leased: set[Connection] = set()
        self._connecting: set[Deferred[Connection]] = set()
        self._waiting: deque[Deferred[None]] = deque()
        self._promised = 0  # places that are free, and given to who has waited and does not know yet
        self._stopped = False

    async def acquire(self, *, fresh: bool, deadline: float | None = None) -> Connection:
        """Return a connection; with `fresh`, one that has carried no request, and thus cannot be closed already.

        Raises `Busy` when there is no place by the deadline (in seconds of the clock; unless given, `queue_secs` from
        now) or too many wait, and what connecting raises.
        """
        if self._stopped:
            raise Busy("the gateway is stopping")
        if self._waiting or not self._has_place():
            await self._wait(deadline)
        if self._idle and not fresh:
            connection, timer = self._idle.popitem()
            timer.cancel()
            self._leased.add(connection)
            return connection
        if self._idle and self._open >= self._limits.max_connections:
            oldest = next(iter(self._idle))
            self._let_go(oldest)
        return await self._new()

    def idle(self, connection: Connection) -> None:
        """Take back a connection that can carry another request."""
        self._leased.discard(connection)
        if self._stopped:
            connection.close()
            return
        self._idle[connection] = self._clock.callLater(self._limits.idle_secs, self._let_go, connection)
        self._call_next()

    def closed(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        self._leased.discard(connection)
        timer = self._idle.pop(connection, None)
        if timer is not None:
            timer.cancel()
        self._call_next()

    def stop(self) -> None:
        """Close everything, and break off what is under way."""
        self._stopped = True
        while self._waiting:
            self._waiting.popleft().errback(Busy("the gateway is stopping"))
        for connecting in tuple(self._connecting):
            connecting.cancel()
        for connection in tuple(self._idle):
            self._let_go(connection)
        for connection in tuple(self._leased):
            connection.abort(TransportError("the gateway is stopping"))

    def state(self) -> dict[str, object]:
        """Describe the connections, for management."""
        return {
            "connections": self._open,
            "idle_connections": len(self._idle),
            "requests_waiting": len(self._waiting),
        }

    @property
    def _open(self) -> int:
        return len(self._leased) + len(self._idle) + len(self._connecting)

    def _has_place(self) -> bool:
        return len(self._leased) + len(self._connecting) + self._promised < self._limits.max_connections

    async def _wait(self, deadline: float | None) -> None:
        """Wait for a place; whoever came first gets the next."""
        if len(self._waiting) >= MAX_WAITING:
            raise Busy(f"{MAX_WAITING} requests wait for a connection with the server already")
        waiter: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        now = self._clock.seconds()
        secs = self._limits.queue_secs if deadline is None else max(0.0, deadline - now)
        timer = self._clock.callLater(secs, self._refuse, waiter)
        try:
            await waiter
        finally:
            if timer.active():
                timer.cancel()
        self._promised -= 1

    def _refuse(self, waiter: "Deferred[None]") -> None:
        self._waiting.remove(waiter)
        waiter.errback(Busy("every connection with the server was in use for too long (queue_timeout_secs)"))

    def _call_next(self) -> None:
        if self._waiting and self._has_place():
            self._promised += 1
            self._waiting.popleft().callback(None)

    async def _new(self) -> Connection:
        connecting: Deferred[Connection] = Deferred.fromCoroutine(self._connect())  # type: ignore[arg-type]
        self._connecting.add(connecting)
        try:
            connection = await connecting
        except BaseException:
            self._connecting.discard(connecting)
            self._call_next()
            raise
        self._connecting.discard(connecting)
        self._leased.add(connection)
        return connection

    def _let_go(self, connection: Connection) -> None:
        timer = self._idle.pop(connection)
        if timer.active():
            timer.cancel()
        connection.close()
