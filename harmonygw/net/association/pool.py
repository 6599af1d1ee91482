"""The associations with one target: a quota, a queue that is fair across clients, reuse, and health.

A PACS grants a handful of associations. A heavy operation (a retrieval, a storage) holds one for as long as the
bytes take; a light one (an Echo, a query) for milliseconds. One place of a quota above one is kept for the light
ones, so that a Search never waits behind study transfers. Heavy ones wait in turn, client by client, so that who
asks for a hundred studies does not starve who asks for one; each client's own are served in order of arrival.
"""

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater

from harmonygw.dicom.upperlayer.negotiation import AssociateRQ
from harmonygw.errors import Busy, RejectedError, TimedOut, TransportError
from harmonygw.net.association.circuit import Circuit
from harmonygw.net.association.requestor import Association

MAX_WAITING = 1000
"""Requests that may wait for a place at one target: more than a hospital's viewers open at once; beyond it, 503."""

RETRY_DELAY = 0.1
"""Seconds before a refused connection is tried again; doubled each time."""

LONGEST_RETRY_DELAY = 2.0
"""Seconds between two attempts at most, while a PACS says that it is busy."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """The limits of one pool."""

    max_associations: int = 4
    """Associations open at once, idle ones included; at least 1."""
    idle_secs: float = 30.0
    """Seconds that an unused association is kept open."""
    queue_secs: float = 30.0
    """Seconds that a request waits for a place, when it brings no deadline of its own."""
    max_retries: int = 3
    """Further attempts when a connection is refused, 0 to 10."""


@dataclass(slots=True, eq=False)
class _Waiter:
    rq: AssociateRQ
    client: str
    light: bool
    turn: Deferred["Association | None"] = field(default_factory=Deferred)


class AssociationPool:
    """Hands associations out, and takes them back."""

    def __init__(
        self,
        open_association: Callable[[AssociateRQ], Awaitable[Association]],
        clock: IReactorTime,
        limits: PoolLimits,
        *,
        echo_rq: AssociateRQ,
    ) -> None:
        self._open_association = open_association
        self._clock = clock
        self._limits = limits
        self._echo_rq = echo_rq
        self._heavy_quota = max(1, limits.max_associations - 1)
        self._places = 0
        self._leased: dict[Association, bool] = {}
        self._heavy = 0
        self._idle: dict[Association, tuple[AssociateRQ, IDelayedCall]] = {}
        self._profiles: dict[Association, AssociateRQ] = {}
        self._light_waiters: deque[_Waiter] = deque()
        self._heavy_waiters: OrderedDict[str, deque[_Waiter]] = OrderedDict()
        self._stopped = False
        self.circuit = Circuit(clock, self._echo)

    @property
    def waiting(self) -> int:
        """Requests that wait for a place."""
        return len(self._light_waiters) + sum(map(len, self._heavy_waiters.values()))

    def state(self) -> dict[str, object]:
        """Describe the pool for the management endpoint."""
        return {
            "associations": self._places,
            "max_associations": self._limits.max_associations,
            "idle": len(self._idle),
            "waiting": self.waiting,
            "circuit": "open" if self.circuit.is_open else "closed",
            "last_failure": self.circuit.last_failure,
        }

    async def acquire(
        self, rq: AssociateRQ, *, client: str, light: bool, deadline: float | None = None, fresh: bool = False
    ) -> Association:
        """Lease an association negotiated with `rq`; give it back when its last operation has been begun.

        `fresh` takes none that was idle: one of those has just turned out to be dead. Raises `Busy` when there is
        no place by the deadline, when too many wait or the circuit is open, and what `Association.request` raises.
        """
        self.circuit.check()
        if self._stopped:
            raise Busy("the gateway is stopping")
        if self.waiting >= MAX_WAITING:
            raise Busy(f"{MAX_WAITING} requests wait for this target already (MAX_WAITING)", retry_after=5)
        if fresh:
            for association in list(self._idle):
                self._evict(association)
        if deadline is None:
            deadline = self._clock.seconds() + self._limits.queue_secs
        waiter = _Waiter(rq, client, light)
        self._enqueue(waiter)
        self._serve()
        return await self._wait(waiter, deadline) or await self._open(waiter, deadline)

    def give_back(self, association: Association) -> None:
        """Take an association back: it is used again once its operation has ended, and not before."""
        association.idle().addCallback(lambda _: self._returned(association))

    def stop(self) -> None:
        """Release what is idle, refuse what waits, and let what is under way end."""
        self._stopped = True
        self.circuit.stop()
        for association in list(self._idle):
            self._evict(association)
        waiters = [*self._light_waiters, *(one for queue in self._heavy_waiters.values() for one in queue)]
        self._light_waiters.clear()
        self._heavy_waiters.clear()
        for waiter in waiters:
            waiter.turn.errback(Busy("the gateway is stopping"))

    def abort(self) -> None:
        """End everything at once."""
        self.stop()
        for association in list(self._leased):
            association.abort()

    # Waiting

    def _enqueue(self, waiter: _Waiter) -> None:
        if waiter.light:
            self._light_waiters.append(waiter)
        else:
            self._heavy_waiters.setdefault(waiter.client, deque()).append(waiter)

    def _dequeue(self, waiter: _Waiter) -> None:
        if waiter.light:
            self._light_waiters.remove(waiter)
            return
        queue = self._heavy_waiters[waiter.client]
        queue.remove(waiter)
        if queue:
            self._heavy_waiters.move_to_end(waiter.client)
        else:
            del self._heavy_waiters[waiter.client]

    def _is_queued(self, waiter: _Waiter) -> bool:
        if waiter.light:
            return waiter in self._light_waiters
        return waiter in self._heavy_waiters.get(waiter.client, ())

    async def _wait(self, waiter: _Waiter, deadline: float) -> Association | None:
        if not waiter.turn.called:
            waiting_for = max(0.0, deadline - self._clock.seconds())
            timer = self._clock.callLater(waiting_for, self._refuse, waiter)
            try:
                return await waiter.turn
            except CancelledError:
                if self._is_queued(waiter):
                    self._dequeue(waiter)
                raise
            finally:
                if timer.active():
                    timer.cancel()
        return await waiter.turn

    def _refuse(self, waiter: _Waiter) -> None:
        if self._is_queued(waiter):
            self._dequeue(waiter)
            waiter.turn.errback(
                Busy("no association with the target became free in time (queue_timeout_secs)", retry_after=5)
            )

    def _next(self) -> _Waiter | None:
        if self._light_waiters:
            return self._light_waiters[0]
        if self._heavy_waiters and self._heavy < self._heavy_quota:
            return next(iter(self._heavy_waiters.values()))[0]
        return None

    def _serve(self) -> None:
        while (waiter := self._next()) is not None:
            association = next((one for one, (rq, _) in self._idle.items() if rq == waiter.rq), None)
            if association is not None:
                self._idle.pop(association)[1].cancel()
                self._lease(association, waiter)
            elif self._places < self._limits.max_associations:
                self._places += 1
            elif self._idle:
                self._evict(next(iter(self._idle)))
                return
            else:
                return
            self._dequeue(waiter)
            if not waiter.light:
                self._heavy += 1
            waiter.turn.callback(association)

    # Opening and closing

    async def _open(self, waiter: _Waiter, deadline: float) -> Association:
        try:
            association = await self._persistently(waiter.rq, deadline)
        except BaseException:
            self._places -= 1
            if not waiter.light:
                self._heavy -= 1
            self._serve()
            raise
        self._profiles[association] = waiter.rq
        self._lease(association, waiter)
        association.on_close(lambda: self._closed(association))
        return association

    async def _persistently(self, rq: AssociateRQ, deadline: float) -> Association:
        delay = RETRY_DELAY
        retries = 0
        while True:
            try:
                association = await self._open_association(rq)
            except (TransportError, RejectedError) as error:
                rejected = isinstance(error, RejectedError)
                again = (
                    error.transient
                    if isinstance(error, RejectedError)
                    else retries < self._limits.max_retries
                )
                if not again or self._clock.seconds() + delay > deadline:
                    if isinstance(error, RejectedError) and error.transient:
                        raise Busy(error.detail, retry_after=5) from error
                    if not rejected:
                        self.circuit.failed(error)
                    raise
                retries += 1
            except TimedOut as error:
                self.circuit.failed(error)
                raise
            else:
                self.circuit.succeeded()
                return association
            await deferLater(self._clock, delay)
            delay = min(delay * 2, LONGEST_RETRY_DELAY)

    def _lease(self, association: Association, waiter: _Waiter) -> None:
        self._leased[association] = waiter.light

    def _returned(self, association: Association) -> None:
        light = self._leased.pop(association, None)
        if light is None:
            return
        if not light:
            self._heavy -= 1
        if not association.is_closed:
            timer = self._clock.callLater(self._limits.idle_secs, self._evict, association)
            self._idle[association] = (self._profiles[association], timer)
            if self._stopped:
                self._evict(association)
        self._serve()

    def _evict(self, association: Association) -> None:
        _, timer = self._idle.pop(association)
        if timer.active():
            timer.cancel()
        association.release()

    def _closed(self, association: Association) -> None:
        self._places -= 1
        self._profiles.pop(association, None)
        if association in self._idle:
            self._idle.pop(association)[1].cancel()
        light = self._leased.pop(association, None)
        if light is False:
            self._heavy -= 1
        self._serve()

    async def _echo(self) -> None:
        association = await self._open_association(self._echo_rq)
        try:
            await association.echo()
        finally:
            association.release()
